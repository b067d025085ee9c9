// SPDX-License-Identifier: Apache-2.0
/// @file
/// Compares an objective with golden values.
#pragma once

#include <doctest/doctest.h>

#include "recorded_batch.hpp"

namespace grove_test {

inline void check_near(double loss, double expected_loss, std::vector<double> const& gradient,
                       std::vector<double> const& expected) {
    using doctest::Approx;
    CHECK(loss == Approx(expected_loss).epsilon(1e-12));
    REQUIRE(gradient.size() == expected.size());
    for (std::size_t t = 0; t < gradient.size(); ++t) {
        CAPTURE(t);
        CHECK(std::abs(gradient[t] - expected[t]) <= 1e-12 * (1 + std::abs(expected[t])));
        if (expected[t] == 0) CHECK(gradient[t] == 0.0);
    }
}

/// The loss and the gradient of `objective` on `batch`.
template <class Objective>
void check_golden(Objective const& objective, recorded_batch<double> const& batch, double loss,
                  std::vector<double> const& gradient) {
    std::vector<double> actual(batch.log_probability.size(), -1.0);
    double const own = rl::evaluate(objective, batch.view(), actual).loss;
    CAPTURE(loss);
    check_near(own, loss, actual, gradient);
}

}  // namespace grove_test
