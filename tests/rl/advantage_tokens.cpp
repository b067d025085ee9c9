// SPDX-License-Identifier: Apache-2.0
// Golden values: Python, from the sums that define the returns rather than from the recurrences.
#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/advantage.hpp"
#include "grove/rl/kl_reward.hpp"

using namespace grove;
using doctest::Approx;

namespace {

using numbers = std::vector<double>;
double const none = std::numeric_limits<double>::quiet_NaN();

/// Three responses; a tool's answer within the first, and within the last a token that does not
/// count, hold NaN.
numbers const reward{0.1, -0.2, none, 1, 0, 0.5, -0.3, none, 2};
numbers const value{0.3, 0.4, none, 0.2, -0.1, 0.6, 0.1, none, 0.7};
numbers const bootstrap{0, 0.8, 0};
std::vector<index_t> const offsets{0, 4, 7, 9};
std::vector<std::uint8_t> const mask{1, 1, 0, 1, 1, 1, 1, 0, 1};

rl::trajectory<double> batch() {
    return {.reward = reward, .value = value, .offsets = offsets, .mask = mask};
}

void check_near(numbers const& actual, numbers const& expected) {
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(actual[i] - expected[i]) < 1e-13);
        if (expected[i] == 0) CHECK(actual[i] == 0.0);
    }
}

}  // namespace

TEST_CASE("returns to go step over what does not count") {
    numbers out(9);
    rl::returns_to_go(batch(), 0.9, std::span<double>(out));
    check_near(out, {0.73, 0.7, 0, 1, 0.207, 0.23, -0.3, 0, 2});
    CHECK_THROWS_AS(rl::returns_to_go(batch(), 1.1, std::span<double>(out)), configuration_error);
}

TEST_CASE("REINFORCE++ whitens the returns over the batch") {
    numbers out(9);
    rl::whitened_returns{.discount = 0.9}(batch(), std::span<double>(out));
    check_near(out,
               {0.10574086759774516, 0.06484660941077183, 0, 0.4737891912805049, -0.607182366795156,
                -0.5758301021851432, -1.2982953301550046, 0, 1.8369311308462815});
}

TEST_CASE("ReMax compares with the greedy response") {
    numbers out(9);
    numbers const greedy{0.5, 0.25, -1};
    rl::greedy_baseline{}(batch(), std::span<double const>(greedy), std::span<double>(out));
    check_near(out, {0.4, 0.3, 0, 0.5, -0.05, -0.05, -0.55, 0, 3});
    numbers const bad{0.5, none, 0};
    CHECK_THROWS_AS(
        rl::greedy_baseline{}(batch(), std::span<double const>(bad), std::span<double>(out)),
        value_error);
}

TEST_CASE("generalized advantages carry values through masked turns") {
    numbers a(9), target(9);
    auto trajectories = batch();
    SUBCASE("with a bootstrap") {
        trajectories.bootstrap = bootstrap;
        rl::gae{.discount = 0.99, .lambda = 0.95}(trajectories, std::span<double>(a),
                                                  std::span<double>(target));
        check_near(a, {0.5255512, 0.3504, 0, 0.8, 1.039799278, 0.367676, 0.392, 0, 1.3});
        check_near(target, {0.8255512, 0.7504, 0, 1, 0.939799278, 0.967676, 0.492, 0, 2});
    }
    SUBCASE("without discount it is the return minus the value") {
        rl::gae{}(trajectories, std::span<double>(a));
        check_near(a, {0.6, 0.4, 0, 0.8, 0.3, -0.4, -0.4, 0, 1.3});
    }
    SUBCASE("decoupled and by length") {
        trajectories.bootstrap = bootstrap;
        rl::gae{.value_lambda = 1.0, .length_scale = 0.5}(trajectories, std::span<double>(a),
                                                          std::span<double>(target));
        check_near(a, {0.15555555555555556, -0.1333333333333333, 0, 0.8, 0.7444444444444445,
                       0.13333333333333336, 0.4, 0, 1.3});
        check_near(target, {0.9, 0.8, 0, 1, 1, 1, 0.5, 0, 2});
    }
}

