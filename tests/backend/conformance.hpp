// SPDX-License-Identifier: Apache-2.0
// What every backend must do: the primitives of grove/backend/concept.hpp against their
// definitions, as loops in double or exact integers. One line tests another backend:
//     GROVE_TEST_BACKENDS(candidate<my_backend, float>, candidate<my_backend, double>);
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "../core/values.hpp"
#include "grove/backend/concept.hpp"

namespace conformance {

using namespace grove;

/// A backend made from `Arguments`, tested for the element type T.
template <class B, class T, auto... Arguments>
struct candidate {
    using backend_type = B;
    using value_type = T;
    static B make() { return B(Arguments...); }
};

template <class T, class B>
auto up(B& b, std::vector<T> const& x) {
    return b.upload(std::span<T const>(x));
}
template <class T, class B, class Buffer>
std::vector<T> down(B& b, Buffer const& x) {
    std::vector<T> y(static_cast<std::size_t>(x.size()));
    b.synchronize();
    b.download(x, std::span<T>(y));
    return y;
}
using ints = std::vector<std::int32_t>;

/// A few hundred roundings: what summing in another order may cost here.
template <class T>
constexpr double tolerance = 200 * double(std::numeric_limits<T>::epsilon());

/// Rows [first, first + count).
template <class T>
std::vector<T> rows_of(std::vector<T> const& x, index_t columns, index_t first, index_t count) {
    auto const begin = x.begin() + first * columns;
    return {begin, begin + count * columns};
}

struct softplus_law {
    template <class N>
    GROVE_HD N operator()(N a, N b, N c) const {
        return math::log(math::exp(a) + N(1)) * b - c;
    }
};
struct two_outputs_law {
    template <class N>
    GROVE_HD several<N, 2> operator()(N a, N b) const {
        return {{math::exp(a), math::select(a < b, a, b)}};
    }
};
struct sum_law {
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a + b;
    }
};
struct square_index_law {
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i * i);
    }
};

// NOLINTBEGIN: doctest's macros declare what clang-tidy cannot see
TEST_CASE_TEMPLATE_DEFINE("backend: models the concept", C, models_concept) {
    static_assert(backend<typename C::backend_type, typename C::value_type>);
    CHECK(!C::backend_type::name().empty());
}

TEST_CASE_TEMPLATE_DEFINE("backend: transfers, slices, casts and tables", C, storage) {
    using T = typename C::value_type;
    auto b = C::make();
    for (index_t size : {0, 1, 5, 100}) {
        auto const x = random_values<T>(size, 1);
        CHECK(down<T>(b, up(b, x)) == x);
        CHECK(b.template allocate<T>(size).size() == size);
        auto const as_double = down<double>(b, b.template cast<double>(up(b, x)));
        CHECK(as_double == std::vector<double>(x.begin(), x.end()));
        auto const table = down<T>(b, b.template tabulate<T>(square_index_law{}, size));
        for (index_t i = 0; i < size; ++i) CHECK(table[static_cast<std::size_t>(i)] == T(i * i));
    }
    auto const x = random_values<T>(10, 2);
    auto const whole = up(b, x);
    CHECK(down<T>(b, b.slice(whole, 3, 4)) == std::vector<T>(x.begin() + 3, x.begin() + 7));
    CHECK(b.slice(whole, 10, 0).size() == 0);
    ints const i{3, -1, 2000000000};
    CHECK(down<std::int32_t>(b, up(b, i)) == i);
    CHECK(down<T>(b, b.template cast<T>(up(b, ints{3, -1, 7}))) == std::vector<T>{3, -1, 7});
    CHECK(down<std::int32_t>(b, b.template cast<std::int32_t>(
                                    up(b, std::vector<T>{T(2.5), T(-7)}))) == ints{2, -7});
}

