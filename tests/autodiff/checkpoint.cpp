// SPDX-License-Identifier: Apache-2.0
#include "grove/autodiff/checkpoint.hpp"

#include <doctest/doctest.h>

#include "../core/values.hpp"
#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/softmax.hpp"

using namespace grove;

namespace {

using matrix = tensor<eigen_backend, double>;

/// A block with two results, of which the second has another shape.
struct block {
    template <class Tensor>
    std::array<Tensor, 2> operator()(Tensor const& x) const {
        auto const y = silu(x) * x;
        return {softmax(y), sum_columns(y * y)};
    }
};
struct nested_block {
    template <class Tensor>
    std::array<Tensor, 1> operator()(Tensor const& x) const {
        auto const y = checkpoint(block{}, x * x);
        return {y[0] * y[1] + x};
    }
};

struct outcome {
    std::vector<double> value, gradient;
    std::size_t nodes;
};
/// Value, gradient and length of the tape of `f` at fixed inputs.
template <class F>
outcome evaluate(F f) {
    eigen_backend backend(1);
    autodiff<eigen_backend> tape(backend);
    outcome result;
    auto const x = leaf(tape, from_host(backend, {3, 5}, random_values<double>(15, 1)),
                        [&](matrix const& g) { result.gradient = to_host(g); });
    auto const y = f(x);
    result.value = to_host(y);
    result.nodes = tape.tape().size();
    backward(y, from_host(backend, y.extents(), random_values<double>(y.size(), 2)));
    return result;
}
void check_equal(outcome const& with, outcome const& without) {
    CHECK(with.value == without.value);
    REQUIRE(with.gradient.size() == without.gradient.size());
    for (std::size_t i = 0; i < with.gradient.size(); ++i)
        CHECK(with.gradient[i] == doctest::Approx(without.gradient[i]).epsilon(1e-12));
}

}  // namespace

TEST_CASE("checkpoint: the same values and gradients, with a shorter tape") {
    auto const with = evaluate([](auto const& x) {
        auto const y = checkpoint(block{}, x);
        return y[0] * y[1];
    });
    auto const without = evaluate([](auto const& x) {
        auto const y = block{}(x);
        return y[0] * y[1];
    });
    check_equal(with, without);
    CHECK(with.nodes < without.nodes);
}

TEST_CASE("checkpoint: one result of several is enough") {
    for (std::size_t k : {0u, 1u})
        check_equal(evaluate([&](auto const& x) { return checkpoint(block{}, x)[k]; }),
                    evaluate([&](auto const& x) { return block{}(x)[k]; }));
}

TEST_CASE("checkpoint: nests") {
    auto const with = evaluate([](auto const& x) { return checkpoint(nested_block{}, x)[0]; });
    auto const without = evaluate([](auto const& x) {
        auto const y = block{}(x * x);
        return y[0] * y[1] + x;
    });
    check_equal(with, without);
}

TEST_CASE("checkpoint: gradients against finite differences") {
    eigen_backend backend(1);
    auto const x = from_host(backend, {2, 4}, random_values<double>(8, 3));
    auto f = [](auto const& a) { return checkpoint(nested_block{}, a * a)[0]; };
    CHECK(check_gradient(f, x) < 1e-7);
}

TEST_CASE("checkpoint: the function runs once forward, once more on the way back, once to act") {
    eigen_backend backend(1);
    autodiff<eigen_backend> tape(backend);
    int calls = 0;
    auto counting = [&](auto const& x) {
        ++calls;
        return std::array{x * x};
    };
    auto const x = from_host<double>(backend, {1}, {3.0});
    CHECK(to_host(checkpoint(counting, x)[0]) == std::vector<double>{9.0});
    CHECK(calls == 1);
    double gradient = 0;
    auto const y = leaf(tape, x, [&](matrix const& g) { gradient = to_host(g)[0]; });
    auto const z = checkpoint(counting, y)[0];
    CHECK(calls == 2);
    backward(z);
    CHECK(calls == 3);
    CHECK(gradient == 6.0);
}

TEST_CASE("checkpoint: a second function gives the gradient, by every tracked input") {
    eigen_backend backend(1);
    autodiff<eigen_backend> tape(backend);
    auto const number = [&](double x) { return from_host<double>(backend, {1}, {x}); };
    std::vector<double> gradients(2);
    auto const tracked = [&](std::size_t i, double x) {
        return leaf(tape, number(x), [&, i](matrix const& g) { gradients[i] = to_host(g)[0]; });
    };
    auto const first = [](auto const& a, auto const& b, auto const& c) {
        return std::array{a + b + c};
    };
    auto const again = [](auto const& a, auto const& b, auto const& c) {
        return std::array{a * b * c};
    };
    auto const y = checkpoint(first, again,
                              std::array{tracked(0, 2), tracked(1, 3), constant(tape, number(7))});
    CHECK(to_host(y[0])[0] == 12.0);
    backward(y[0]);
    CHECK(gradients == std::vector{21.0, 14.0});
    auto const acted = checkpoint(first, again, std::array{number(2), number(3), number(7)});
    CHECK(to_host(acted[0])[0] == 12.0);
}