TEST_CASE("generalized advantages refuse what does not fit") {
    numbers a(9);
    auto const run = [&](rl::gae const& e, rl::trajectory<double> const& t) {
        e(t, std::span<double>(a));
    };
    CHECK_THROWS_AS(run({.discount = 1.5}, batch()), configuration_error);
    CHECK_THROWS_AS(run({.lambda = -0.1}, batch()), configuration_error);
    CHECK_THROWS_AS(run({.value_lambda = 2.0}, batch()), configuration_error);
    CHECK_THROWS_AS(run({.length_scale = 0.0}, batch()), configuration_error);
    auto without = batch();
    without.value = {};
    CHECK_THROWS_AS(run({}, without), shape_error);
    auto unmasked = batch();
    unmasked.mask = {};
    CHECK_THROWS_AS(run({}, unmasked), value_error);
    auto short_mask = batch();
    short_mask.mask = short_mask.mask.first(3);
    CHECK_THROWS_AS(run({}, short_mask), shape_error);
    std::vector<index_t> const falling{0, 5, 4, 9}, outside{0, 8};
    auto bad = batch();
    bad.offsets = falling;
    CHECK_THROWS_AS(run({}, bad), value_error);
    bad.offsets = outside;
    CHECK_THROWS_AS(run({}, bad), value_error);
    bad = batch();
    numbers const infinite{0, none, 0};
    bad.bootstrap = infinite;
    CHECK_THROWS_AS(run({}, bad), value_error);
    a.resize(8);
    CHECK_THROWS_AS(run({}, batch()), shape_error);
}

TEST_CASE("the optimal token baseline") {
    numbers const log_probability{-0.1, -0.7, none, -1.2, -0.3, -0.05, -0.9, none, -0.4};
    numbers const squared{0.85, 0.4, none, 0.3, 0.6, 0.92, 0.35, none, 0.5};
    numbers out(9);
    auto const run = [&](rl::trajectory<double> const& t, std::vector<index_t> const& groups) {
        rl::optimal_token_baseline{}(t, std::span<double const>(log_probability),
                                     std::span<double const>(squared),
                                     std::span<index_t const>(groups), std::span<double>(out));
    };
    run(batch(), {0, 3});
    check_near(out,
               {-0.2906517648765946, 0.13985341995283362, 0, 0.481199363794811, -0.9906517648765947,
                -0.4601465800471664, -0.818800636205189, 0, 0.8093482351234054});
    SUBCASE("groups of one get exactly zero") {
        run(batch(), {0, 1, 2, 3});
        CHECK(out == numbers(9, 0.0));
    }
    SUBCASE("equal total rewards get exactly zero, in the tail of the longest too") {
        numbers const same{0, 0, 0, 0.1, 0, 0, 0.1, 0, 0.1};
        auto t = batch();
        t.reward = same;
        run(t, {0, 3});
        CHECK(out == numbers(9, 0.0));
    }
    SUBCASE("past the second longest there is no baseline") {
        numbers const own{1, 0, 0, 0, 0, 0, 0, 0, 3};
        std::vector<index_t> const cut{0, 1, 9};
        rl::trajectory<double> const t{.reward = own, .offsets = cut, .mask = mask};
        run(t, {0, 2});
        CHECK(out[8] == 3.0);
    }
    SUBCASE("groups must cover the responses") {
        CHECK_THROWS_AS(run(batch(), {0, 2}), value_error);
    }
}

TEST_CASE("whitening") {
    numbers x{1, none, 3, 5};
    std::vector<std::uint8_t> const counts{1, 0, 1, 1};
    rl::whitening{.epsilon = 0}(std::span<double>(x), counts);
    check_near(x, {-1, 0, 0, 1});
    std::vector<float> same(7, 0.1f);
    rl::whitening{}(std::span<float>(same));
    CHECK(same == std::vector<float>(7, 0.0f));
    CHECK_THROWS_AS(rl::whitening{}(std::span<double>(x), std::span(counts).first(2)), shape_error);
    numbers bad{1, none};
    CHECK_THROWS_AS(rl::whitening{}(std::span<double>(bad)), value_error);
}