TEST_CASE_TEMPLATE_DEFINE("backend: map reads full, row, column and number operands", C, maps) {
    using T = typename C::value_type;
    using operand_type = operand<typename C::backend_type::template buffer<T>>;
    auto b = C::make();
    for (auto const& [rows, columns] : std::vector<std::pair<index_t, index_t>>{{1, 1},
                                                                                {1, 37},
                                                                                {5, 1},
                                                                                {3, 17},
                                                                                {4, 16},
                                                                                {7, 12},
                                                                                {5, 6},
                                                                                {300, 70},
                                                                                {130, 260},
                                                                                {0, 3},
                                                                                {3, 0}}) {
        CAPTURE(rows);
        CAPTURE(columns);
        auto const x = random_values<T>(rows * columns, 3), row = random_values<T>(columns, 4);
        auto const column = random_values<T>(rows, 5), number = random_values<T>(1, 6);
        std::vector<std::pair<operand_type, std::vector<T> const*>> const others{
            {{up(b, x), columns, 1}, &x},
            {{up(b, row), 0, 1}, &row},
            {{up(b, column), 1, 0}, &column},
            {{up(b, number), 0, 0}, &number}};
        operand_type const full{up(b, x), columns, 1};
        for (auto const& [second, second_host] : others)
            for (auto const& [third, third_host] : others) {
                auto at = [](operand_type const& o, std::vector<T> const& v, index_t i, index_t j) {
                    return double(
                        v[static_cast<std::size_t>(i * o.row_stride + j * o.column_stride)]);
                };
                std::vector<double> expected;
                for (index_t i = 0; i < rows; ++i)
                    for (index_t j = 0; j < columns; ++j)
                        expected.push_back(std::log1p(std::exp(at(full, x, i, j))) *
                                               at(second, *second_host, i, j) -
                                           at(third, *third_host, i, j));
                auto const y = b.map(softplus_law{}, rows, columns, full, second, third);
                CHECK(worst_error(down<T>(b, y[0]), expected) < tolerance<T>);
            }
    }
}

// Backends may read several neighbours at once: only where that is the same.
TEST_CASE_TEMPLATE_DEFINE("backend: map reads operands from any place, with any stride of rows", C,
                          map_windows) {
    using T = typename C::value_type;
    using operand_type = operand<typename C::backend_type::template buffer<T>>;
    auto b = C::make();
    auto const a = random_values<T>(600, 30), c = random_values<T>(600, 31);
    auto const whole_a = up(b, a), whole_c = up(b, c);
    for (auto const& [rows, columns] :
         std::vector<std::pair<index_t, index_t>>{{1, 9}, {9, 1}, {5, 8}, {8, 5}, {6, 12}})
        for (index_t offset : {0, 1, 2, 4})
            for (index_t row_stride : {columns, columns + 1, columns + 4, index_t{1}, index_t{0}})
                for (index_t column_stride : {0, 1}) {
                    CAPTURE(rows);
                    CAPTURE(columns);
                    CAPTURE(offset);
                    CAPTURE(row_stride);
                    CAPTURE(column_stride);
                    auto const y = down<T>(
                        b, b.map(sum_law{}, rows, columns,
                                 operand_type{b.slice(whole_a, 0, rows * columns), columns, 1},
                                 operand_type{b.slice(whole_c, offset, 600 - offset), row_stride,
                                              column_stride})[0]);
                    std::vector<T> expected;
                    for (index_t i = 0; i < rows; ++i)
                        for (index_t j = 0; j < columns; ++j)
                            expected.push_back(a[static_cast<std::size_t>(i * columns + j)] +
                                               c[static_cast<std::size_t>(offset + i * row_stride +
                                                                          j * column_stride)]);
                    CHECK(y == expected);
                }
}

TEST_CASE_TEMPLATE_DEFINE("backend: map returns several outputs and adds integers", C,
                          map_outputs) {
    using T = typename C::value_type;
    auto b = C::make();
    auto const x = random_values<T>(35, 7), y = random_values<T>(35, 8);
    using operand_type = operand<typename C::backend_type::template buffer<T>>;
    auto const z =
        b.map(two_outputs_law{}, 5, 7, operand_type{up(b, x), 7, 1}, operand_type{up(b, y), 7, 1});
    static_assert(std::tuple_size_v<std::remove_cvref_t<decltype(z)>> == 2);
    auto const smaller = down<T>(b, z[1]);
    std::vector<double> exponential;
    for (std::size_t i = 0; i < x.size(); ++i) {
        exponential.push_back(std::exp(double(x[i])));
        CHECK(smaller[i] == std::min(x[i], y[i]));
    }
    CHECK(worst_error(down<T>(b, z[0]), exponential) < tolerance<T>);

    using index_operand = operand<typename C::backend_type::template buffer<std::int32_t>>;
    auto const sum = b.map(sum_law{}, 1, 3, index_operand{up(b, ints{1, 2000000000, -3}), 0, 1},
                           index_operand{up(b, ints{5, 1, 3}), 0, 1});
    CHECK(down<std::int32_t>(b, sum[0]) == ints{6, 2000000001, 0});
}

