// SPDX-License-Identifier: Apache-2.0
// What the CPU backend promises beyond conformance: the bits of the reference's products, and the
// same bits for every number of threads and every batch.
#include "grove/backend/eigen/eigen.hpp"

#include <doctest/doctest.h>

#include "../core/values.hpp"

using namespace grove;

namespace {

using ints = std::vector<std::int32_t>;

template <class T>
host_buffer<T> up(reference_backend& b, std::vector<T> const& x) {
    return b.upload(std::span<T const>(x));
}
template <class T>
std::vector<T> down(host_buffer<T> const& x) {
    return {x.data(), x.data() + x.size()};
}
/// Rows [first, first + count).
template <class T>
host_buffer<T> rows_of(host_buffer<T> const& x, index_t columns, index_t first, index_t count) {
    return x.slice(first * columns, count * columns);
}
template <class T, std::size_t Count>
std::array<std::vector<T>, Count> down(std::array<host_buffer<T>, Count> const& x) {
    std::array<std::vector<T>, Count> y;
    for (std::size_t i = 0; i < Count; ++i) y[i] = down(x[i]);
    return y;
}

}  // namespace

TEST_CASE_TEMPLATE("eigen: products have the reference's bits at any shape and number of threads",
                   T, float, double) {
    reference_backend reference;
    eigen_backend one(1), two(2);
    // around one tile, one panel, one block of terms, and where packing and threads set in
    for (product_shape p : std::vector<product_shape>{{1, 1, 1},
                                                      {1, 50, 130},
                                                      {2, 48, 128},
                                                      {3, 49, 129},
                                                      {9, 97, 257},
                                                      {95, 47, 300},
                                                      {96, 48, 130},
                                                      {130, 111, 260},
                                                      {170, 64, 300},
                                                      {6, 816, 20},
                                                      {5, 3, 0},
                                                      {7, 25, 300, false, false, 3}})
        for (bool transpose_a : {false, true})
            for (bool transpose_b : {false, true}) {
                p.transpose_a = transpose_a, p.transpose_b = transpose_b;
                CAPTURE(p.m);
                CAPTURE(p.n);
                CAPTURE(p.k);
                auto const a = up(reference, random_values<T>(p.batch * p.m * p.k, 1));
                auto const b = up(reference, random_values<T>(p.batch * p.k * p.n, 2));
                auto const expected = down(reference.matmul(p, a, b));
                CHECK(down(one.matmul(p, a, b)) == expected);
                CHECK(down(two.matmul(p, a, b)) == expected);
            }
}

TEST_CASE_TEMPLATE("eigen: grouped products have the reference's bits", T, float, double) {
    reference_backend reference;
    eigen_backend one(1), two(2);
    index_t const rows = 210, n = 61, k = 150, count = 5;
    auto const offsets = up(reference, ints{0, 1, 1, 140, 141, 210});
    auto const x = up(reference, random_values<T>(rows * k, 3));
    auto const w = up(reference, random_values<T>(count * n * k, 4));
    auto const y = up(reference, random_values<T>(rows * n, 5));
    for (bool transpose_b : {false, true}) {
        grouped_shape const g{rows, n, k, count, transpose_b};
        auto const product = down(reference.grouped_matmul(g, x, w, offsets));
        auto const outer = down(reference.grouped_outer(g, x, y, offsets));
        for (auto* backend : {&one, &two}) {
            CHECK(down(backend->grouped_matmul(g, x, w, offsets)) == product);
            CHECK(down(backend->grouped_outer(g, x, y, offsets)) == outer);
        }
    }
}

TEST_CASE("eigen: a row of a product does not know its batch, for every batch size") {
    eigen_backend b(2);
    index_t const rows = 110, n = 100, k = 200;
    auto const x = up(b, random_values<float>(rows * k, 6));
    auto const w = up(b, random_values<float>(n * k, 7));
    for (bool transposed : {false, true}) {
        auto const all = b.matmul({rows, n, k, false, transposed}, x, w);
        for (index_t m = 1; m < rows; m += m < 20 ? 1 : 13) {
            index_t const first = rows - m;
            auto const part = b.matmul({m, n, k, false, transposed}, rows_of(x, k, first, m), w);
            CHECK(down(part) == down(rows_of(all, n, first, m)));
        }
    }
}

TEST_CASE_TEMPLATE("eigen: primitives have the same bits on one thread and on two", T, float,
                   double) {
    eigen_backend one(1), two(2);
    index_t const rows = 700, columns = 131;
    auto const x = up(one, random_values<T>(rows * columns, 8));
    auto const offsets = up(one, ints{0, 5, 5, 600, 700});
    auto const index = up(one, random_indices(500, rows, 9));
    auto results = [&](eigen_backend& b) {
        auto law = [](auto a, auto c) { return math::exp(a) * c; };
        return std::array{down(b.map(law, rows, columns, operand<host_buffer<T>>{x, columns, 1},
                                     operand<host_buffer<T>>{x, 0, 1})[0]),
                          down(b.map(law, 1, x.size(), operand<host_buffer<T>>{x, 0, 1},
                                     operand<host_buffer<T>>{x, 0, 0})[0]),
                          down(b.reduce_columns(reduction::sum, x, rows, columns)),
                          down(b.reduce_columns(reduction::max, x, rows, columns)),
                          down(b.sum_segments(x, columns, offsets)),
                          down(b.gather(x, columns, index))};
    };
    CHECK(results(one) == results(two));
}

