// SPDX-License-Identifier: Apache-2.0
#include "grove/autodiff/gradient_check.hpp"

#include <doctest/doctest.h>

#include "../core/values.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/reduce.hpp"

using namespace grove;

namespace {

/// A cube whose gradient is wrong by `factor`.
struct wrong_cube {
    double factor;
    template <class N>
    N operator()(N x) const {
        return x * x * x;
    }
    template <class N>
    several<N, 1> gradient(N g, N x) const {
        return {{g * N(3 * factor) * x * x}};
    }
};

}  // namespace

TEST_CASE("check_gradient: a right gradient passes, one that is wrong by a thousandth does not") {
    reference_backend backend;
    auto const x = from_host(backend, {2, 3}, random_values<double>(6, 1));
    auto cube = [](double factor) {
        return [=](auto const& a) { return map(wrong_cube{factor}, a); };
    };
    CHECK(check_gradient(cube(1.0), x) < 1e-8);
    CHECK(check_gradient(cube(1.001), x) == doctest::Approx(0.001 / 1.001).epsilon(1e-3));
    CHECK(check_gradient(cube(-1.0), x) == doctest::Approx(2.0).epsilon(1e-6));
}

TEST_CASE("check_gradient: the worst of several inputs counts, wherever it stands") {
    reference_backend backend;
    auto const x = from_host(backend, {3}, random_values<double>(3, 2));
    auto first = [](auto const& a, auto const& b) { return map(wrong_cube{1.5}, a) * b; };
    auto second = [](auto const& a, auto const& b) { return a * map(wrong_cube{1.5}, b); };
    CHECK(check_gradient(first, x, x) == doctest::Approx(1.0 / 3).epsilon(1e-6));
    CHECK(check_gradient(second, x, x) == doctest::Approx(1.0 / 3).epsilon(1e-6));
}

TEST_CASE("check_gradient: a gradient that is lost or not a number fails") {
    reference_backend backend;
    auto const x = from_host(backend, {3}, random_values<double>(3, 3));
    CHECK(check_gradient([](auto const& a) { return detach(a) * a; }, x) > 0.1);
    auto const negative = from_host<double>(backend, {1}, {-1.0});
    CHECK(check_gradient([](auto const& a) { return map(law::log{}, a); }, negative) ==
          std::numeric_limits<double>::infinity());
}

TEST_CASE("check_gradient: an unused input has gradient zero") {
    reference_backend backend;
    auto const x = from_host(backend, {3}, random_values<double>(3, 4));
    CHECK(check_gradient([](auto const& a, auto const&) { return sum(a * a); }, x, x) < 1e-8);
    CHECK(check_gradient([](auto const& a) { return affine(a, 0.0, 1.0); }, x) < 1e-8);
}
