// SPDX-License-Identifier: Apache-2.0
// Movement by index, slices, joins, products.
#include "grove/ops/index.hpp"

#include <doctest/doctest.h>

#include "grove/backend/reference/reference.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/product.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;
reference_backend reference;

auto made(shape extents, numbers const& elements) {
    return from_host(reference, extents, elements);
}
auto index(ints const& elements) { return indices_from(reference, elements); }
auto counting() { return made({3, 4}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}); }

}  // namespace

TEST_CASE("index: rows are gathered and scattered") {
    auto const x = made({3, 2}, {1, 2, 3, 4, 5, 6});
    CHECK(to_host(gather_rows(x, index({2, 0, 2}))) == numbers{5, 6, 1, 2, 5, 6});
    CHECK(to_host(scatter_add_rows(x, index({1, 3, 1}), 4)) == numbers{0, 0, 6, 8, 0, 0, 3, 4});
    CHECK_THROWS_WITH_AS(gather_rows(x, index({0, 3})),
                         "[gather] expected indices in [0, 3), got 3 at 1", value_error);
    CHECK_THROWS_AS(gather_rows(x, index({-1})), value_error);
    CHECK_THROWS_AS(scatter_add_rows(x, index({0, 1, 4}), 4), value_error);
}

TEST_CASE("index: one column of each row, never one of another row") {
    auto const taken = take_columns(counting(), index({3, 1, 0, 0, 2, 2}).reshape({3, 2}));
    CHECK(to_host(taken) == numbers{3, 1, 4, 4, 10, 10});
    CHECK(taken.extents() == shape{3, 2});
    CHECK(to_host(flat_index(index({3, 0, 2}).reshape({3, 1}), 4)) == ints{3, 4, 10});
    CHECK_THROWS_AS(take_columns(counting(), index({4, 0, 0}).reshape({3, 1})), value_error);
    CHECK_THROWS_AS(take_columns(counting(), index({0, -1, 0}).reshape({3, 1})), value_error);
    CHECK_THROWS_AS(take_columns(counting(), index({0, 0}).reshape({2, 1})), shape_error);
}

TEST_CASE("index: top_k") {
    auto const best = top_k(made({2, 3}, {1, 5, 3, 2, 2, 0}), 2);
    CHECK(to_host(best) == ints{1, 2, 0, 1});
    CHECK(best.extents() == shape{2, 2});
    CHECK_THROWS_AS(top_k(counting(), 0), shape_error);
    CHECK_THROWS_WITH_AS(top_k(counting(), 5), "[top_k] expected 1 ≤ k ≤ 4, got 5", shape_error);
}

TEST_CASE("index: slices and swapped axes") {
    CHECK(to_host(slice_rows(counting(), 1, 1)) == numbers{4, 5, 6, 7});
    CHECK(slice_rows(counting(), 3, 0).extents() == shape{0, 4});
    CHECK(to_host(slice_columns(counting(), 1, 2)) == numbers{1, 2, 5, 6, 9, 10});
    auto const swapped = swap_leading(counting().reshape({3, 2, 2}));
    CHECK(swapped.extents() == shape{2, 3, 2});
    CHECK(to_host(swapped) == numbers{0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11});
    CHECK_THROWS_AS(slice_rows(counting(), 2, 2), shape_error);
    CHECK_THROWS_AS(slice_rows(counting(), -1, 1), shape_error);
    CHECK_THROWS_AS(slice_rows(counting(), 1, -1), shape_error);
    CHECK_THROWS_AS(slice_columns(counting(), 3, 2), shape_error);
    CHECK_THROWS_AS(swap_leading(counting()), shape_error);
}

TEST_CASE("index: joins below and beside") {
    auto const x = made({1, 2}, {1, 2}), y = made({2, 2}, {3, 4, 5, 6}), none = made({0, 2}, {});
    CHECK(to_host(concatenate_rows(std::vector{x, none, y})) == numbers{1, 2, 3, 4, 5, 6});
    CHECK(to_host(concatenate_columns(std::vector{y, made({2, 1}, {7, 8})})) ==
          numbers{3, 4, 7, 5, 6, 8});
    CHECK(to_host(concatenate_rows(std::vector{x})) == numbers{1, 2});
    CHECK_THROWS_AS(concatenate_rows(std::vector{x, made({1, 3}, {1, 2, 3})}), shape_error);
    CHECK_THROWS_AS(concatenate_columns(std::vector{x, y}), shape_error);
    CHECK_THROWS_AS(concatenate_rows(std::vector<tensor<reference_backend, double>>{}),
                    shape_error);
    CHECK_THROWS_AS(concatenate_columns(std::vector<tensor<reference_backend, double>>{}),
                    shape_error);
}

TEST_CASE("product: transposes, leading axes and batches") {
    auto const a = made({2, 3}, {1, 2, 3, 4, 5, 6}), b = made({3, 2}, {1, 0, -1, 2, 0, 1});
    numbers const ab{-1, 7, -1, 16};
    CHECK(to_host(matmul(a, b)) == ab);
    auto const at = made({3, 2}, {1, 4, 2, 5, 3, 6}), bt = made({2, 3}, {1, -1, 0, 0, 2, 1});
    CHECK(to_host(matmul(at, b, transpose::yes)) == ab);
    CHECK(to_host(matmul(a, bt, transpose::no, transpose::yes)) == ab);
    CHECK(to_host(matmul(at, bt, transpose::yes, transpose::yes)) == ab);
    CHECK(matmul(a.reshape({2, 1, 3}), b).extents() == shape{2, 1, 2});
    auto const batch = matmul(a.reshape({2, 1, 3}), made({2, 3, 1}, {1, 0, 0, 0, 1, 1}));
    CHECK(batch.extents() == shape{2, 1, 1});
    CHECK(to_host(batch) == numbers{1, 11});
    CHECK(matmul(made({0, 2, 3}, {}), made({0, 3, 2}, {})).extents() == shape{0, 2, 2});
    CHECK(matmul(made({0, 3}, {}), b).extents() == shape{0, 2});
}

TEST_CASE("product: extents that do not fit are shape_errors") {
    auto const a = made({2, 3}, {1, 2, 3, 4, 5, 6});
    CHECK_THROWS_WITH_AS(matmul(a, a), "[matmul] expected equal inner extents, got [2, 3] · [2, 3]",
                         shape_error);
    CHECK_THROWS_AS(matmul(a, made({3}, {1, 2, 3})), shape_error);
    CHECK_THROWS_AS(matmul(a, made({1, 3, 1}, {1, 2, 3})), shape_error);
    CHECK_THROWS_AS(matmul(a.reshape({2, 1, 3}), made({1, 3, 1}, {1, 2, 3})), shape_error);
}

TEST_CASE("product: groups of rows have their own matrices") {
    auto const x = made({3, 2}, {1, 2, 3, 4, 5, 6}), w = made({2, 2, 1}, {1, 1, 10, -10});
    CHECK(to_host(grouped_matmul(x, w, index({0, 2, 3}))) == numbers{3, 7, -10});
    CHECK(to_host(grouped_matmul(x, w, index({0, 0, 3}))) == numbers{-10, -10, -10});
    CHECK_THROWS_AS(grouped_matmul(x, w, index({0, 3})), shape_error);
    CHECK_THROWS_AS(grouped_matmul(x, made({2, 1, 2}, {1, 1, 1, 1}), index({0, 2, 3})),
                    shape_error);
    CHECK_THROWS_AS(grouped_matmul(x, made({2, 2}, {1, 1, 1, 1}), index({0, 2, 3})), shape_error);
}
