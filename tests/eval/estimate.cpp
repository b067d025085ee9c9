// SPDX-License-Identifier: Apache-2.0
#include "grove/eval/estimate.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace grove;

TEST_CASE("mean_estimate: golden mean and standard error") {
    auto const result = mean_estimate(std::vector{0.25, 0.5, 1.0, 0.0, 0.75});
    CHECK(result.value == doctest::Approx(0.5).epsilon(1e-15));
    CHECK(result.standard_error == doctest::Approx(0.1767766952966369).epsilon(1e-14));
}

TEST_CASE("mean_estimate: equal values are certain, one value has an unknown error") {
    CHECK(mean_estimate(std::vector{0.25, 0.25, 0.25}).standard_error == 0.0);
    CHECK(mean_estimate(std::vector{0.25}).value == 0.25);
    CHECK(std::isnan(mean_estimate(std::vector{0.25}).standard_error));
    CHECK_THROWS_AS(mean_estimate({}), value_error);
}

TEST_CASE("wilson_interval: golden bounds, computed with 40 digits") {
    auto const check = [](interval actual, double low, double high) {
        CHECK(actual.low == doctest::Approx(low).epsilon(1e-12));
        CHECK(actual.high == doctest::Approx(high).epsilon(1e-12));
    };
    check(wilson_interval(81, 263), 0.2552885198782742, 0.3662095769828000);
    check(wilson_interval(5, 20, 1.0), 0.16666666666666666, 0.35714285714285715);
    check(wilson_interval(10, 10), 0.7224672001371107, 1.0);
    CHECK(wilson_interval(0, 10).high == doctest::Approx(0.2775327998628892).epsilon(1e-12));
    CHECK(wilson_interval(0, 10).low >= 0.0);
    CHECK(wilson_interval(0, 10).low < 1e-15);
    CHECK(wilson_interval(10, 10).high <= 1.0);
}

TEST_CASE("wilson_interval: what it refuses") {
    CHECK_THROWS_AS(wilson_interval(0, 0), value_error);
    CHECK_THROWS_AS(wilson_interval(-1, 5), value_error);
    CHECK_THROWS_AS(wilson_interval(6, 5), value_error);
    CHECK_THROWS_AS(wilson_interval(1, 5, 0.0), value_error);
    CHECK_THROWS_AS(wilson_interval(1, 5, std::nan("")), value_error);
}