TEST_CASE_TEMPLATE_DEFINE("backend: sums and maxima of rows", C, reductions) {
    using T = typename C::value_type;
    auto b = C::make();
    for (auto const& [rows, columns] : std::vector<std::pair<index_t, index_t>>{
             {1, 1}, {1, 1000}, {7, 3}, {33, 47}, {200, 160}, {0, 4}}) {
        CAPTURE(rows);
        CAPTURE(columns);
        auto const x = random_values<T>(rows * columns, 9);
        std::vector<double> sums;
        std::vector<T> maxima;
        for (index_t i = 0; i < rows; ++i) {
            auto const row = rows_of(x, columns, i, 1);
            sums.push_back(std::accumulate(row.begin(), row.end(), 0.0));
            maxima.push_back(*std::max_element(row.begin(), row.end()));
        }
        auto const buffer = up(b, x);
        CHECK(worst_error(down<T>(b, b.reduce_columns(reduction::sum, buffer, rows, columns)),
                          sums) < tolerance<T>);
        CHECK(down<T>(b, b.reduce_columns(reduction::max, buffer, rows, columns)) == maxima);
    }
    auto const nothing = b.reduce_columns(reduction::sum, up(b, std::vector<T>{}), 3, 0);
    CHECK(down<T>(b, nothing) == std::vector<T>(3, T(0)));
    constexpr T infinity = std::numeric_limits<T>::infinity();
    auto const negative = up(b, std::vector<T>{-infinity, T(-3), -infinity, -infinity});
    CHECK(down<T>(b, b.reduce_columns(reduction::max, negative, 2, 2)) ==
          std::vector<T>{T(-3), -infinity});
}

TEST_CASE_TEMPLATE_DEFINE("backend: sums over segments of rows, and their adjoint", C, segments) {
    using T = typename C::value_type;
    auto b = C::make();
    ints const offsets{0, 3, 3, 4, 40};  // the second is empty
    for (index_t columns : {1, 7, 50, 1000}) {
        CAPTURE(columns);
        auto const x = random_values<T>(40 * columns, 10);
        std::vector<double> sums(static_cast<std::size_t>(4 * columns));
        std::vector<T> const sources = random_values<T>(4 * columns, 11);
        std::vector<T> repeated(static_cast<std::size_t>(40 * columns));
        for (index_t s = 0; s < 4; ++s)
            for (index_t i = offsets[static_cast<std::size_t>(s)];
                 i < offsets[static_cast<std::size_t>(s) + 1]; ++i)
                for (index_t j = 0; j < columns; ++j) {
                    auto const from = static_cast<std::size_t>(s * columns + j);
                    auto const to = static_cast<std::size_t>(i * columns + j);
                    sums[from] += double(x[to]);
                    repeated[to] = sources[from];
                }
        auto const index = up(b, offsets);
        CHECK(worst_error(down<T>(b, b.sum_segments(up(b, x), columns, index)), sums) <
              tolerance<T>);
        CHECK(down<T>(b, b.repeat_segments(up(b, sources), columns, index, 40)) == repeated);
    }
    auto const none = b.sum_segments(up(b, std::vector<T>{}), 3, up(b, ints{0}));
    CHECK(none.size() == 0);
}

TEST_CASE_TEMPLATE_DEFINE("backend: top_k is descending, ties go to the lower column", C,
                          selection) {
    using T = typename C::value_type;
    auto b = C::make();
    auto const ties = up(b, std::vector<T>{1, 3, 3, 2, 3, 0, 0, 0, 0, 0});
    CHECK(down<std::int32_t>(b, b.top_k(ties, 2, 5, 4)) == ints{1, 2, 4, 3, 0, 1, 2, 3});
    CHECK(down<std::int32_t>(b, b.top_k(ties, 2, 5, 1)) == ints{1, 0});
    CHECK(b.top_k(up(b, std::vector<T>{}), 0, 5, 2).size() == 0);

    index_t const rows = 9, columns = 131, k = 17;
    auto const x = random_values<T>(rows * columns, 12);
    auto const chosen = down<std::int32_t>(b, b.top_k(up(b, x), rows, columns, k));
    for (index_t i = 0; i < rows; ++i) {
        auto row = rows_of(x, columns, i, 1);
        std::vector<T> values;
        for (auto j : rows_of(chosen, k, i, 1)) values.push_back(row[static_cast<std::size_t>(j)]);
        std::sort(row.rbegin(), row.rend());
        row.resize(static_cast<std::size_t>(k));
        CHECK(values == row);
    }
}

