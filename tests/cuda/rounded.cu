// SPDX-License-Identifier: Apache-2.0
// Who computes in bf16 keeps activations rounded, and a rounded copy of weights: operations give
// what they give of the same numbers in full, and a copy follows its numbers.
#include <array>
#include <cstring>

#include "../backend/conformance.hpp"
#include "../instances/kernels_cuda.hpp"
#include "grove/backend/cuda/dlpack.hpp"
#include "grove/nn/parameter.hpp"
#include "grove/optim/adamw.hpp"

using namespace grove;

namespace {

using conformance::down, conformance::ints, conformance::up;
using numbers = std::vector<float>;
using buffer = cuda_backend::buffer<float>;

bool same_bits(numbers const& a, numbers const& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The same work on activations that one backend keeps rounded, and another in full.
struct both_forms {
    cuda_backend short_backend{{.precision = product_precision::bf16}}, full_backend;

    /// Rounds what is in full: the numbers of the other form, where results are rounded.
    numbers rounded(numbers const& x) {
        return down<float>(short_backend, short_backend.as_activations(up(short_backend, x)));
    }
    /// work(backend, x…) for x of these sizes: the same bits, once the result in full is rounded
    /// where the other is.
    template <class Work>
    void compare(std::vector<index_t> const& sizes, bool rounds, Work const& work) {
        std::vector<buffer> kept, full;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            auto const x = random_values<float>(sizes[i], 40 + i);
            kept.push_back(short_backend.as_activations(up(short_backend, x)));
            CHECK(kept.back().is_rounded());
            full.push_back(up(full_backend, rounded(x)));
        }
        auto const got = work(short_backend, kept), expected = work(full_backend, full);
        CHECK(got.is_rounded() == rounds);
        auto const numbers_in_full = down<float>(full_backend, expected);
        CHECK(same_bits(down<float>(short_backend, got),
                        rounds ? rounded(numbers_in_full) : numbers_in_full));
    }
};

using operands = std::vector<buffer> const&;
operand<buffer> all(buffer const& x, index_t columns) { return {x, columns, 1}; }

struct one_parameter {
    parameter<cuda_backend, float>* only;

    template <class F>
    void visit(F&& f) {
        f(*only);
    }
};

constexpr product_shape in_full(index_t m, index_t n, index_t k) {
    return {m, n, k, false, false, 1, true};
}

}  // namespace

TEST_CASE("cuda: rounded activations: laws, sums and rows") {
    both_forms f;
    for (index_t columns : {64, 37}) {
        CAPTURE(columns);
        index_t const rows = 50, size = rows * columns;
        auto const law = [&](cuda_backend& b, operands x) {
            return b.map(law::multiply{}, rows, columns, all(x[0], columns), all(x[1], columns))[0];
        };
        f.compare({size, size}, true, law);
        f.compare({size, columns}, true, [&](cuda_backend& b, operands x) {
            return b.map(law::add{}, rows, columns, all(x[0], columns),
                         operand<buffer>{x[1], 0, 1})[0];
        });
        f.compare({size}, false, [&](cuda_backend& b, operands x) {  // one operand in full
            auto const y = up(b, random_values<float>(size, 3));
            return b.map(law::add{}, rows, columns, all(x[0], columns), all(y, columns))[0];
        });
        f.compare({size}, false, [&](cuda_backend& b, operands x) {
            return b.reduce_columns(reduction::sum, x[0], rows, columns);
        });
        f.compare({size}, false, [&](cuda_backend& b, operands x) {
            return b.sum_segments(x[0], columns, up(b, ints{0, 3, 3, 50}));
        });
        f.compare({3 * columns}, true, [&](cuda_backend& b, operands x) {
            return b.repeat_segments(x[0], columns, up(b, ints{0, 3, 9, 50}), rows);
        });
        f.compare({size}, true, [&](cuda_backend& b, operands x) {
            return b.gather(x[0], columns, up(b, ints{7, 0, 49, 7}));
        });
        f.compare({4 * columns}, false, [&](cuda_backend& b, operands x) {
            return b.scatter_add(x[0], columns, up(b, ints{7, 0, 49, 7}), rows);
        });
        f.compare({size, 2 * columns}, true, [&](cuda_backend& b, operands x) {
            auto target = x[0];
            b.write_rows(target, x[1], columns, up(b, ints{9, 3}));
            return target;
        });
        f.compare({2 * columns}, false, [&](cuda_backend& b, operands x) {
            auto target = up(b, random_values<float>(size, 4));
            b.write_rows(target, x[0], columns, up(b, ints{9, 3}));
            return target;
        });
        f.compare({2 * size, 2 * columns, 4 * columns}, true, [&](cuda_backend& b, operands x) {
            auto keys = b.slice(x[0], 0, size), values = b.slice(x[0], size, size);
            b.write_row_pairs(keys, x[1], columns, values, x[2], 2 * columns, up(b, ints{9, 3}));
            return x[0];
        });
        f.compare({size}, true, [&](cuda_backend& b, operands x) {
            return b.slice(x[0], 3 * columns, 5 * columns);
        });
        strided_view const some{columns + 1, {rows - 1, 3}, {columns, 2}};
        f.compare({size}, true,
                  [&](cuda_backend& b, operands x) { return b.strided_read(x[0], some); });
        f.compare({3 * (rows - 1)}, true,
                  [&](cuda_backend& b, operands x) { return b.strided_place(x[0], some, size); });
        std::vector<strided_view> const halves{{0, {rows, columns}, {2 * columns, 1}},
                                               {columns, {rows, columns}, {2 * columns, 1}}};
        f.compare({size, size}, true,
                  [&](cuda_backend& b, operands x) { return b.join(x, halves, 2 * size); });
        f.compare({size}, false, [&](cuda_backend& b, operands x) {
            return b.join(std::vector{x[0], up(b, random_values<float>(size, 5))}, halves,
                          2 * size);
        });
    }
}

