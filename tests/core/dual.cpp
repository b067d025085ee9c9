// SPDX-License-Identifier: Apache-2.0
#include "grove/core/dual.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "grove/core/pack.hpp"

using namespace grove;

namespace {

using dual_2 = dual<double, 2>;

/// Compares the value and both derivatives of f(x, y) with plain numbers and central differences.
template <class F>
void check_derivatives(F f, double x, double y) {
    CAPTURE(x);
    CAPTURE(y);
    auto const d = f(dual_2::variable(x, 0), dual_2::variable(y, 1));
    CHECK(d.value == doctest::Approx(f(x, y)).epsilon(1e-14));
    double const h = 1e-6;
    CHECK(d.derivative[0] == doctest::Approx((f(x + h, y) - f(x - h, y)) / (2 * h)).epsilon(1e-7));
    CHECK(d.derivative[1] == doctest::Approx((f(x, y + h) - f(x, y - h)) / (2 * h)).epsilon(1e-7));
}

dual_2 variable(double x) { return dual_2::variable(x, 0); }

}  // namespace

TEST_CASE("dual: arithmetic against finite differences") {
    for (double x : {-1.7, 0.4, 2.3})
        for (double y : {-0.8, 1.9}) {
            check_derivatives([](auto a, auto b) { return a + b * a; }, x, y);
            check_derivatives([](auto a, auto b) { return a - b; }, x, y);
            check_derivatives([](auto a, auto b) { return a / b; }, x, y);
            check_derivatives([](auto a, auto b) { return -(a * a) * b; }, x, y);
            check_derivatives([](auto a, auto b) { return math::fma(a, b, a); }, x, y);
            check_derivatives(
                [](auto a, auto b) {
                    a += b, a *= a, a -= b;
                    return a;
                },
                x, y);
        }
}

TEST_CASE("dual: functions against finite differences") {
    for (double x : {0.3, 1.2, 4.5})
        for (double sign : {-1.0, 1.0}) {
            check_derivatives([](auto a, auto b) { return math::exp(a) + b; }, sign * x, 0.5);
            check_derivatives([](auto a, auto b) { return math::log(a) * b; }, x, sign);
            check_derivatives([](auto a, auto b) { return math::sqrt(a) * b; }, x, sign);
            check_derivatives([](auto a, auto b) { return math::tanh(a) * b; }, sign * x, 0.5);
            check_derivatives([](auto a, auto b) { return math::abs(a) * b; }, sign * x, 0.5);
            check_derivatives([](auto a, auto b) { return math::sigmoid(a * b); }, sign * x, 0.5);
            check_derivatives([](auto a, auto b) { return math::min(a, b); }, sign * x, 0.5);
            check_derivatives([](auto a, auto b) { return math::max(a, b); }, sign * x, 0.5);
            check_derivatives(
                [](auto a, auto b) {
                    using number = decltype(a);
                    return math::clamp(a, number(-1.0), number(1.0)) * b;
                },
                sign * x, 0.5);
            check_derivatives(
                [](auto a, auto b) { return math::select(a < b, a * a, math::exp(b)); }, sign * x,
                0.5);
        }
}

TEST_CASE("dual: at a tie min, max and clamp take the slope of their first argument") {
    auto const x = dual_2::variable(1.0, 0), y = dual_2::variable(1.0, 1);
    CHECK(math::min(x, y).derivative[0] == 1.0);
    CHECK(math::min(x, y).derivative[1] == 0.0);
    CHECK(math::max(x, y).derivative[0] == 1.0);
    CHECK(math::clamp(x, dual_2(0.0), dual_2(1.0)).derivative[0] == 1.0);
    CHECK(math::clamp(x, dual_2(1.0), dual_2(2.0)).derivative[0] == 1.0);
    CHECK(math::clamp(x, dual_2(1.5), dual_2(2.0)).derivative[0] == 0.0);
    CHECK(math::clamp(x, dual_2(0.0), dual_2(0.5)).derivative[0] == 0.0);
    CHECK(math::abs(variable(0.0)).derivative[0] == 1.0);
}

TEST_CASE("dual: an unselected branch leaks neither its value nor its slope") {
    auto const x = variable(-1.0);
    auto const y = math::select(x > dual_2(0.0), math::log(x), x * x);
    CHECK(y.value == 1.0);
    CHECK(y.derivative[0] == -2.0);
    CHECK(math::select(x <= x, x, math::sqrt(x)).derivative[0] == 1.0);
}

TEST_CASE("dual: constants and stopped gradients have no slope") {
    auto const x = variable(3.0);
    CHECK(dual_2(5.0).derivative[0] == 0.0);
    auto const y = math::stop_gradient(x) * x;
    CHECK(y.value == 9.0);
    CHECK(y.derivative[0] == 3.0);
    CHECK(math::stop_gradient(2.5) == 2.5);
}

TEST_CASE("dual: comparisons read values only") {
    auto const x = variable(1.0);
    dual_2 const one(1.0), two(2.0);
    CHECK(x < two);
    CHECK(two > x);
    CHECK(x <= one);
    CHECK(x >= one);
    CHECK(x == one);
    CHECK_FALSE(x == two);
}

TEST_CASE("dual: numbers over packs carry a derivative in every lane") {
    using number = dual<pack<double>, 1>;
    constexpr int size = pack<double>::size;
    double x[size], value[size], slope[size];
    for (int i = 0; i < size; ++i) x[i] = 0.3 * i - 1.0;
    auto const y = math::sigmoid(number::variable(pack<double>::load(x), 0));
    y.value.store(value);
    y.derivative[0].store(slope);
    for (int i = 0; i < size; ++i) {
        double const s = 1 / (1 + std::exp(-x[i]));
        CHECK(value[i] == doctest::Approx(s).epsilon(1e-14));
        CHECK(slope[i] == doctest::Approx(s * (1 - s)).epsilon(1e-13));
    }
}

TEST_CASE("math: the scalar sigmoid neither overflows nor loses its tails") {
    CHECK(math::sigmoid(-1000.0) == 0.0);
    CHECK(math::sigmoid(1000.0f) == 1.0f);
    CHECK(math::sigmoid(-std::numeric_limits<double>::infinity()) == 0.0);
    CHECK(math::sigmoid(-30.0) == doctest::Approx(9.357622968839299e-14).epsilon(1e-14));
}