TEST_CASE_TEMPLATE_DEFINE("backend: argsort is stable, segment_offsets counts", C, sorting) {
    auto b = C::make();
    CHECK(down<std::int32_t>(b, b.argsort(up(b, ints{2, 0, 1, 0, 2, -5}))) ==
          ints{5, 1, 3, 2, 0, 4});
    CHECK(b.argsort(up(b, ints{})).size() == 0);
    auto const keys = random_indices(5000, 7, 13);
    auto const order = down<std::int32_t>(b, b.argsort(up(b, keys)));
    REQUIRE(order.size() == keys.size());
    for (std::size_t i = 1; i < order.size(); ++i) {
        auto const before = keys[static_cast<std::size_t>(order[i - 1])];
        auto const after = keys[static_cast<std::size_t>(order[i])];
        REQUIRE((before < after || (before == after && order[i - 1] < order[i])));
    }
    CHECK(down<std::int32_t>(b, b.segment_offsets(up(b, ints{0, 0, 2, 3, 3, 3}), 5)) ==
          ints{0, 2, 2, 3, 6, 6});
    CHECK(down<std::int32_t>(b, b.segment_offsets(up(b, ints{3, 0, 3, 2, 0, 3}), 5)) ==
          ints{0, 2, 2, 3, 6, 6});  // keys in any order
    CHECK(down<std::int32_t>(b, b.segment_offsets(up(b, ints{}), 2)) == ints{0, 0, 0});
    CHECK_THROWS_AS((b.segment_offsets(up(b, ints{0, 2}), 2), b.synchronize()), value_error);
    CHECK_THROWS_AS((b.segment_offsets(up(b, ints{-1}), 2), b.synchronize()), value_error);
}

TEST_CASE_TEMPLATE_DEFINE("backend: gather, scatter_add and write_rows", C, movement) {
    using T = typename C::value_type;
    auto b = C::make();
    ints const index{4, 0, 4, 2, 4};
    for (index_t columns : {1, 3, 65}) {
        auto const x = random_values<T>(5 * columns, 14);
        std::vector<T> gathered, written(static_cast<std::size_t>(6 * columns), T(-1));
        std::vector<double> scattered(static_cast<std::size_t>(6 * columns));
        for (std::size_t i = 0; i < index.size(); ++i)
            for (index_t j = 0; j < columns; ++j) {
                gathered.push_back(x[static_cast<std::size_t>(index[i] * columns + j)]);
                auto const from =
                    i * static_cast<std::size_t>(columns) + static_cast<std::size_t>(j);
                auto const to = static_cast<std::size_t>(index[i] * columns + j);
                scattered[to] += double(x[from]);
                if (i != 0 && i != 2) written[to] = x[from];  // rows without repetition below
            }
        auto const buffer = up(b, x);
        auto const rows = up(b, index);
        CHECK(down<T>(b, b.gather(buffer, columns, rows)) == gathered);
        CHECK(worst_error(down<T>(b, b.scatter_add(buffer, columns, rows, 6)), scattered) <
              tolerance<T>);
        auto target = up(b, std::vector<T>(static_cast<std::size_t>(6 * columns), T(-1)));
        auto part = [&](std::size_t i) { return rows_of(x, columns, index_t(i), 1); };
        std::vector<T> distinct;
        for (std::size_t i : {1u, 3u, 4u}) {
            auto const row = part(i);
            distinct.insert(distinct.end(), row.begin(), row.end());
        }
        b.write_rows(target, up(b, distinct), columns, up(b, ints{0, 2, 4}));
        CHECK(down<T>(b, target) == written);
        CHECK(b.gather(buffer, columns, up(b, ints{})).size() == 0);
        CHECK(down<T>(b, b.scatter_add(up(b, std::vector<T>{}), columns, up(b, ints{}), 2)) ==
              std::vector<T>(static_cast<std::size_t>(2 * columns), T(0)));
    }
    CHECK(down<std::int32_t>(b, b.gather(up(b, ints{7, 8, 9}), 1, up(b, ints{2, 0}))) ==
          ints{9, 7});
}

