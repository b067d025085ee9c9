// SPDX-License-Identifier: Apache-2.0
// Golden values: Python, plain loops.
#include "grove/rl/correction.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/overlong.hpp"
#include "grove/rl/preset.hpp"
#include "recorded_batch.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
double const none = std::numeric_limits<double>::quiet_NaN();

/// Two responses of three tokens; one token does not count and holds NaN. The factors of the tokens
/// are 1.65, 0.90, 0.37, 4.95, −, 1; of the responses 0.55 and 4.95, per token 0.82 and 2.23.
numbers const old{-1.0, -0.5, -2.0, -0.7, none, -0.3};
numbers const rollout{-1.5, -0.4, -1.0, -2.3, none, -0.3};
std::vector<index_t> const offsets{0, 3, 6};
std::vector<std::uint8_t> const mask{1, 1, 1, 1, 0, 1};

template <class... Corrections>
void check(numbers const& expected, Corrections const&... each) {
    auto const factors = rl::corrections<double>(old, rollout, offsets, mask, each...);
    REQUIRE(factors.size() == 6);
    CHECK(factors[4] == 1.0);
    for (std::size_t t = 0; t < 6; ++t) CHECK(factors[t] == doctest::Approx(expected[t]));
}

}  // namespace

TEST_CASE("token corrections truncate, or mask, on both sides of the ratio itself") {
    check({1.6487212707001282, 0.9048374180359596, 0.36787944117144233, 2, 1, 1}, rl::token_tis{});
    check({1.6487212707001282, 0.9048374180359596, 0.36787944117144233, 0, 1, 1}, rl::token_mis{});
    check({0, 0.9048374180359596, 0, 0, 1, 1}, rl::token_mis{.bound = {0.6, 1.4}});
    check({1.6487212707001282, 0.9048374180359596, 0, 4.953032424395114, 1, 1},
          rl::token_mis{.bound = {0.5, 5}});
}

TEST_CASE("sequence corrections give every token its response's factor") {
    double const first = 0.5488116360940264;
    check({first, first, first, 2, 1, 2}, rl::sequence_tis{});
    check({first, first, first, 0, 1, 0}, rl::sequence_mis{.bound = {.high = 3}});
    check({1, 1, 1, 0, 1, 0}, rl::geometric_rejection{});
}

TEST_CASE("corrections multiply") {
    rl::importance_correction<rl::token_ratio, rl::unbounded> const weight;
    check({1.6487212707001282, 0.9048374180359596, 0.36787944117144233, 0, 1, 0}, weight,
          rl::geometric_rejection{});
    check({1, 1, 1, 1, 1, 1});
}

TEST_CASE("one engine needs no correction: every factor is exactly 1") {
    auto const check_exact = [](auto const& correction) {
        for (double w : rl::corrections<double>(old, old, offsets, mask, correction))
            CHECK(w == 1.0);
    };
    check_exact(rl::token_tis{});
    check_exact(rl::sequence_mis{});
    check_exact(rl::geometric_rejection{});
}

TEST_CASE("a long response that drifts is dropped or truncated, never infinite") {
    numbers const far(400, -1.0), near(400, -4.0);
    std::vector<index_t> const one{0, 400};
    CHECK(rl::corrections<double>(far, near, one, {}, rl::sequence_tis{})[7] == 2.0);
    CHECK(rl::corrections<double>(far, near, one, {}, rl::sequence_mis{})[7] == 0.0);
}

TEST_CASE("corrections refuse what does not fit") {
    CHECK_THROWS_AS(rl::corrections<double>(old, rollout, offsets, {}, rl::token_tis{}),
                    value_error);
    CHECK_THROWS_AS(
        rl::corrections<double>(old, std::span(rollout).first(5), offsets, mask, rl::token_tis{}),
        error);
    auto batch = grove_test::varied_batch();
    batch.correction = {1, 2};
    numbers gradient(13);
    CHECK_THROWS_AS(rl::evaluate(rl::dapo(), batch.view(), gradient), shape_error);
    batch.correction.assign(13, 1.0);
    batch.correction[6] = none;
    CHECK_NOTHROW(rl::evaluate(rl::dapo(), batch.view(), gradient));
    batch.correction[5] = none;
    CHECK_THROWS_WITH_AS(
        rl::evaluate(rl::dapo(), batch.view(), gradient),
        "[evaluate] expected finite numbers, got nan in correction at 5 (response 2)", value_error);
    CHECK_THROWS_AS(rl::evaluate(rl::gspo(), batch.view(), gradient), value_error);
}

TEST_CASE("the soft overlong penalty") {
    rl::soft_overlong_penalty const penalty{.limit = 100, .margin = 20};
    CHECK(penalty(0) == 0.0);
    CHECK(penalty(80) == 0.0);
    CHECK(penalty(85) == -0.25);
    CHECK(penalty(100) == -1.0);
    CHECK(penalty(130) == -1.0);
    CHECK_THROWS_AS(penalty(-1), value_error);
    CHECK_THROWS_AS((rl::soft_overlong_penalty{.limit = 10, .margin = 20}(5)), configuration_error);
    CHECK_THROWS_AS((rl::soft_overlong_penalty{.limit = 10, .margin = 0}(5)), configuration_error);
}

TEST_CASE("a truncated answer leaves the loss and its denominator") {
    auto batch = grove_test::varied_batch();
    std::vector<std::uint8_t> const cut_off{0, 0, 1, 0, 0};
    rl::mask_truncated(cut_off, batch.offsets, batch.mask);
    auto const all = rl::count(batch.view());
    CHECK(all.tokens == 7);
    CHECK(all.sequences == 3);
    numbers gradient(13);
    rl::evaluate(rl::dapo(), batch.view(), gradient);
    for (std::size_t t = 4; t < 8; ++t) CHECK(gradient[t] == 0.0);
    CHECK_THROWS_AS(rl::mask_truncated(std::span(cut_off).first(2), batch.offsets, batch.mask),
                    shape_error);
    batch.mask.pop_back();
    CHECK_THROWS_AS(rl::mask_truncated(cut_off, batch.offsets, batch.mask), shape_error);
}
