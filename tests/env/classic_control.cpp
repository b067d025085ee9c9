// SPDX-License-Identifier: Apache-2.0
// Golden trajectories from Gymnasium 1.4.0 (CartPole-v1 and Pendulum-v1, unwrapped), whose states
// are doubles too.
#include <doctest/doctest.h>

#include <limits>

#include "grove/env/cart_pole.hpp"
#include "grove/env/pendulum.hpp"

static_assert(grove::discrete_environment<grove::cart_pole>);
static_assert(grove::continuous_environment<grove::pendulum>);
static_assert(!grove::continuous_environment<grove::cart_pole>);

TEST_CASE("cart_pole: goes where Gymnasium's goes, to the fall") {
    grove::cart_pole const environment;
    CHECK(environment.time_limit == 500);
    grove::cart_pole::state s{0.01, -0.02, 0.03, -0.04};
    int const actions[] = {1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    grove::transition last;
    for (std::size_t t = 0; t < std::size(actions); ++t) {
        last = environment.step(s, actions[t]);
        CHECK(last.reward == 1.0);
        CHECK(last.terminated == (t == 18));
        if (t == 0) {
            CHECK(s.position == doctest::Approx(0.009600000000000001).epsilon(1e-14));
            CHECK(s.velocity == doctest::Approx(0.17467919574755525).epsilon(1e-14));
            CHECK(s.angle == doctest::Approx(0.0292).epsilon(1e-14));
            CHECK(s.angular_velocity == doctest::Approx(-0.3230687179600081).epsilon(1e-14));
        }
    }
    CHECK(s.position == doctest::Approx(0.16996528589247062).epsilon(1e-12));
    CHECK(s.velocity == doctest::Approx(1.7401083996761209).epsilon(1e-12));
    CHECK(s.angle == doctest::Approx(-0.23277375102630193).epsilon(1e-12));
    CHECK(s.angular_velocity == doctest::Approx(-2.822135463455764).epsilon(1e-12));
    float seen[4];
    environment.observe(s, seen);
    CHECK(seen[0] == static_cast<float>(s.position));
    CHECK(seen[1] == static_cast<float>(s.velocity));
    CHECK(seen[2] == static_cast<float>(s.angle));
    CHECK(seen[3] == static_cast<float>(s.angular_velocity));
}

TEST_CASE("cart_pole: ends at 2.4 m and at 12 degrees on either side, and only beyond") {
    grove::cart_pole const environment;
    auto const ends = [&](double position, double angle) {
        grove::cart_pole::state s{position, 0, angle, 0};  // an Euler step keeps both
        return environment.step(s, 1).terminated;
    };
    for (double side : {-1.0, 1.0}) {
        CHECK_FALSE(ends(side * 2.4, 0));
        CHECK(ends(side * 2.4000001, 0));
        CHECK_FALSE(ends(0, side * 0.2094395));
        CHECK(ends(0, side * 0.2094396));
    }
}

TEST_CASE("cart_pole: starts near the middle and refuses other actions") {
    grove::cart_pole const environment;
    double low = 1, high = -1;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        grove::random_sequence random({.seed = 3, .prompt = i});
        auto const s = environment.reset(random);
        for (double x : {s.position, s.velocity, s.angle, s.angular_velocity}) {
            low = std::min(low, x);
            high = std::max(high, x);
        }
    }
    CHECK(low >= -0.05);
    CHECK(low < -0.0499);
    CHECK(high < 0.05);
    CHECK(high > 0.0499);
    grove::cart_pole::state s;
    CHECK_THROWS_WITH_AS(environment.step(s, 2), "[cart_pole] expected action 0 or 1, got 2",
                         grove::value_error);
    CHECK_THROWS_AS(environment.step(s, -1), grove::value_error);
}

TEST_CASE("pendulum: goes where Gymnasium's goes, with its torque bounded") {
    grove::pendulum const environment;
    CHECK(environment.time_limit == 200);
    grove::pendulum::state s{3.0, -0.5};
    struct expected {
        float torque;
        double angle, velocity, reward;
    };
    expected const steps[] = {
        {0.5f, 2.984042000302245, -0.3191599939550996, -9.02525},
        {-3.0f, 2.958967738200708, -0.501485242030739, -8.918692969741965},
        {1.5f, 2.951953905854313, -0.14027664692790454, -8.782888820510076},
        {2.5f, 2.9670089784356866, 0.30110145162747126, -8.719999616055867},
        {-1.0f, 2.9810777318817645, 0.2813750689215584, -8.81320848653519},
        {0.0f, 3.001139980211452, 0.4012449665937496, -8.89474163646239},
        {2.0f, 3.0414519039693433, 0.8062384751578316, -9.026940933145275},
        {2.0f, 3.1005128325565887, 1.1812185717449082, -9.319431732041224},
        {2.0f, 3.1761138211921263, 1.5120197727107518, -9.756707556271591},
        {2.0f, 3.2654205231476037, 1.7861340391095477, -9.886513598343146},  // past the bottom
        {2.0f, 3.3650955377437146, 1.9935002919222176, -9.429931772310175},
    };
    for (auto const& step : steps) {
        float const action[] = {step.torque};
        auto const made = environment.step(s, action);
        CHECK(s.angle == doctest::Approx(step.angle).epsilon(1e-13));
        CHECK(s.velocity == doctest::Approx(step.velocity).epsilon(1e-12));
        CHECK(made.reward == doctest::Approx(step.reward).epsilon(1e-13));
        CHECK_FALSE(made.terminated);
    }
    float seen[3];
    environment.observe(s, seen);
    CHECK(seen[0] == doctest::Approx(-0.9751270413398743));
    CHECK(seen[1] == doctest::Approx(-0.2216467261314392));
    CHECK(seen[2] == doctest::Approx(1.9935002326965332));
}

TEST_CASE("pendulum: the speed is bounded, the cost is of the angle nearest to upright") {
    grove::pendulum const environment;
    grove::pendulum::state s{-9.5, 7.9};
    float const action[] = {2.0f};
    CHECK(environment.step(s, action).reward == doctest::Approx(-15.64762874460545).epsilon(1e-13));
    CHECK(s.angle == doctest::Approx(-9.1).epsilon(1e-13));
    CHECK(s.velocity == 8.0);
    CHECK(environment.step(s, action).reward == doctest::Approx(-14.33844501368896).epsilon(1e-13));
}

TEST_CASE(
    "pendulum: actions in [-1, 1] by a factor, a uniform start, no torque that is no number") {
    grove::pendulum const scaled{.torque_per_action = 2.0}, plain;
    grove::pendulum::state a{1.0, 0.0}, b{1.0, 0.0};
    float const half[] = {0.5f}, one[] = {1.0f};
    CHECK(scaled.step(a, half).reward == plain.step(b, one).reward);
    CHECK(a.velocity == b.velocity);
    double lowest = 4, highest = -4, fastest = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        grove::random_sequence random({.seed = 3, .prompt = i});
        auto const s = plain.reset(random);
        lowest = std::min(lowest, s.angle);
        highest = std::max(highest, s.angle);
        fastest = std::max(fastest, std::abs(s.velocity));
    }
    CHECK(lowest >= -3.14159265358979324);
    CHECK(lowest < -3.1);
    CHECK(highest < 3.14159265358979324);
    CHECK(highest > 3.1);
    CHECK(fastest <= 1.0);
    CHECK(fastest > 0.99);
    float const none[] = {std::numeric_limits<float>::quiet_NaN()};
    CHECK_THROWS_AS(plain.step(a, none), grove::value_error);
}
