// SPDX-License-Identifier: Apache-2.0
// What the CUDA backend promises beyond conformance: bits that depend on neither the batch nor the
// kernel that was chosen, errors found on the device, the user's stream.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "../backend/conformance.hpp"
#include "../thrown.hpp"
#include "../instances/kernels_cuda.hpp"
#include "grove/backend/refinement.hpp"

using namespace grove;
using grove_test::message_of;

namespace {

using conformance::down, conformance::ints, conformance::rows_of, conformance::up;
using numbers = std::vector<float>;

static_assert(thrust_system<thrust_cuda> && backend<cuda_backend, float> &&
              backend<cuda_backend, double>);

bool same_bits(numbers const& a, numbers const& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
/// Numbers that TF32 and bf16 hold: only sums of their products are rounded.
numbers tensor_core_numbers(numbers x) {
    for (float& v : x) v = std::ldexp(std::nearbyint(std::ldexp(v, 5)), -5);
    return x;
}
/// Of each row [first, last) of a product: its bits in that product and in one of those rows alone.
bool rows_alone(cuda_backend& b, index_t all, index_t n, index_t k, bool transposed,
                bool in_full) {
    auto const x = up(b, random_values<float>(all * k, 1)),
               w = up(b, random_values<float>(k * n, 2));
    auto const product = [&](index_t rows) {
        return product_shape{rows, n, k, false, transposed, 1, in_full};
    };
    auto const together = down<float>(b, b.matmul(product(all), x, w));
    bool same = true;
    for (index_t rows : {1, 2, 7, 16, 33, 64, 100, 128, 255, 500}) {
        index_t const first = all / 2;
        auto const part = b.slice(x, first * k, rows * k);
        auto const alone = down<float>(b, b.matmul(product(rows), part, w));
        if (!same_bits(alone, rows_of(together, n, first, rows))) {
            MESSAGE("rows = ", rows, ", n = ", n, ", k = ", k, ", transposed = ", transposed);
            same = false;
        }
    }
    return same;
}

}  // namespace

TEST_CASE("cuda: a product's row has the same bits alone and among 1024") {
    for (auto precision :
         {product_precision::float32, product_precision::tf32, product_precision::bf16}) {
        CAPTURE(static_cast<int>(precision));
        cuda_backend b({.precision = precision});
        for (auto [n, k] : std::vector<std::pair<index_t, index_t>>{{1024, 512},
                                                                    {896, 4864},
                                                                    {4864, 896},
                                                                    {256, 256},
                                                                    {8192, 512},
                                                                    {1376, 256},
                                                                    {256, 688},
                                                                    {64, 4100},
                                                                    {65, 100},
                                                                    {37, 20},
                                                                    {1, 512}})
            for (bool transposed : {false, true})
                for (bool in_full : {false, true})
                    CHECK(rows_alone(b, 1024, n, k, transposed, in_full));
    }
}

TEST_CASE("cuda: products on tensor cores round their operands and nothing else") {
    index_t const m = 48, n = 64, k = 512;
    auto const x = random_values<float>(m * k, 7), w = random_values<float>(k * n, 8);
    auto const coarse_x = tensor_core_numbers(x), coarse_w = tensor_core_numbers(w);
    auto const expected = conformance::product_of({m, n, k}, coarse_x, coarse_w);
    auto const fine = conformance::product_of({m, n, k}, x, w);
    for (auto [precision, bound] :
         {std::pair{product_precision::tf32, 0.05}, std::pair{product_precision::bf16, 0.4}})
        for (auto mode : {product_mode::exact, product_mode::fast}) {
            cuda_backend b({mode, precision});
            auto const product = [&](numbers const& left, numbers const& right) {
                return down<float>(b, b.matmul({m, n, k, false, false, 1, true}, up(b, left),
                                               up(b, right)));
            };
            CHECK(worst_error(product(coarse_x, coarse_w), expected) < 1e-4);
            double const error = worst_error(product(x, w), fine);
            CHECK(error < bound);
            CHECK(error > 1e-4);  // tensor cores were used
        }
}

TEST_CASE("cuda: tiles for few rows have one order of addition") {
    cuda_backend b;
    for (auto precision :
         {product_precision::float32, product_precision::tf32, product_precision::bf16})
        for (auto [m, n, k] : std::vector<std::array<index_t, 3>>{
                 {128, 96, 256}, {37, 53, 75}, {1, 130, 20}, {65, 64, 1}, {130, 20, 9}})
            for (bool transposed : {false, true}) {
                product_shape const p{m, n, k, false, transposed};
                auto const x = tensor_core_numbers(random_values<float>(m * k, 16)),
                           w = tensor_core_numbers(random_values<float>(k * n, 17));
                auto const expected = conformance::product_of(p, x, w);
                auto const left = up(b, x), right = up(b, w);
                auto const operand = [&](cuda_backend::buffer<float> const& y) {
                    if (precision != product_precision::bf16) return y.input();
                    return detail::input<float>{nullptr, b.system().rounded(y).data};
                };
                std::vector<numbers> results;
                for (auto multiply : detail::products_of_few_rows(precision, p)) {
                    auto const y = b.allocate<float>(m * n), last = b.allocate<float>(n),
                               rounded = b.system().allocate_rounded(m * n);
                    multiply(b.system(), p, operand(left), operand(right), y.output());
                    multiply(b.system(), p, operand(left), operand(right), rounded.output());
                    multiply(b.system(), {1, n, k, false, transposed},
                             operand(left).from((m - 1) * k), operand(right), last.output());
                    results.push_back(down<float>(b, y));
                    auto const expected_rounded = b.system().allocate_rounded(m * n);
                    detail::convert(y.input(), expected_rounded.output(), m * n,
                                    b.system().stream());
                    CHECK(same_bits(down<float>(b, rounded), down<float>(b, expected_rounded)));
                    CHECK(worst_error(results.back(), expected) < 2e-6 * double(k) + 1e-6);
                    CHECK(same_bits(results.back(), results.front()));
                    CHECK(same_bits(rows_of(results.back(), n, m - 1, 1), down<float>(b, last)));
                }
                CHECK(results.size() > 1);
            }
}

TEST_CASE("cuda: groups on tensor cores are right, and a row's bits are its own") {
    ints const sizes{0, 1, 7, 64, 0, 129, 1000, 0};
    ints offsets{0};
    for (auto size : sizes) offsets.push_back(offsets.back() + size);
    index_t const rows = offsets.back(), groups = static_cast<index_t>(sizes.size());
    for (auto precision : {product_precision::tf32, product_precision::bf16}) {
        cuda_backend b({.precision = precision});
        auto const index = up(b, offsets);
        for (auto [n, k] :
             std::vector<std::pair<index_t, index_t>>{
                 {96, 128}, {37, 45}, {130, 70}, {1, 33}, {264, 136}})
            for (bool transposed : {false, true}) {
                CAPTURE(n);
                CAPTURE(transposed);
                auto const x = tensor_core_numbers(random_values<float>(rows * k, 18)),
                           w = tensor_core_numbers(random_values<float>(groups * k * n, 19)),
                           z = tensor_core_numbers(random_values<float>(rows * n, 20));
                grouped_shape const g{rows, n, k, groups, transposed};
                auto const xs = up(b, x), ws = up(b, w), zs = up(b, z);
                auto const y = down<float>(b, b.grouped_matmul(g, xs, ws, index));
                auto const outer = down<float>(b, b.grouped_outer(g, xs, zs, index));
                CHECK(same_bits(outer, down<float>(b, b.grouped_outer(g, xs, zs, index))));
                for (index_t e = 0; e < groups; ++e) {
                    CAPTURE(e);
                    index_t const first = offsets[static_cast<std::size_t>(e)],
                                  size = sizes[static_cast<std::size_t>(e)];
                    auto const xe = rows_of(x, k, first, size), ze = rows_of(z, n, first, size);
                    auto const expected = conformance::product_of({size, n, k, false, transposed},
                                                                  xe, rows_of(w, k * n, e, 1));
                    bool const rounds = precision == product_precision::bf16;
                    CHECK(worst_error(rows_of(y, n, first, size), expected) <
                          2e-6 * double(k) + 1e-6 + (rounds ? 0.004 * std::sqrt(double(k)) : 0));
                    auto const gradient = transposed
                                              ? conformance::product_of({n, k, size, true}, ze, xe)
                                              : conformance::product_of({k, n, size, true}, xe, ze);
                    CHECK(worst_error(rows_of(outer, k * n, e, 1), gradient) <
                          2e-6 * double(size) + 1e-6);
                }
                for (index_t count : {1, 16, 64, 200}) {  // by each of the tiles
                    index_t const first = offsets[6] + 333;
                    auto const alone = b.grouped_matmul(
                        {count, n, k, 1, transposed}, b.slice(xs, first * k, count * k),
                        b.slice(ws, 6 * k * n, k * n),
                        up(b, ints{0, static_cast<std::int32_t>(count)}));
                    CHECK(same_bits(down<float>(b, alone), rows_of(y, n, first, count)));
                }
            }
    }
}

TEST_CASE("cuda: products of one, of a batch and of groups have the same bits") {
    cuda_backend b;
    index_t const m = 64, n = 96, k = 320, batch = 24;
    auto const x = random_values<float>(batch * m * k, 3),
               w = random_values<float>(batch * k * n, 4);
    auto const whole = down<float>(b, b.matmul({m, n, k, false, false, batch}, up(b, x), up(b, w)));
    ints offsets{0};
    for (index_t s = 0; s < batch; ++s) offsets.push_back(static_cast<std::int32_t>((s + 1) * m));
    CHECK(same_bits(whole, down<float>(b, b.grouped_matmul({batch * m, n, k, batch}, up(b, x),
                                                           up(b, w), up(b, offsets)))));
    for (index_t s : {0, 7, 23}) {
        auto const xs = up(b, rows_of(x, m * k, s, 1)), ws = up(b, rows_of(w, k * n, s, 1));
        CHECK(same_bits(rows_of(whole, m * n, s, 1), down<float>(b, b.matmul({m, n, k}, xs, ws))));
    }
}

TEST_CASE("cuda: a gradient of groups has the bits of a product for each") {
    cuda_backend b;
    index_t const n = 70, k = 130;
    ints const offsets{0, 0, 1, 200, 200, 333};
    auto const x = random_values<float>(333 * k, 5), y = random_values<float>(333 * n, 6);
    auto const w =
        down<float>(b, b.grouped_outer({333, n, k, 5}, up(b, x), up(b, y), up(b, offsets)));
    for (std::size_t e = 0; e < 5; ++e) {
        index_t const first = offsets[e], rows = offsets[e + 1] - first;
        auto const product = b.matmul({k, n, rows, true}, up(b, rows_of(x, k, first, rows)),
                                      up(b, rows_of(y, n, first, rows)));
        CHECK(rows_of(w, k * n, static_cast<index_t>(e), 1) == down<float>(b, product));
    }
}

TEST_CASE("cuda: fast products are right, whatever their order") {
    cuda_backend exact, fast({product_mode::fast});
    index_t const m = 5, n = 640, k = 8192;
    auto const x = random_values<float>(m * k, 7), w = random_values<float>(k * n, 8);
    auto const expected = conformance::product_of({m, n, k}, x, w);
    for (cuda_backend* b : {&exact, &fast}) {
        auto const y = down<float>(*b, b->matmul({m, n, k}, up(*b, x), up(*b, w)));
        CHECK(worst_error(y, expected) < 1e-3);  // √k roundings of sums near √k
    }
}

TEST_CASE_TEMPLATE("cuda: long rows add as short ones do, each by itself", T, float, double) {
    cuda_backend b;
    for (index_t columns : {9, 1024, 1025, 16384, 16385, 100000}) {
        CAPTURE(columns);
        index_t const rows = 5;
        auto const x = random_values<T>(rows * columns, 9);
        auto const sums = down<T>(b, b.reduce_columns(reduction::sum, up(b, x), rows, columns));
        auto const maxima = down<T>(b, b.reduce_columns(reduction::max, up(b, x), rows, columns));
        for (index_t i = 0; i < rows; ++i) {
            auto const row = rows_of(x, columns, i, 1);
            auto const at = static_cast<std::size_t>(i);
            double const sum = std::accumulate(row.begin(), row.end(), 0.0);
            CHECK(std::abs(sum - double(sums[at])) <
                  300 * std::numeric_limits<T>::epsilon() * std::sqrt(double(columns)));
            CHECK(maxima[at] == *std::max_element(row.begin(), row.end()));
            auto const alone = b.reduce_columns(reduction::sum, up(b, row), 1, columns);
            CHECK(down<T>(b, alone)[0] == sums[at]);
        }
    }
}

TEST_CASE("cuda: a segment's sum has the same bits alone and among many") {
    cuda_backend b;
    index_t const columns = 45, tall = 5000, segments = 400;
    auto const x = random_values<float>((tall + segments) * columns, 10);
    ints offsets{0};
    for (index_t s = 0; s <= segments; ++s) offsets.push_back(static_cast<std::int32_t>(tall + s));
    auto const among = down<float>(b, b.sum_segments(up(b, x), columns, up(b, offsets)));
    auto const first = up(b, rows_of(x, columns, 0, tall));
    auto const alone =
        down<float>(b, b.sum_segments(first, columns, up(b, ints{0, std::int32_t{5000}})));
    CHECK(same_bits(alone, rows_of(among, columns, 0, 1)));
    CHECK(rows_of(among, columns, 1, segments) == rows_of(x, columns, tall, segments));

    ints const all_to_one(static_cast<std::size_t>(tall), 1);
    auto const scattered = down<float>(b, b.scatter_add(first, columns, up(b, all_to_one), 3));
    CHECK(same_bits(alone, rows_of(scattered, columns, 1, 1)));
    CHECK(rows_of(scattered, columns, 2, 1) == numbers(columns, 0.0f));
}

TEST_CASE("cuda: many are chosen as few are; NaN comes last, and once") {
    cuda_backend b;
    index_t const rows = 37, columns = 200;
    auto const x = random_values<float>(rows * columns, 11);
    auto const few = down<std::int32_t>(b, b.top_k(up(b, x), rows, columns, 32));
    auto const many = down<std::int32_t>(b, b.top_k(up(b, x), rows, columns, 64));
    for (index_t i = 0; i < rows; ++i) {
        auto leading = rows_of(many, 64, i, 1);
        leading.resize(32);
        CHECK(rows_of(few, 32, i, 1) == leading);
    }
    constexpr float none = std::numeric_limits<float>::quiet_NaN();
    auto const holes = up(b, numbers{none, 1, none, -std::numeric_limits<float>::infinity(), 2});
    CHECK(down<std::int32_t>(b, b.top_k(holes, 1, 5, 5)) == ints{4, 1, 3, 0, 2});
    CHECK(down<std::int32_t>(b, b.argsort(up(b, ints{3, -7, 0, -7, 2000000000}))) ==
          ints{1, 3, 2, 0, 4});
}

TEST_CASE("cuda: the first bad index is thrown once, by whatever waits next") {
    cuda_backend b;
    auto const x = up(b, numbers(12, 1.0f));
    auto const index = up(b, ints{0, 3, 1}), good = up(b, ints{2});
    b.gather(x, 4, index);
    b.scatter_add(x, 3, up(b, ints{0, -1, 2, 3}), 4);
    CHECK(message_of<value_error>([&] { b.synchronize(); }) ==
          "[gather] expected indices in [0, 3), got 3 at 1");
    b.synchronize();
    CHECK(down<float>(b, b.gather(x, 4, good)) == numbers(4, 1.0f));
    auto const bad = b.gather(x, 4, index);
    numbers y(12);
    CHECK(message_of<value_error>([&] { b.download(bad, std::span(y)); }) ==
          "[gather] expected indices in [0, 3), got 3 at 1");
    CHECK(message_of<value_error>([&] {
              b.sum_segments(x, 3, up(b, ints{0, 5, 4}));
              b.synchronize();
          }) == "[sum_segments] expected offsets that ascend from 0 to 4, got others");
    CHECK(message_of<value_error>([&] { b.sum_segments(x, 3, up(b, ints{})); }) ==
          "[sum_segments] expected offsets that ascend from 0 to 4, got none");
}

TEST_CASE("cuda: more memory than there is throws, and the backend goes on") {
    cuda_backend b;
    auto const thrown = message_of<device_error>([&] { b.allocate<double>(index_t{1} << 44); });
    CHECK(thrown.starts_with("[cudaMalloc] expected success, got cudaErrorMemoryAllocation"));
    CHECK(down<float>(b, up(b, numbers{1, 2})) == numbers{1, 2});
}

TEST_CASE("cuda: transfers within a capture throw, and the stream goes on") {
    cuda_backend b;
    cudaStream_t const stream = b.system().stream();
    auto const x = up(b, numbers{1, 2});
    numbers y(2);
    b.synchronize();
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK_THROWS_AS(up(b, y), configuration_error);
    CHECK_THROWS_AS(b.download(x, std::span(y)), configuration_error);
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(down<float>(b, x) == numbers{1, 2});
}

TEST_CASE("cuda: uploads keep their order and content without waiting") {
    cuda_backend b;
    std::vector<device_buffer<float>> uploaded;
    std::vector<index_t> const sizes{100000, 1, 0, 524288, 524289, 3, 2000000, 77};
    for (int round = 0; round < 12; ++round)
        for (index_t size : sizes) {
            auto x = random_values<float>(std::min<index_t>(size, 50), 12 + uploaded.size());
            x.resize(static_cast<std::size_t>(size), float(round));
            uploaded.push_back(up(b, x));  // and x is gone
        }
    for (std::size_t i = 0; i < uploaded.size(); ++i) {
        index_t const size = sizes[i % sizes.size()];
        auto x = random_values<float>(std::min<index_t>(size, 50), 12 + i);
        x.resize(static_cast<std::size_t>(size), float(i / sizes.size()));
        CHECK(down<float>(b, uploaded[i]) == x);
    }
}

TEST_CASE("cuda: work goes to the user's stream, and a buffer outlives its backend") {
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
    device_buffer<float> kept;
    {
        cuda_backend b(stream);
        CHECK(b.system().stream() == stream);
        kept = b.matmul({1, 1, 2}, up(b, numbers{1, 2}), up(b, numbers{3, 4}));
    }
    numbers y(1);
    REQUIRE(cudaMemcpyAsync(y.data(), kept.data(), sizeof(float), cudaMemcpyDeviceToHost, stream) ==
            cudaSuccess);
    REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(y[0] == 11);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("cuda: parts are put side by side, and everything else is fused too") {
    cuda_backend b;
    auto const left = random_values<float>(3 * 2, 14), right = random_values<float>(3 * 5, 15);
    auto const y = down<float>(b, b.join(std::vector{up(b, left), up(b, right)},
                                         {{0, {3, 2}, {7, 1}}, {2, {3, 5}, {7, 1}}}, 21));
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < 7; ++j)
            CHECK(y[i * 7 + j] == (j < 2 ? left[i * 2 + j] : right[i * 5 + j - 2]));
    CHECK(cuda_backend::name() == "cuda");
    CHECK(capabilities(cuda_backend()) ==
          std::vector<std::string>{"join", "rms_norm", "add_rms_norm", "swiglu", "rope", "rope_split",
                                   "attention", "expert_rows", "token_statistics", "token_sampling",
                                   "updates", "graphs"});
}