// A device may find the error when it synchronizes; it must not have touched other memory.
TEST_CASE_TEMPLATE_DEFINE("backend: bad indices and offsets are value_errors", C, index_errors) {
    using T = typename C::value_type;
    auto b = C::make();
    auto const x = up(b, std::vector<T>(6, T(1)));
    for (std::int32_t wrong : {-1, 3, std::numeric_limits<std::int32_t>::max()}) {
        auto const index = up(b, ints{0, wrong, 1});
        CHECK_THROWS_AS((b.gather(x, 2, index), b.synchronize()), value_error);
        CHECK_THROWS_AS((b.scatter_add(x, 2, index, 3), b.synchronize()), value_error);
        auto const around = up(b, std::vector<T>(10, T(0)));
        auto target = b.slice(around, 2, 6);
        CHECK_THROWS_AS((b.write_rows(target, x, 2, index), b.synchronize()), value_error);
        for (index_t outside : {0, 8})
            CHECK(down<T>(b, b.slice(around, outside, 2)) == std::vector<T>(2, T(0)));
    }
    for (ints const& wrong : {ints{}, {0}, {0, 3}, {1, 2}, {0, 3, 2}}) {
        auto const offsets = up(b, wrong);
        grouped_shape const g{2, 3, 3, static_cast<index_t>(wrong.size()) - 1};
        CHECK_THROWS_AS((b.sum_segments(x, 3, offsets), b.synchronize()), value_error);
        CHECK_THROWS_AS((b.repeat_segments(x, 3, offsets, 2), b.synchronize()), value_error);
        CHECK_THROWS_AS((b.grouped_matmul(g, x, x, offsets), b.synchronize()), value_error);
        CHECK_THROWS_AS((b.grouped_outer(g, x, x, offsets), b.synchronize()), value_error);
    }
}

TEST_CASE_TEMPLATE_DEFINE("backend: strided reads permute and cut; places are their adjoint", C,
                          strided) {
    using T = typename C::value_type;
    auto b = C::make();
    struct shape_case {
        strided_view view;
        index_t size, start = 0;  // of the strided buffer, and where it starts in a larger one
    };
    for (auto const& [view, size, start] : std::vector<shape_case>{
             {{0, {3, 2, 5}, {5, 15, 1}}, 30},                       // exchanged
             {{6, {2, 2, 3}, {15, 5, 1}}, 30},                       // a window
             {{0, {5, 6}, {1, 5}}, 30},                              // transposed
             {{0, {0, 4}, {1, 1}}, 30},                              // nothing
             {{29, {1}, {1}}, 30},                                   // one number
             {{0, {30}, {1}}, 30},                                   // all
             {{3, {16}, {1}}, 40},                                   // a run that is not aligned
             {{0, {9, 16, 8}, {8, 72, 1}}, 9 * 16 * 8},              // exchanged, whole packets
             {{0, {16, 9, 6}, {6, 96, 1}}, 9 * 16 * 6},              // and pairs
             {{0, {9, 16, 8}, {8, 72, 1}}, 9 * 16 * 8, 1},           // not aligned in memory
             {{256, {37, 32}, {288, 1}}, 37 * 288},                  // columns
             {{0, {37, 256}, {288, 1}}, 37 * 288, 4},                //
             {{2, {37, 32}, {291, 1}}, 37 * 291},                    // of odd rows
             {{7, {3, 2, 5, 4}, {120, 60, 8, 1}}, 400},              // four axes
             {{8, {3, 2, 5, 4}, {4, 96, 16, 1}}, 400},               //
             {{0, {2, 3, 4, 8}, {8, 16, 48, 1}}, 192},               // all of them, exchanged
             {{1, {2, 2, 2, 2, 2, 2}, {1, 2, 4, 8, 16, 32}}, 65},    // the most axes that there are
             {{399, {20, 4}, {-20, -1}}, 400},                       // backwards
             {{0, {3, 700, 129}, {129, 387, 1}}, 3 * 700 * 129}}) {  // many
        CAPTURE(view.extents);
        CAPTURE(start);
        index_t const count = view.extents.size();
        auto const x = random_values<T>(size, 15), dense = random_values<T>(count + start, 16);
        std::vector<T> around(static_cast<std::size_t>(start), T(7));
        around.insert(around.end(), x.begin(), x.end());
        std::vector<T> read, placed(x.size(), T(0));
        for (index_t i = 0; i < count; ++i) {
            index_t at = view.offset, left = i;
            for (int axis = view.extents.rank() - 1; axis >= 0; --axis) {
                at += left % view.extents[axis] * view.strides[static_cast<std::size_t>(axis)];
                left /= view.extents[axis];
            }
            read.push_back(x[static_cast<std::size_t>(at)]);
            placed[static_cast<std::size_t>(at)] = dense[static_cast<std::size_t>(start + i)];
        }
        auto const buffer = b.slice(up(b, around), start, size);
        CHECK(down<T>(b, b.strided_read(buffer, view)) == read);
        auto const part = b.slice(up(b, dense), start, count);
        CHECK(down<T>(b, b.strided_place(part, view, size)) == placed);
    }
    // reads may repeat
    auto const row = random_values<T>(8, 17);
    auto const repeated = down<T>(b, b.strided_read(up(b, row), strided_view{0, {5, 8}, {0, 1}}));
    for (std::size_t i = 0; i < repeated.size(); ++i) CHECK(repeated[i] == row[i % 8]);
}