TEST_CASE("cuda: rounded activations: fused operations and their gradients") {
    both_forms f;
    for (index_t columns : {64, 38}) {
        CAPTURE(columns);
        index_t const rows = 50, size = rows * columns;
        auto const weight = [&](cuda_backend& b) {
            return up(b, random_values<float>(columns, 6));
        };
        f.compare({size}, true, [&](cuda_backend& b, operands x) {
            return b.rms_norm(x[0], weight(b), rows, columns, 1e-6F)[0];
        });
        for (std::size_t part : {0, 1})
            f.compare({size, size}, part == 0, [&](cuda_backend& b, operands x) {
                auto const inverse = b.rms_norm(x[0], weight(b), rows, columns, 1e-6F)[1];
                return b.rms_norm_backward(x[1], x[0], weight(b), inverse, rows, columns)[part];
            });
        for (std::size_t part : {0, 1})
            f.compare({size}, part == 1, [&](cuda_backend& b, operands x) {  // a stream in full
                auto const stream = up(b, random_values<float>(size, 9));
                return b.add_rms_norm(stream, x[0], weight(b), rows, columns, 1e-6F)[part];
            });
        f.compare({2 * size}, true,
                  [&](cuda_backend& b, operands x) { return b.swiglu(x[0], rows, columns); });
        f.compare({size, 2 * size}, true, [&](cuda_backend& b, operands x) {
            return b.swiglu_backward(x[0], x[1], rows, columns);
        });
        f.compare({size}, true, [&](cuda_backend& b, operands x) {
            auto const table = up(b, random_values<float>(9 * columns, 7));
            std::vector<std::int32_t> positions(static_cast<std::size_t>(rows));
            for (std::size_t i = 0; i < positions.size(); ++i)
                positions[i] = static_cast<std::int32_t>(i % 9);
            return b.rope(x[0], table, up(b, positions), 1, columns, rope_pairs::halves, false);
        });
        ints places(100);
        for (std::int32_t i = 0; i < 100; ++i) places[static_cast<std::size_t>(i)] = i * 37 % 100;
        f.compare({size}, true, [&](cuda_backend& b, operands x) {
            return b.spread_rows(x[0], columns, up(b, places), 2);
        });
        auto const choice = [&](cuda_backend& b) { return up(b, random_values<float>(100, 8)); };
        f.compare({2 * size}, true, [&](cuda_backend& b, operands x) {
            return b.combine_rows(x[0], choice(b), columns, up(b, places), 2);
        });
        for (std::size_t part : {0, 1})
            f.compare({size, 2 * size}, part == 0, [&](cuda_backend& b, operands x) {
                return b.combine_rows_backward(x[0], x[1], choice(b), columns, up(b, places),
                                               2)[part];
            });
    }
}

TEST_CASE("cuda: products in bf16 round their operands, and results but for decisions") {
    both_forms f;
    auto const product = [](cuda_backend& b, operands x) {
        return b.matmul({60, 96, 128}, x[0], x[1]);
    };
    auto const kept =
        f.short_backend.as_activations(up(f.short_backend, random_values<float>(60 * 128, 1)));
    auto const weight = up(f.short_backend, random_values<float>(128 * 96, 2));
    auto const y = product(f.short_backend, {kept, weight});
    auto const z = f.short_backend.matmul(in_full(60, 96, 128), kept, weight);
    CHECK(y.is_rounded());
    CHECK_FALSE(z.is_rounded());
    CHECK_FALSE(weight.is_rounded());
    auto const rounded = f.rounded(down<float>(f.short_backend, z));
    CHECK(worst_error(down<float>(f.short_backend, y), {rounded.begin(), rounded.end()}) < 0.02);
    CHECK_FALSE(f.short_backend.matmul({96, 60, 128, true}, weight, kept).is_rounded());
}