TEST_CASE("a final reward is paid at the last token that counts") {
    std::vector<std::uint8_t> const last_masked{1, 1, 0, 0, 1, 1, 1, 0, 0};
    CHECK(rl::final_rewards(numbers{1, 2, 3}, offsets, last_masked) ==
          numbers{0, 1, 0, 0, 0, 0, 2, 0, 0});
    CHECK(rl::final_rewards(numbers{1, 2, 3}, offsets) == numbers{0, 0, 0, 1, 0, 0, 2, 0, 3});
    CHECK_THROWS_AS(rl::final_rewards(numbers{1, 2}, offsets), shape_error);
    CHECK_THROWS_AS(rl::final_rewards(numbers{1, 2, 3}, offsets, std::span(last_masked).first(2)),
                    shape_error);
}

TEST_CASE("the divergence in the reward") {
    numbers const old{-1, -2, none}, reference{-1.5, -1.0, none};
    std::vector<std::uint8_t> const counts{1, 1, 0};
    numbers r{0, 1, 5};
    auto const run = [&](auto const& penalty, std::span<std::uint8_t const> m) {
        penalty(std::span<double const>(old), std::span<double const>(reference), m,
                std::span<double>(r));
    };
    run(rl::kl_reward<>{.coefficient = 0.1}, counts);
    check_near(r, {-0.05, 1.1, 5});
    run(rl::kl_reward<rl::k2>{.coefficient = 1}, counts);
    check_near(r, {-0.175, 0.6, 5});
    CHECK_THROWS_AS(run(rl::kl_reward<>{}, {}), value_error);
    CHECK_THROWS_AS(run(rl::kl_reward<>{.coefficient = -1}, counts), configuration_error);
    CHECK_THROWS_AS(run(rl::kl_reward<>{}, std::span(counts).first(2)), shape_error);
    r.resize(2);
    CHECK_THROWS_AS(run(rl::kl_reward<>{}, counts), shape_error);
}

TEST_CASE("the adaptive coefficient") {
    rl::adaptive_kl beta{.coefficient = 0.2, .target = 0.1, .horizon = 1000};
    beta.update(0.11, 100);
    CHECK(beta.coefficient == Approx(0.2 * 1.01).epsilon(1e-14));
    beta.update(50, 100);
    CHECK(beta.coefficient == Approx(0.2 * 1.01 * 1.02).epsilon(1e-14));
    beta.update(-3, 500);
    CHECK(beta.coefficient == Approx(0.2 * 1.01 * 1.02 * 0.9).epsilon(1e-14));
    CHECK_THROWS_AS(beta.update(none, 1), value_error);
    CHECK_THROWS_AS(beta.update(0.1, -1), value_error);
    beta.target = 0;
    CHECK_THROWS_AS(beta.update(0.1, 1), configuration_error);
}

TEST_CASE("a teacher's log-ratio, by itself or with what follows from it") {
    numbers const teacher{-0.5, -1.0, -0.2, -2.0, none, -0.9},
        own{-0.7, -0.4, -0.9, -1.5, none, -0.8};
    std::vector<index_t> const two{0, 4, 6};
    std::vector<std::uint8_t> const counts{1, 1, 1, 1, 0, 1};
    auto const check = [&](rl::teacher_log_ratio const& ratio, numbers const& expected) {
        numbers out(6, -1);
        ratio(std::span<double const>(teacher), std::span<double const>(own), two, counts,
              std::span<double>(out));
        check_near(out, expected);
    };
    check({}, {0.2, -0.6, 0.7, -0.5, 0, -0.1});
    check({.discount = 0.5}, {0.006666666666666643, -0.21428571428571427, 0.3, -0.5, 0, -0.1});
    check({.discount = 1, .normalized = false}, {-0.2, -0.4, 0.2, -0.5, 0, -0.1});
    numbers out(6);
    auto const call = [&](double discount, std::size_t size) {
        rl::teacher_log_ratio{discount}(std::span<double const>(teacher),
                                        std::span<double const>(own).first(size), two, counts,
                                        std::span<double>(out));
    };
    CHECK_THROWS_AS(call(1.5, 6), configuration_error);
    CHECK_THROWS_AS(call(0, 5), shape_error);
    numbers const broken(6, none);
    CHECK_THROWS_AS(
        rl::teacher_log_ratio{}(std::span<double const>(broken), std::span<double const>(own), two,
                                counts, std::span<double>(out)),
        value_error);
}