/// op(A) · op(B) in double, one pair of a batch after the other.
template <class T>
std::vector<double> product_of(product_shape const& p, std::vector<T> const& a,
                               std::vector<T> const& b) {
    std::vector<double> c;
    for (index_t s = 0; s < p.batch; ++s)
        for (index_t i = 0; i < p.m; ++i)
            for (index_t j = 0; j < p.n; ++j) {
                double sum = 0;
                for (index_t t = 0; t < p.k; ++t) {
                    index_t const from_a = p.transpose_a ? t * p.m + i : i * p.k + t;
                    index_t const from_b = p.transpose_b ? j * p.k + t : t * p.n + j;
                    sum += double(a[static_cast<std::size_t>(s * p.m * p.k + from_a)]) *
                           double(b[static_cast<std::size_t>(s * p.k * p.n + from_b)]);
                }
                c.push_back(sum);
            }
    return c;
}

TEST_CASE_TEMPLATE_DEFINE("backend: products with all transposes, batches and empty extents", C,
                          products) {
    using T = typename C::value_type;
    auto b = C::make();
    for (bool transpose_a : {false, true})
        for (bool transpose_b : {false, true})
            for (product_shape p : std::vector<product_shape>{{1, 1, 1},
                                                              {3, 5, 7},
                                                              {17, 49, 131},
                                                              {101, 30, 64},
                                                              {4, 3, 9, false, false, 5},
                                                              {0, 3, 2},
                                                              {3, 0, 2},
                                                              {3, 2, 0},
                                                              {2, 2, 2, false, false, 0}}) {
                p.transpose_a = transpose_a, p.transpose_b = transpose_b;
                CAPTURE(p.m);
                CAPTURE(p.n);
                CAPTURE(p.k);
                auto const x = random_values<T>(p.batch * p.m * p.k, 16);
                auto const y = random_values<T>(p.batch * p.k * p.n, 17);
                CHECK(worst_error(down<T>(b, b.matmul(p, up(b, x), up(b, y))),
                                  product_of(p, x, y)) < tolerance<T>);
            }
}

TEST_CASE_TEMPLATE_DEFINE("backend: grouped products and the gradient of their matrices", C,
                          groups) {
    using T = typename C::value_type;
    auto b = C::make();
    for (ints const& offsets : {ints{0, 3, 3, 70, 71}, ints{0, 0}, ints{0, 5}, ints{0}})
        for (bool transpose_b : {false, true}) {
            index_t const rows = offsets.back(), n = 19, k = 35;
            auto const count = static_cast<index_t>(offsets.size()) - 1;
            grouped_shape const g{rows, n, k, count, transpose_b};
            auto const x = random_values<T>(rows * k, 18), w = random_values<T>(count * k * n, 19);
            auto const y = random_values<T>(rows * n, 20);
            std::vector<double> expected, outer;
            auto append = [](std::vector<double>& to, std::vector<double> const& more) {
                to.insert(to.end(), more.begin(), more.end());
            };
            for (index_t e = 0; e < count; ++e) {
                index_t const first = offsets[static_cast<std::size_t>(e)];
                index_t const m = offsets[static_cast<std::size_t>(e) + 1] - first;
                auto const xe = rows_of(x, k, first, m), ye = rows_of(y, n, first, m);
                append(expected,
                       product_of({m, n, k, false, transpose_b}, xe, rows_of(w, k * n, e, 1)));
                append(outer, transpose_b ? product_of({n, k, m, true, false}, ye, xe)
                                          : product_of({k, n, m, true, false}, xe, ye));
            }
            auto const index = up(b, offsets);
            CHECK(worst_error(down<T>(b, b.grouped_matmul(g, up(b, x), up(b, w), index)),
                              expected) < tolerance<T>);
            CHECK(worst_error(down<T>(b, b.grouped_outer(g, up(b, x), up(b, y), index)), outer) <
                  tolerance<T>);
        }
}

