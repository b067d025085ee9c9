// SPDX-License-Identifier: Apache-2.0
#include "grove/optim/schedule.hpp"

#include <doctest/doctest.h>

using namespace grove;
using doctest::Approx;

TEST_CASE("schedules warm up in a straight line that ends at the peak") {
    cosine_schedule const cosine{.peak = 8, .steps = 100, .warmup = 4};
    constant_schedule const constant{.peak = 8, .warmup = 4};
    linear_schedule const linear{.peak = 8, .steps = 100, .warmup = 4};
    for (std::int64_t step = 0; step < 4; ++step) {
        double const rate = 2.0 * static_cast<double>(step + 1);
        CHECK(cosine(step) == rate);
        CHECK(constant(step) == rate);
        CHECK(linear(step) == rate);
    }
    CHECK(cosine(4) == 8);
    CHECK(constant(4) == 8);
    CHECK(linear(4) == 8);
}

TEST_CASE("the cosine goes down to its floor and stays there") {
    cosine_schedule const schedule{.peak = 2, .steps = 110, .warmup = 10, .floor = 0.1};
    // 2 · (0.1 + 0.9 · (1 + cos(π t)) / 2) at t = 1/4, 1/2, 3/4
    CHECK(schedule(35) == Approx(1.7363961030678928).epsilon(1e-14));
    CHECK(schedule(60) == Approx(1.1).epsilon(1e-14));
    CHECK(schedule(85) == Approx(0.46360389693210733).epsilon(1e-14));
    CHECK(schedule(110) == Approx(0.2).epsilon(1e-14));
    CHECK(schedule(100000) == Approx(0.2).epsilon(1e-14));
    for (std::int64_t step = 10; step < 110; ++step) CHECK(schedule(step + 1) < schedule(step));
}

TEST_CASE("the line goes down to its floor and stays there") {
    linear_schedule const schedule{.peak = 2, .steps = 110, .warmup = 10, .floor = 0.25};
    CHECK(schedule(10) == 2);
    CHECK(schedule(60) == Approx(1.25).epsilon(1e-14));
    CHECK(schedule(110) == Approx(0.5).epsilon(1e-14));
    CHECK(schedule(100000) == Approx(0.5).epsilon(1e-14));
    CHECK(linear_schedule{.peak = 2, .steps = 100}(100) == 0);
}

TEST_CASE("schedules without warm-up or span begin at the peak") {
    CHECK(cosine_schedule{.peak = 3}(0) == 3);
    CHECK(linear_schedule{.peak = 3}(0) == 3);
    CHECK(constant_schedule{.peak = 3}(0) == 3);
    CHECK(cosine_schedule{.peak = 3, .steps = 5, .warmup = 5}(5) == 3);
    CHECK(linear_schedule{.peak = 3, .steps = 5, .warmup = 5}(5) == 3);
}