TEST_CASE("cuda: a copy in bf16 follows its numbers, whoever writes them") {
    cuda_backend b({.precision = product_precision::bf16});
    auto const x = up(b, random_values<float>(8 * 64, 1));
    auto const before = random_values<float>(64 * 32, 2), after = random_values<float>(64 * 32, 3);
    auto const product = [&](buffer const& w) {
        return down<float>(b, b.matmul(in_full(8, 32, 64), x, w));
    };
    auto const expected = product(up(b, after));
    auto const written = [&](auto const& write) {
        auto w = up(b, before);
        auto const old = product(w);
        write(w);
        CHECK_FALSE(same_bits(product(w), old));
        return product(w);
    };
    CHECK(same_bits(written([&](buffer& w) { b.assign(w, std::span<float const>(after)); }),
                    expected));
    CHECK(same_bits(written([&](buffer& w) {
                        std::vector<std::int32_t> rows(64);
                        for (std::int32_t i = 0; i < 64; ++i) rows[static_cast<std::size_t>(i)] = i;
                        b.write_rows(w, up(b, after), 32, up(b, rows));
                    }),
                    expected));
    auto const copy_to = [&](float* to) {
        REQUIRE(cudaMemcpyAsync(to, after.data(), after.size() * sizeof(float),
                                cudaMemcpyHostToDevice, b.system().stream()) == cudaSuccess);
        b.synchronize();
    };
    CHECK(same_bits(written([&](buffer& w) { copy_to(w.data()); }), expected));
    auto w = up(b, before);
    auto* const lent = to_dlpack(tensor<cuda_backend, float>(b, w, {64, 32}));
    auto const old = product(w);
    copy_to(static_cast<float*>(lent->dl_tensor.data));  // by another framework, behind our reading
    CHECK(same_bits(product(w), expected));
    lent->deleter(lent);
}

TEST_CASE("cuda: AdamW writes weights and their copies in bf16 together") {
    cuda_backend b({.precision = product_precision::bf16});
    auto const x = up(b, random_values<float>(8 * 64, 1));
    for (bool shared : {false, true}) {
        parameter<cuda_backend, float> w{"w",
                                         from_host(b, {64, 33}, random_values<float>(64 * 33, 2))};
        one_parameter model{&w};
        b.matmul(in_full(8, 33, 64), x, w.value.buffer());
        auto const held = shared ? w.value : tensor<cuda_backend, float>{};
        adamw<cuda_backend, float> optimizer;
        for (int step = 0; step < 3; ++step) {
            w.gradient = from_host(b, {64, 33}, random_values<float>(64 * 33, 3 + step));
            optimizer.step(model, 0.1);
            auto const fresh = up(b, to_host(w.value));
            CHECK(same_bits(down<float>(b, b.matmul(in_full(8, 33, 64), x, w.value.buffer())),
                            down<float>(b, b.matmul(in_full(8, 33, 64), x, fresh))));
        }
    }
}

TEST_CASE("cuda: a graph reads in bf16 what its weights are when it is launched") {
    cuda_backend b({.precision = product_precision::bf16});
    auto const x = up(b, random_values<float>(8 * 64, 1));
    auto w = up(b, random_values<float>(64 * 32, 2)),
         late = up(b, random_values<float>(64 * 32, 9));
    buffer y, z;
    auto const work = [&] {
        y = b.matmul(in_full(8, 32, 64), x, w);
        z = b.matmul(in_full(8, 32, 64), x, late);  // never read in bf16 before the capture
    };
    y = b.matmul(in_full(8, 32, 64), x, w);
    auto recorded = b.capture(work);
    for (std::uint32_t seed : {4U, 5U}) {
        auto const next = random_values<float>(64 * 32, seed);
        b.assign(w, std::span<float const>(next));
        recorded.launch();
        CHECK(same_bits(down<float>(b, y),
                        down<float>(b, b.matmul(in_full(8, 32, 64), x, up(b, next)))));
        CHECK(same_bits(down<float>(b, z),
                        down<float>(b, b.matmul(in_full(8, 32, 64), x,
                                                up(b, random_values<float>(64 * 32, 9))))));
    }
}