TEST_CASE_TEMPLATE_DEFINE("backend: a row has the same bits alone and in a batch", C, invariance) {
    using T = typename C::value_type;
    using buffer = typename C::backend_type::template buffer<T>;
    auto b = C::make();
    index_t const rows = 150, columns = 141, n = 53;
    auto const x = random_values<T>(rows * columns, 21), w = random_values<T>(columns * n, 22);
    auto const matrix = up(b, w), row = up(b, random_values<T>(columns, 23));
    auto results = [&](std::vector<T> const& part) {
        auto const m = static_cast<index_t>(part.size()) / columns;
        auto const p = up(b, part);
        auto const offsets = up(b, ints{0, static_cast<std::int32_t>(m)});
        return std::array{
            down<T>(b, b.map(softplus_law{}, m, columns, operand<buffer>{p, columns, 1},
                             operand<buffer>{row, 0, 1}, operand<buffer>{row, 0, 0})[0]),
            down<T>(b, b.reduce_columns(reduction::sum, p, m, columns)),
            down<T>(b, b.reduce_columns(reduction::max, p, m, columns)),
            down<T>(b, b.matmul({m, n, columns}, p, matrix)),
            down<T>(b, b.matmul({m, n, columns, false, true}, p, matrix)),
            down<T>(b, b.grouped_matmul({m, n, columns, 1, true}, p, matrix, offsets))};
    };
    auto const together = results(x);
    for (auto const& [first, count] : std::vector<std::pair<index_t, index_t>>{
             {0, 1}, {7, 1}, {149, 1}, {3, 2}, {20, 9}, {50, 97}}) {
        CAPTURE(first);
        CAPTURE(count);
        auto const part = results(rows_of(x, columns, first, count));
        for (std::size_t r = 0; r < part.size(); ++r) {
            CAPTURE(r);
            auto const width = static_cast<index_t>(together[r].size()) / rows;
            CHECK(part[r] == rows_of(together[r], width, first, count));
        }
    }
}
// NOLINTEND

}  // namespace conformance

/// Runs every case above for these candidates.
#define GROVE_TEST_BACKENDS(...)                            \
    TEST_CASE_TEMPLATE_INVOKE(models_concept, __VA_ARGS__); \
    TEST_CASE_TEMPLATE_INVOKE(storage, __VA_ARGS__);        \
    TEST_CASE_TEMPLATE_INVOKE(maps, __VA_ARGS__);           \
    TEST_CASE_TEMPLATE_INVOKE(map_windows, __VA_ARGS__);    \
    TEST_CASE_TEMPLATE_INVOKE(map_outputs, __VA_ARGS__);    \
    TEST_CASE_TEMPLATE_INVOKE(reductions, __VA_ARGS__);     \
    TEST_CASE_TEMPLATE_INVOKE(segments, __VA_ARGS__);       \
    TEST_CASE_TEMPLATE_INVOKE(selection, __VA_ARGS__);      \
    TEST_CASE_TEMPLATE_INVOKE(sorting, __VA_ARGS__);        \
    TEST_CASE_TEMPLATE_INVOKE(movement, __VA_ARGS__);       \
    TEST_CASE_TEMPLATE_INVOKE(index_errors, __VA_ARGS__);   \
    TEST_CASE_TEMPLATE_INVOKE(strided, __VA_ARGS__);        \
    TEST_CASE_TEMPLATE_INVOKE(products, __VA_ARGS__);       \
    TEST_CASE_TEMPLATE_INVOKE(groups, __VA_ARGS__);         \
    TEST_CASE_TEMPLATE_INVOKE(invariance, __VA_ARGS__)