TEST_CASE_TEMPLATE("eigen: fused operations have the same bits on one thread and on two", T, float,
                   double) {
    eigen_backend one(1), two(2);
    index_t const rows = 300, columns = 130;
    auto const x = up(one, random_values<T>(rows * columns, 10));
    auto const g = up(one, random_values<T>(rows * columns, 11));
    auto const w = up(one, random_values<T>(columns, 12));
    auto const none = up(one, ints{});
    auto const targets = up(one, random_indices(rows, columns, 13));
    auto norm = [&](eigen_backend& b) {
        auto const y = b.rms_norm(x, w, rows, columns, T(1e-6));
        auto const d = b.rms_norm_backward(g, x, w, y[1], rows, columns);
        return std::array{down(y[0]), down(y[1]), down(d[0]), down(d[1])};
    };
    CHECK(norm(one) == norm(two));
    auto gated = [&](eigen_backend& b) {
        auto const half = columns / 2;
        return std::array{down(b.swiglu(x, rows, half)),
                          down(b.swiglu_backward(rows_of(g, half, 0, rows), x, rows, half))};
    };
    CHECK(gated(one) == gated(two));
    auto rotated = [&](eigen_backend& b) {
        return down(b.rope(x, x, targets, 13, 10, rope_pairs::halves, true));
    };
    CHECK(rotated(one) == rotated(two));
    auto statistics = [&](eigen_backend& b) {
        auto const y = b.token_statistics(x, columns, targets, T(0.7), none, none);
        auto const d =
            b.token_statistics_backward(x, columns, targets, T(0.7), none, none, y[2], y[1],
                                        rows_of(g, 1, 0, rows), rows_of(g, 1, rows, rows));
        return std::array{down(y[0]), down(y[1]), down(y[2]), down(d)};
    };
    CHECK(statistics(one) == statistics(two));
}

TEST_CASE_TEMPLATE("eigen: strided reads and places are the reference's, in parallel too", T, float,
                   double) {
    reference_backend reference;
    eigen_backend two(2);
    index_t const size = 60 * 70 * 11;
    auto const x = up(two, random_values<T>(size, 18));
    for (strided_view const& view :
         {strided_view{0, {70, 60, 11}, {11, 770, 1}},  // the leading axes swapped
          strided_view{5, {4000, 6}, {11, 1}},          // columns of a matrix
          strided_view{3, {60, 70, 4}, {770, 11, 2}},   // every other column
          strided_view{0, {11, 4200}, {1, 11}},         // transposed
          strided_view{0, {4000, 9}, {2, 1}},           // overlapping: the last one stays
          strided_view{7, {1, 40000}, {0, 1}}, strided_view{7, {0, 5}, {1, 1}}}) {
        CHECK(down(two.strided_read(x, view)) == down(reference.strided_read(x, view)));
        auto const part = two.slice(x, 0, view.extents.size());
        CHECK(down(two.strided_place(part, view, size)) ==
              down(reference.strided_place(part, view, size)));
    }
}

TEST_CASE_TEMPLATE("eigen: attention and its gradient have the same bits on one thread and on two",
                   T, float, double) {
    eigen_backend one(1), two(2);
    attention_shape const shape{6, 3, 20};
    index_t const tokens = 120;
    auto const offsets = up(one, ints{0, 70, 71, 71, 120});
    auto const first = up(one, ints{0, 70, 71, 71}), counts = up(one, ints{70, 1, 0, 49});
    auto const q = up(one, random_values<T>(tokens * shape.query_columns(), 14));
    auto const k = up(one, random_values<T>(tokens * shape.key_columns(), 15));
    auto const v = up(one, random_values<T>(tokens * shape.key_columns(), 16));
    auto const g = up(one, random_values<T>(tokens * shape.query_columns(), 17));
    auto results = [&](eigen_backend& b) {
        auto const y = b.attention(shape, q, k, v, offsets, first, counts);
        auto const d =
            down(b.attention_backward(shape, g, q, k, v, y[0], y[1], offsets, first, counts));
        return std::array{down(y[0]), down(y[1]), d[0], d[1], d[2]};
    };
    CHECK(results(one) == results(two));
}

TEST_CASE("capabilities: the reference fuses nothing, eigen says what it fuses") {
    CHECK(capabilities(reference_backend{}).empty());
    std::vector<std::string> const all{"join", "rms_norm",  "swiglu",
                                       "rope", "attention", "token_statistics"};
    CHECK(capabilities(eigen_backend(1)) == all);
    CHECK(capabilities<double>(eigen_backend(1)) == all);
}

TEST_CASE("eigen_backend: as many threads as asked for, all of them for 0") {
    CHECK(eigen_backend(1).threads() == 1);
    CHECK(eigen_backend(2).threads() == 2);
    CHECK(eigen_backend(0).threads() >= 1);
}

TEST_CASE_TEMPLATE("segments must cover the rows", Backend, grove::reference_backend,
                   grove::eigen_backend) {
    Backend b;
    std::vector<float> const numbers(12, 1.0f);
    auto const x = b.upload(std::span<float const>(numbers));
    for (std::vector<std::int32_t> const& wrong :
         {std::vector<std::int32_t>{}, {0}, {0, 3}, {1, 4}, {0, 5, 4}, {0, 5}}) {
        auto const offsets = b.upload(std::span<std::int32_t const>(wrong));
        CHECK_THROWS_AS(b.sum_segments(x, 3, offsets), grove::value_error);
        CHECK_THROWS_AS(b.repeat_segments(x, 3, offsets, 4), grove::value_error);
        grove::grouped_shape const g{4, 3, 3, static_cast<grove::index_t>(wrong.size()) - 1};
        CHECK_THROWS_AS(b.grouped_matmul(g, x, x, offsets), grove::value_error);
        CHECK_THROWS_AS(b.grouped_outer(g, x, x, offsets), grove::value_error);
    }
}
