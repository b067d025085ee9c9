// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/parameter.hpp"

#include <doctest/doctest.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/nn/attention.hpp"

using namespace grove;

namespace {
using numbers = std::vector<double>;
}

TEST_CASE("a parameter lifted twice collects both gradients, and those of further passes") {
    eigen_backend backend(1);
    parameter<eigen_backend, double> p{"p", from_host(backend, {2}, numbers{3, 5})};
    CHECK(p.gradient.empty());
    auto const pass = [&] {
        autodiff<eigen_backend> tape(backend);
        auto const a = lift(tape, p), b = lift(tape, p);
        backward(sum(a * b));
    };
    pass();
    CHECK(to_host(p.gradient) == numbers{6, 10});
    pass();
    CHECK(to_host(p.gradient) == numbers{12, 20});
    p.clear_gradient();
    CHECK(p.gradient.empty());
    CHECK(to_host(lift(backend, p)) == numbers{3, 5});
}

TEST_CASE("a constant takes no gradient") {
    eigen_backend backend(1);
    parameter<eigen_backend, double> p{"p", from_host(backend, {2}, numbers{3, 5})};
    autodiff<eigen_backend> tape(backend);
    backward(sum(lift(tape, p) * constant(tape, p.value)));
    CHECK(to_host(p.gradient) == numbers{3, 5});
}

TEST_CASE("each parameter of a maker draws its own numbers") {
    eigen_backend backend(1);
    parameter_maker<eigen_backend, double> make(backend, 9), again(backend, 9);
    auto const first = make.normal("a", {3}, 2);
    auto const second = make.normal("b", {3}, 2);
    CHECK(first.name == "a");
    CHECK(to_host(first.value) != to_host(second.value));
    again.constant("norm", {3}, 1);  // takes a number too: inserting no draw changes no other
    CHECK(to_host(again.normal("b", {3}, 2).value) == to_host(second.value));
    CHECK(to_host(again.normal("c", {3}, 1).value)[0] != to_host(second.value)[0] / 2);
    random_key const key{9, random_stream::initialize, 0, 1, 0};
    CHECK(to_host(second.value) ==
          numbers{2 * key.normal(0), 2 * key.normal(1), 2 * key.normal(2)});
}

TEST_CASE("packed_tokens::of lays sequences behind each other") {
    auto const batch = packed_tokens::of({{7, 8, 9}, {}, {5}});
    CHECK(batch.tokens == std::vector<std::int32_t>{7, 8, 9, 5});
    CHECK(batch.positions == std::vector<std::int32_t>{0, 1, 2, 0});
    CHECK(batch.layout.offsets == std::vector<std::int32_t>{0, 3, 3, 4});
    CHECK(batch.layout.key_first == std::vector<std::int32_t>{0, 3, 3});
    CHECK(batch.layout.key_counts == std::vector<std::int32_t>{3, 0, 1});
}
