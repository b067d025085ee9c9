// SPDX-License-Identifier: Apache-2.0
#include "grove/ops/expert_rows.hpp"

#include <doctest/doctest.h>

#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/reference/reference.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;
reference_backend reference;

// Three tokens, two choices each, of four experts; nobody chose expert 1.
template <class B>
expert_order<B> order_of(B& backend, ints const& chosen = {2, 0, 3, 2, 0, 2}) {
    return order_by_expert(indices_from(backend, chosen).reshape({3, 2}), 4);
}

}  // namespace

TEST_CASE("expert_rows: slots are sorted by expert, stably") {
    auto const order = order_of(reference);
    CHECK(order.top == 2);
    CHECK(to_host(order.slots) == ints{1, 4, 0, 3, 5, 2});
    CHECK(to_host(order.places) == ints{2, 0, 5, 3, 1, 4});
    CHECK(to_host(order.offsets) == ints{0, 2, 2, 5, 6});
    CHECK_THROWS_AS(order_of(reference, {0, 1, 2, 3, 4, 0}), value_error);
}

TEST_CASE("expert_rows: rows go to the places of their choices and come back weighted") {
    auto const order = order_of(reference);
    auto const x = from_host<double>(reference, {3, 2}, {1, 2, 3, 4, 5, 6});
    auto const spread = spread_rows(x, order);
    CHECK(spread.extents() == shape{6, 2});
    CHECK(to_host(spread) == numbers{1, 2, 5, 6, 1, 2, 3, 4, 5, 6, 3, 4});
    auto const weights = from_host<double>(reference, {3, 2}, {1, 10, 2, 20, 3, 30});
    CHECK(to_host(combine_rows(spread, order, weights)) == numbers{11, 22, 66, 88, 165, 198});
    CHECK_THROWS_AS(spread_rows(spread, order), shape_error);
    CHECK_THROWS_AS(combine_rows(x, order, weights), shape_error);
    CHECK_THROWS_AS(combine_rows(spread, order, spread), shape_error);
}

TEST_CASE("expert_rows: gradients") {
    auto const x = random_tensor<double>(reference, {3, 5}, 1);
    auto const weights = random_tensor<double>(reference, {3, 2}, 2);
    CHECK(check_gradient(
              [](auto const& rows, auto const& w) {
                  auto const order = order_of(rows.backend());
                  auto const made = spread_rows(rows, order);
                  return combine_rows(made * made, order, w);
              },
              x, weights) < 1e-7);
}
