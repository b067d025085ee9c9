// SPDX-License-Identifier: Apache-2.0
// Softmax, normalisation, gated activation, rotary embedding: golden values, gradients, twins.
#include <doctest/doctest.h>

#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/ops/rms_norm.hpp"
#include "grove/ops/rope.hpp"
#include "grove/ops/softmax.hpp"
#include "grove/ops/swiglu.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;
numbers const x6{0.96, 1.95, 0.08, -1.9, -1.1, 1.31};

template <class T>
std::vector<T> rows_of(std::vector<T> const& x, index_t columns, index_t first, index_t count) {
    auto const begin = x.begin() + first * columns;
    return {begin, begin + count * columns};
}
/// Rows alone must have the values and the gradient (of their own row) that they have in a batch.
template <class T, class F>
void check_batch_invariance(eigen_backend& b, F f, index_t rows, index_t columns) {
    auto learned = [&](index_t first, index_t count) {
        std::vector<T> gradient;
        autodiff<eigen_backend> tape(b);
        auto const all = random_values<T>(rows * columns, 1);
        auto const x =
            leaf(tape, from_host(b, {count, columns}, rows_of(all, columns, first, count)),
                 [&](auto const& g) { gradient = to_host(g); });
        auto const y = f(x, first);
        auto const value = to_host(y);
        backward(y, full(b, y.extents(), T(0.5)));
        return std::array{value, gradient};
    };
    auto const together = learned(0, rows);
    for (auto const& [first, count] :
         std::vector<std::pair<index_t, index_t>>{{0, 1}, {3, 2}, {rows - 1, 1}, {1, rows / 2}}) {
        auto const part = learned(first, count);
        for (std::size_t i = 0; i < 2; ++i) {
            auto const width = static_cast<index_t>(together[i].size()) / rows;
            CHECK(part[i] == rows_of(together[i], width, first, count));
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("softmax: golden values, and no overflow", B, reference_backend, eigen_backend) {
    B b;
    auto const x = from_host(b, {2, 3}, x6);
    CHECK(worst_error(to_host(softmax(x)),
                      {0.243544999076041, 0.6554366970817107, 0.10101830384224833,
                       0.03570838470848959, 0.07947047165909815, 0.8848211436324124}) < 1e-14);
    CHECK(worst_error(to_host(log_softmax(x)),
                      {-1.41245355239948, -0.4224535523994801, -2.29245355239948,
                       -3.3323697519891717, -2.532369751989172, -0.12236975198917194}) < 1e-14);
    CHECK(worst_error(to_host(log_sum_exp(x)), {2.3724535523994796, 1.432369751989172}) < 1e-14);
    CHECK(log_sum_exp(x).extents() == shape{2, 1});
    auto const large = from_host<double>(b, {2, 2}, {1000, 1000, -1000, -1000});
    CHECK(to_host(softmax(large)) == numbers(4, 0.5));
    constexpr double infinity = std::numeric_limits<double>::infinity();
    CHECK(to_host(softmax(from_host<double>(b, {1, 3}, {-infinity, 2, -infinity}))) ==
          numbers{0, 1, 0});
    CHECK(softmax(zeros<double>(b, {0, 3})).extents() == shape{0, 3});
    CHECK_THROWS_AS(softmax(zeros<double>(b, {3, 0})), shape_error);
}

TEST_CASE_TEMPLATE("softmax: gradients", B, reference_backend, eigen_backend) {
    B b;
    auto const x = random_tensor<double>(b, {3, 4}, 2);
    CHECK(check_gradient([](auto const& a) { return softmax(a); }, x) < 1e-7);
    CHECK(check_gradient([](auto const& a) { return log_softmax(a); }, x) < 1e-7);
    CHECK(check_gradient([](auto const& a) { return log_sum_exp(a); }, x) < 1e-7);
}

TEST_CASE_TEMPLATE("rms_norm: golden values, gradient, errors", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const x = from_host(b, {2, 3}, x6), w = from_host<double>(b, {3}, {1.5, -0.5, 2.0});
    CHECK(worst_error(to_host(rms_norm(x, w, 1e-5)),
                      {1.1467486009010939, -0.776444365193449, 0.12741651121123265,
                       -1.9308349288934443, 0.3726172669794367, 1.7750131627020438}) < 1e-14);
    CHECK(check_gradient([](auto const& a, auto const& c) { return rms_norm(a, c, 1e-5); }, x, w) <
          1e-7);
    CHECK(to_host(rms_norm(zeros<double>(b, {1, 3}), w, 1e-5)) == numbers{0, 0, 0});
    CHECK(rms_norm(zeros<double>(b, {0, 3}), w, 1e-5).extents() == shape{0, 3});
    CHECK_THROWS_WITH_AS(rms_norm(x, from_host<double>(b, {2}, {1, 1}), 1e-5),
                         "[rms_norm] expected a weight of shape [3], got [2]", shape_error);
}

TEST_CASE_TEMPLATE("add_rms_norm: the sum and its norm, gradient, errors", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const x = from_host(b, {2, 3}, x6), y = affine(x, -0.3, 1.0),
               w = from_host<double>(b, {3}, {1.5, -0.5, 2.0});
    auto const [sum, normed] = add_rms_norm(x, y, w, 1e-5);
    CHECK(to_host(sum) == to_host(x + y));
    CHECK(to_host(normed) == to_host(rms_norm(x + y, w, 1e-5)));
    auto const both = [](auto const& a, auto const& c, auto const& d) {
        auto const all = add_rms_norm(a, c, d, 1e-5);
        return all[0] * all[1];
    };
    CHECK(check_gradient(both, x, y, w) < 1e-7);
    CHECK_THROWS_WITH_AS(
        add_rms_norm(x, slice_rows(y, 0, 1), w, 1e-5),
        "[add_rms_norm] expected two tensors of shape [2, 3] and a weight [3], got [1, 3] and [3]",
        shape_error);
}

TEST_CASE_TEMPLATE("swiglu: golden values, gradient, errors", B, reference_backend, eigen_backend) {
    B b;
    auto const x = from_host<double>(b, {2, 4}, {0.5, -1, 2, 3, -0.25, 4, 1.5, -2});
    CHECK(worst_error(to_host(swiglu(x)), {0.6224593312018546, -0.8068242641099853,
                                           -0.16418381216782574, -7.856110320303268}) < 1e-14);
    CHECK(check_gradient([](auto const& a) { return swiglu(a); }, x) < 1e-7);
    auto const extreme = from_host<double>(b, {1, 4}, {-1000, 1000, 2, 3});
    CHECK(to_host(swiglu(extreme)) == numbers{0, 3000});
    CHECK_THROWS_AS(swiglu(from_host(b, {2, 3}, x6)), shape_error);
}

TEST_CASE_TEMPLATE("rope: golden values, gradient, errors", B, reference_backend, eigen_backend) {
    B b;
    auto const x = from_host<double>(
        b, {3, 8}, {1.5,   1.15,  0.25, -0.76, -1.41, -1.4, -0.74, 0.28, 1.16, 1.5,  1.13,  0.23,
                    -0.78, -1.42, -1.4, -0.71, 0.3,   1.18, 1.5,   1.11, 0.21, -0.8, -1.43, -1.39});
    numbers const expected{-1.520268746915635,
                           1.323232319557065,
                           -0.03581811206031055,
                           -0.38620749407492017,
                           1.5003182261709296,
                           -1.4202167426410235,
                           0.5336152361199168,
                           -0.14623407237070568,
                           1.16,
                           1.5,
                           1.13,
                           0.23,
                           -0.78,
                           -1.42,
                           -1.4,
                           -0.71,
                           1.5234850676336757,
                           0.5033850751799743,
                           0.13781599579589787,
                           1.5398387792512729,
                           -1.3116926538210105,
                           -0.03566455085245612,
                           -0.6070110228916726,
                           -1.60338019191098};
    auto rotate = [](auto const& a) {
        auto const table = rope_table<double>(a.backend(), 6, 4, 100.0);
        return rope(a, table, indices_from(a.backend(), {3, 0, 5}), 2);
    };
    CHECK(worst_error(to_host(rotate(x)), expected) < 1e-14);
    CHECK(check_gradient(rotate, x) < 1e-7);

    // The same pairs beside each other: columns 0, 2 of each head of 4 move to 0, 1 and back.
    auto swap_inner = [](auto const& a) {
        return gather_rows(
                   a.reshape({24, 1}),
                   indices_from(a.backend(), {0,  2,  1,  3,  4,  6,  5,  7,  8,  10, 9,  11,
                                              12, 14, 13, 15, 16, 18, 17, 19, 20, 22, 21, 23}))
            .reshape({3, 8});
    };
    auto rotate_interleaved = [](auto const& a) {
        auto const table = rope_table<double>(a.backend(), 6, 4, 100.0);
        return rope(a, table, indices_from(a.backend(), {3, 0, 5}), 2, rope_pairs::interleaved);
    };
    CHECK(to_host(swap_inner(rotate_interleaved(swap_inner(x)))) == to_host(rotate(x)));
    CHECK(check_gradient(rotate_interleaved, x) < 1e-7);
    auto const table = rope_table<double>(b, 6, 4);
    CHECK_THROWS_AS(rope(x, table, indices_from(b, {3, 0, 6}), 2), value_error);
    CHECK_THROWS_AS(rope(x, table, indices_from(b, {3, 0, -1}), 2), value_error);
    CHECK_THROWS_AS(rope(x, table, indices_from(b, {3, 0}), 2), shape_error);
    CHECK_THROWS_AS(rope(x, table, indices_from(b, {3, 0, 1}), 3), shape_error);
    CHECK_THROWS_AS(rope_table<double>(b, 6, 3), configuration_error);
    CHECK_THROWS_AS(rope_table<double>(b, 6, 0), configuration_error);
}

TEST_CASE_TEMPLATE("split_columns: parts, errors, gradient", B, reference_backend, eigen_backend) {
    B b;
    auto const x = random_tensor<double>(b, {3, 6}, 1);
    auto const parts = split_columns(x, std::array<index_t, 3>{3, 1, 2});
    CHECK(parts[1].extents() == shape{3, 1});
    CHECK(to_host(parts[2]) == to_host(slice_columns(x, 4, 2)));
    CHECK(to_host(concatenate_columns(std::vector(parts.begin(), parts.end()))) == to_host(x));
    CHECK_THROWS_AS(split_columns(x, std::array<index_t, 2>{3, 2}), shape_error);
    // A gradient of one part alone, and of two.
    CHECK(check_gradient(
              [](auto const& a) {
                  auto const y = split_columns(a, std::array<index_t, 2>{4, 2})[1];
                  return y * y;
              },
              x) < 1e-7);
    CHECK(check_gradient(
              [](auto const& a) {
                  auto const y = split_columns(a, std::array<index_t, 3>{2, 2, 2});
                  return y[0] * y[2];
              },
              x) < 1e-7);
}

TEST_CASE_TEMPLATE("rope_split: queries, keys and values side by side", B, reference_backend,
                   eigen_backend) {
    B b;
    attention_shape const heads{3, 2, 4};
    auto const parts = [&](auto const& a) {
        auto const table = rope_table<double>(a.backend(), 6, 4);
        return rope_split(a, table, indices_from(a.backend(), {3, 0, 5}), heads,
                          rope_pairs::interleaved);
    };
    auto const x = random_tensor<double>(b, {3, 28}, 1);
    auto const y = parts(x);
    auto const turned = [&](index_t first, index_t count) {
        return to_host(rope(slice_columns(x, first, 4 * count), rope_table<double>(b, 6, 4),
                            indices_from(b, {3, 0, 5}), count, rope_pairs::interleaved));
    };
    CHECK(to_host(y[0]) == turned(0, 3));
    CHECK(to_host(y[1]) == turned(12, 2));
    CHECK(to_host(y[2]) == to_host(slice_columns(x, 20, 8)));
    CHECK(check_gradient(
              [&](auto const& a) {
                  auto const z = parts(a);
                  return concatenate_columns(std::vector(z.begin(), z.end()));
              },
              x) < 1e-7);
    CHECK_THROWS_AS(parts(random_tensor<double>(b, {3, 24}, 1)), shape_error);
    CHECK_THROWS_AS(parts(random_tensor<double>(b, {2, 28}, 1)), shape_error);
}

TEST_CASE_TEMPLATE("fused layers agree with their composites, values and gradients", T, float,
                   double) {
    eigen_backend b(2);
    for (auto const& [rows, columns] :
         std::vector<std::pair<index_t, index_t>>{{1, 1}, {5, 7}, {3, 64}, {40, 131}}) {
        CAPTURE(rows);
        CAPTURE(columns);
        auto const x = random_tensor<T>(b, {rows, columns}, 3),
                   w = random_tensor<T>(b, {columns}, 4);
        CHECK(disagreement(
                  [](auto const& a, auto const& c) { return rms_norm(a, c, T(1e-6)); },
                  [](auto const& a, auto const& c) { return rms_norm_composite(a, c, T(1e-6)); }, x,
                  w) < tolerance<T>);
        auto const gates = random_tensor<T>(b, {rows, 2 * columns}, 5);
        CHECK(disagreement([](auto const& a) { return swiglu(a); },
                           [](auto const& a) { return swiglu_composite(a); },
                           gates) < tolerance<T>);
        auto const positions = random_indices(rows, 50, 6);
        auto turn = [&](auto rotation) {
            return [&, rotation](auto const& a) {
                auto const table = rope_table<T>(a.backend(), 50, 2 * columns);
                return rotation(a, table, indices_from(a.backend(), positions));
            };
        };
        auto const heads = random_tensor<T>(b, {rows, 6 * columns}, 7);
        CHECK(disagreement(turn([](auto const&... a) { return rope(a..., 3); }),
                           turn([](auto const&... a) { return rope_composite(a..., 3); }),
                           heads) < tolerance<T>);
        auto const pairs = rope_pairs::interleaved;
        CHECK(disagreement(turn([=](auto const&... a) { return rope(a..., 3, pairs); }),
                           turn([=](auto const&... a) { return rope_composite(a..., 3, pairs); }),
                           heads) < tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("fused layers: a row's bits do not know its batch", T, float, double) {
    eigen_backend b(2);
    index_t const rows = 150, columns = 122;
    auto const w = random_values<T>(columns, 8);
    auto norm = [&](auto const& x, index_t) {
        return rms_norm(x, from_host(x.backend(), {columns}, w), T(1e-6));
    };
    auto gate = [](auto const& x, index_t) { return swiglu(x); };
    auto rotate = [&](auto const& x, index_t first) {
        ints positions;
        for (index_t i = 0; i < x.rows(); ++i)
            positions.push_back(static_cast<std::int32_t>(first + i));
        return rope(x, rope_table<T>(x.backend(), rows, x.columns() / 2),
                    indices_from(x.backend(), positions), 2);
    };
    auto logarithm = [](auto const& x, index_t) { return log_softmax(x); };
    check_batch_invariance<T>(b, norm, rows, columns);
    check_batch_invariance<T>(b, gate, rows, columns);
    check_batch_invariance<T>(b, logarithm, rows, columns);
    check_batch_invariance<T>(b, rotate, rows, 120);
}
