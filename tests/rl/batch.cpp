// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/batch.hpp"

#include <doctest/doctest.h>

#include "recorded_batch.hpp"

using namespace grove;
using grove_test::small_batch;

TEST_CASE("count knows what counts") {
    auto batch = small_batch();
    CHECK(rl::count(batch.view()) == rl::totals{.sequences = 4, .tokens = 9});
    CHECK(batch.view().length(2) == 3);
    batch.mask.clear();
    CHECK(rl::count(batch.view()) == rl::totals{.sequences = 5, .tokens = 12});
    CHECK(batch.view().length(2) == 4);
    batch.log_probability.clear();
    CHECK(rl::count(batch.view()) == rl::totals{.sequences = 5, .tokens = 12});
    grove_test::recorded_batch<float> const none;
    CHECK(rl::count(none.view()) == rl::totals{});
}

TEST_CASE("layouts that do not fit are refused") {
    auto batch = small_batch();
    SUBCASE("old") { batch.old_log_probability.pop_back(); }
    SUBCASE("no old") { batch.old_log_probability.clear(); }
    SUBCASE("reference") { batch.reference_log_probability.pop_back(); }
    SUBCASE("mask") { batch.mask.push_back(1); }
    SUBCASE("log_probability") { batch.log_probability.push_back(0); }
    SUBCASE("no offsets") { batch.offsets.clear(); }
    CHECK_THROWS_AS(rl::check_layout(batch.view()), shape_error);
    CHECK_THROWS_AS(rl::count(batch.view()), shape_error);
}

TEST_CASE("offsets that do not partition the tokens are refused") {
    auto batch = small_batch();
    SUBCASE("decreasing") { batch.offsets = {0, 4, 3, 8, 10, 12}; }
    SUBCASE("beyond the tokens inside") { batch.offsets = {0, 3, 400, 8, 10, 12}; }
    SUBCASE("late start") { batch.offsets.front() = 1; }
    SUBCASE("negative start") { batch.offsets.front() = -1; }
    SUBCASE("early end") { batch.offsets.back() = 11; }
    SUBCASE("late end") { batch.offsets.back() = 13; }
    CHECK_THROWS_AS(rl::count(batch.view()), value_error);
}
