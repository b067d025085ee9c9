// SPDX-License-Identifier: Apache-2.0
#include "grove/core/law.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace grove;

namespace {

struct product_law {
    template <class N>
    N operator()(N a, N b) const {
        return a * b;
    }
};
/// Two outputs of three inputs, one of which the second output ignores.
struct mixed_law {
    template <class N>
    several<N, 2> operator()(N a, N b, N c) const {
        return {{math::exp(a * b) - c, math::tanh(a) / b}};
    }
};
/// A law whose own gradient is deliberately not the derivative of its value.
struct straight_through_law {
    template <class N>
    N operator()(N x) const {
        return math::select(x < N(0), N(-1), N(1));
    }
    template <class N>
    several<N, 1> gradient(N g, N) const {
        return {{g}};
    }
};

}  // namespace

TEST_CASE("law: the number of outputs is deduced") {
    static_assert(law_outputs<product_law, float, 2> == 1);
    static_assert(law_outputs<mixed_law, double, 3> == 2);
}

TEST_CASE("gradient_law: one output is the chain rule") {
    gradient_law<product_law, 1, 2> const gradient{};
    auto const d = gradient(3.0, 5.0, 7.0);
    CHECK(d.value[0] == 21.0);
    CHECK(d.value[1] == 15.0);
}

TEST_CASE("gradient_law: several outputs against finite differences") {
    gradient_law<mixed_law, 2, 3> const gradient{};
    double const g[] = {0.7, -1.3}, x[] = {0.6, 1.4, -0.2}, h = 1e-6;
    auto const d = gradient(g[0], g[1], x[0], x[1], x[2]);
    auto loss = [&](double a, double b, double c) {
        auto const y = mixed_law{}(a, b, c);
        return g[0] * y.value[0] + g[1] * y.value[1];
    };
    for (int i = 0; i < 3; ++i) {
        double const da = i == 0 ? h : 0, db = i == 1 ? h : 0, dc = i == 2 ? h : 0;
        double const difference =
            (loss(x[0] + da, x[1] + db, x[2] + dc) - loss(x[0] - da, x[1] - db, x[2] - dc)) /
            (2 * h);
        CHECK(d.value[i] == doctest::Approx(difference).epsilon(1e-8));
    }
}

TEST_CASE("gradient_law: a law's own gradient is taken in place of dual numbers") {
    gradient_law<straight_through_law, 1, 1> const gradient{};
    CHECK(gradient(2.5, -4.0).value[0] == 2.5);
}
