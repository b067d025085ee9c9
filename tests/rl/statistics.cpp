// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/statistics.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace grove;

TEST_CASE("an average of nothing is unmeasured, not zero") {
    CHECK(std::isnan(rl::average{}.value()));
    CHECK(rl::average{.sum = 0, .count = 3}.value() == 0.0);
}

TEST_CASE("evaluations merge by what they are over") {
    rl::evaluation a, b;
    a.loss = 0.25;
    a.statistics = {.sequences = 1,
                    .tokens = 3,
                    .ratio = {3.3, 3},
                    .ratio_deviation = 0.4,
                    .advantage = {3.0, 3},
                    .clipped_low = {1, 3},
                    .clipped_high = {0, 3},
                    .kl = {}};
    b.loss = 0.5;
    b.statistics = {.sequences = 2,
                    .tokens = 1,
                    .ratio = {0.7, 1},
                    .ratio_deviation = 0.3,
                    .advantage = {-1.0, 1},
                    .clipped_low = {0, 1},
                    .clipped_high = {1, 1},
                    .kl = {0.02, 1}};
    a += b;
    CHECK(a.loss == 0.75);
    CHECK(a.statistics.sequences == 3);
    CHECK(a.statistics.tokens == 4);
    CHECK(a.statistics.ratio.value() == doctest::Approx(1.0));
    CHECK(a.statistics.ratio_deviation == 0.4);
    CHECK(a.statistics.advantage.value() == doctest::Approx(0.5));
    CHECK(a.statistics.clipped_low.value() == doctest::Approx(0.25));
    CHECK(a.statistics.clipped_high.value() == doctest::Approx(0.25));
    CHECK(a.statistics.kl.value() == doctest::Approx(0.02));
}
