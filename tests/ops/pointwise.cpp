// SPDX-License-Identifier: Apache-2.0
// Creation, laws, reductions.
#include "grove/ops/pointwise.hpp"

#include <doctest/doctest.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/reduce.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
reference_backend reference;

auto made(shape extents, numbers const& elements) {
    return from_host(reference, extents, elements);
}

}  // namespace

TEST_CASE("create: from the host and back, constants, indices") {
    CHECK(to_host(made({2, 2}, {1, 2, 3, 4})) == numbers{1, 2, 3, 4});
    CHECK(to_host(full(reference, {3}, 2.5)) == numbers{2.5, 2.5, 2.5});
    CHECK(to_host(zeros<float>(reference, {2, 1})) == std::vector<float>{0, 0});
    CHECK(indices_from(reference, {3, 1}).extents() == shape{2});
    CHECK(to_host(made({0, 4}, {})).empty());
    CHECK_THROWS_WITH_AS(made({2, 2}, {1, 2, 3}),
                         "[tensor] expected 4 elements for shape [2, 2], got 3", shape_error);
}

TEST_CASE("map: operands repeat over rows, over columns, or everywhere") {
    auto const x = made({2, 3}, {1, 2, 3, 4, 5, 6}), row = made({3}, {10, 20, 30});
    auto const column = made({2, 1}, {100, 200}), number = made({1}, {1000});
    CHECK(to_host(x + row) == numbers{11, 22, 33, 14, 25, 36});
    CHECK(to_host(row + x) == numbers{11, 22, 33, 14, 25, 36});
    CHECK(to_host(x + column) == numbers{101, 102, 103, 204, 205, 206});
    CHECK(to_host(number - x) == numbers{999, 998, 997, 996, 995, 994});
    CHECK((row * x).extents() == shape{2, 3});
    CHECK(to_host(x / x) == numbers(6, 1.0));
    auto const deep = made({2, 1, 3}, {1, 2, 3, 4, 5, 6});
    CHECK(to_host(deep * made({2, 1, 1}, {1, -1})) == numbers{1, 2, 3, -4, -5, -6});
}

TEST_CASE("map: an operand of equal size but fewer axes does not decide the shape") {
    auto const row = made({3}, {1, 2, 3}), matrix = made({1, 3}, {4, 5, 6});
    CHECK((row + matrix).extents() == shape{1, 3});
    CHECK((matrix + row).extents() == shape{1, 3});
}

TEST_CASE("map: an empty batch stays empty, whatever it meets") {
    auto const none = made({0, 3}, {});
    CHECK((none * made({3}, {1, 2, 3})).extents() == shape{0, 3});
    CHECK((made({1}, {2}) * none).extents() == shape{0, 3});
    CHECK((made({0, 1}, {}) + none).extents() == shape{0, 3});
}

TEST_CASE("map: operands that fit nowhere are shape_errors") {
    auto const x = made({2, 3}, {1, 2, 3, 4, 5, 6});
    CHECK_THROWS_WITH_AS(x + made({2}, {1, 2}),
                         "[map] expected an operand of shape [2, 3], [3], one column per row or a "
                         "number, got [2]",
                         shape_error);
    CHECK_THROWS_AS(x + made({1, 3}, {1, 2, 3}), shape_error);
    CHECK_THROWS_AS(x + made({3, 2}, {1, 2, 3, 4, 5, 6}), shape_error);
    CHECK_THROWS_AS(x + made({3, 1}, {1, 2, 3}), shape_error);
}

TEST_CASE("map: named laws have their values") {
    auto const x = made({3}, {-1.5, 0.25, 2});
    CHECK(worst_error(to_host(exp(x)),
                      {0.22313016014842982, 1.2840254166877414, 7.38905609893065}) < 1e-14);
    CHECK(worst_error(to_host(sigmoid(x)),
                      {0.18242552380635635, 0.5621765008857981, 0.8807970779778823}) < 1e-14);
    CHECK(worst_error(to_host(silu(x)),
                      {-0.2736382857095345, 0.14054412522144952, 1.7615941559557646}) < 1e-14);
    CHECK(to_host(affine(x, 2.0, 1.0)) == numbers{-2, 1.5, 5});
    CHECK(to_host(map(law::square{}, x)) == numbers{2.25, 0.0625, 4});
    auto const positive = made({2}, {0.25, 4});
    CHECK(to_host(map(law::inverse_sqrt{}, positive)) == numbers{2, 0.5});
    CHECK(worst_error(to_host(map(law::log{}, positive)),
                      {-1.3862943611198906, 1.3862943611198906}) < 1e-15);
    CHECK(to_host(map(law::keep_where<double>{-7}, x, made({3}, {1, 0, 2}))) ==
          numbers{-1.5, -7, 2});
}

TEST_CASE("reduce: sums, means and maxima") {
    auto const x = made({2, 3}, {1, -2, 4, 0, 8, -3});
    CHECK(to_host(sum_columns(x)) == numbers{3, 5});
    CHECK(sum_columns(x).extents() == shape{2, 1});
    CHECK(to_host(max_columns(x)) == numbers{4, 8});
    CHECK(to_host(sum(x)) == numbers{8});
    CHECK(sum(x).extents() == shape{1});
    CHECK(to_host(mean(x))[0] == doctest::Approx(8.0 / 6).epsilon(1e-15));
    auto const offsets = indices_from(reference, {0, 0, 2});
    CHECK(to_host(sum_segments(x, offsets)) == numbers{0, 0, 0, 1, 6, 1});
    CHECK(to_host(repeat_segments(made({2, 1}, {5, 7}), indices_from(reference, {0, 1, 3}), 3)) ==
          numbers{5, 7, 7});
    CHECK_THROWS_AS(max_columns(made({2, 0}, {})), shape_error);
}
