// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>

#include "grove/env/cart_pole.hpp"
#include "grove/env/running_moments.hpp"

namespace {

using grove::episode_state;
using grove::index_t;

// Walks right to a goal: an episode takes as many steps as there are actions of 1.
struct corridor {
    static constexpr index_t observation_size = 1;
    static constexpr index_t action_count = 2;
    using state = int;

    index_t time_limit = 5;
    int goal = 3;
    state reset(grove::random_sequence&) const { return 0; }
    void observe(state s, std::span<float> seen) const { seen[0] = static_cast<float>(s); }
    grove::transition step(state& s, index_t action) const {
        s += static_cast<int>(action);
        return {.reward = s == goal ? 10.0 : -1.0, .terminated = s == goal};
    }
};
static_assert(grove::environment<corridor>);

}  // namespace

TEST_CASE("vector_environment: an end is no time limit, and what follows is a new episode") {
    grove::vector_environment<corridor> two({}, 2, 1);
    CHECK(two.count() == 2);
    std::vector<std::vector<std::int32_t>> const actions{{1, 0}, {1, 1}, {1, 0}, {0, 0}, {0, 0}};
    std::vector<std::pair<float, float>> seen, led_to;
    std::vector<std::pair<episode_state, episode_state>> ends;
    for (auto const& a : actions) {
        two.step(a);
        seen.emplace_back(two.observations()[0], two.observations()[1]);
        led_to.emplace_back(two.last_observations()[0], two.last_observations()[1]);
        ends.emplace_back(two.ends()[0], two.ends()[1]);
    }
    auto const running = episode_state::running;
    CHECK(ends ==
          std::vector<std::pair<episode_state, episode_state>>{{running, running},
                                                               {running, running},
                                                               {episode_state::terminated, running},
                                                               {running, running},
                                                               {running, episode_state::cut_off}});
    CHECK(led_to == std::vector<std::pair<float, float>>{{1, 0}, {2, 1}, {3, 1}, {0, 1}, {0, 1}});
    CHECK(seen == std::vector<std::pair<float, float>>{{1, 0}, {2, 1}, {0, 1}, {0, 1}, {0, 0}});
    auto const finished = two.take_finished();
    REQUIRE(finished.size() == 2);
    CHECK(finished[0].reward == 8.0);
    CHECK(finished[0].length == 3);
    CHECK(finished[1].reward == -5.0);
    CHECK(finished[1].length == 5);
    CHECK(two.take_finished().empty());
}

TEST_CASE("vector_environment: a goal reached in the last step is an end; 0 is no limit") {
    grove::vector_environment<corridor> one({.time_limit = 3}, 1, 1);
    std::int32_t const go[] = {1}, stay[] = {0};
    for (int t = 0; t < 3; ++t) one.step(go);
    CHECK(one.ends()[0] == episode_state::terminated);
    grove::vector_environment<corridor> endless({.time_limit = 0}, 1, 1);
    for (int t = 0; t < 1000; ++t) endless.step(stay);
    CHECK(endless.take_finished().empty());
}

TEST_CASE("vector_environment: an episode depends on its place alone, not on how many there are") {
    grove::vector_environment<grove::cart_pole> few({}, 2, 7), many({}, 5, 7), other({}, 2, 8);
    std::vector<std::int32_t> const two(2, 1), five(5, 1);
    bool differs = false;
    std::size_t ended = 0;
    for (int t = 0; t < 40; ++t) {
        few.step(two);
        many.step(five);
        other.step(two);
        for (std::size_t j = 0; j < 8; ++j) {
            CHECK(few.observations()[j] == many.observations()[j]);
            differs = differs || few.observations()[j] != other.observations()[j];
        }
        ended += few.take_finished().size();
    }
    CHECK(ended >= 6);  // so that later episodes were compared too
    CHECK(differs);
    CHECK(few.observations()[0] != few.observations()[4]);
}

TEST_CASE("vector_environment: refuses what does not fit") {
    CHECK_THROWS_AS((grove::vector_environment<corridor>({}, 0, 1)), grove::value_error);
    grove::vector_environment<corridor> two({}, 2, 1);
    std::int32_t const one[] = {1};
    CHECK_THROWS_WITH_AS(two.step(one), "[vector_environment::step] expected 2 actions, got 1",
                         grove::shape_error);
}

TEST_CASE("running_moments: blocks give what the whole gives, far from zero too") {
    // numpy: x = 1e6 + [[0.5, 2], [1.5, 2], [-1, 2], [4, 2], [0, 2]] - [0, 1e6]
    float const rows[] = {1000000.5f, 2, 1000001.5f, 2, 999999.0f, 2, 1000004.0f, 2, 1000000.0f, 2};
    grove::running_moments whole(2), parts(2);
    CHECK(whole.variance(0) == 1.0);
    whole.add(std::span<float const>(rows));
    parts.add(std::span<float const>(rows, 2));
    parts.add(std::span<float const>(rows + 2, 6));
    parts.add(std::span<float const>());
    parts.add(std::span<float const>(rows + 8, 2));
    for (auto const& m : {whole, parts}) {
        CHECK(m.count() == 5);
        CHECK(m.mean(0) == doctest::Approx(1000001.0).epsilon(1e-14));
        CHECK(m.variance(0) == doctest::Approx(2.9).epsilon(1e-9));
        CHECK(m.mean(1) == 2.0);
        CHECK(m.variance(1) == 0.0);
    }
    std::vector<float> x{1000001.0f, 2.0f, 1000002.7f, 2.0001f, 2000000.0f, -5.0f};
    whole.normalize(x);
    CHECK(x[0] == 0.0f);
    CHECK(x[1] == 0.0f);
    CHECK(x[2] == doctest::Approx((1000002.6875 - 1000001.0) / 1.70293863659264).epsilon(1e-6));
    CHECK(x[3] == doctest::Approx(1.0).epsilon(1e-2));  // 1e-4 over √1e-8
    CHECK(x[4] == 10.0f);
    CHECK(x[5] == -10.0f);
}

TEST_CASE("running_moments: refuses what it cannot take, and takes nothing of it") {
    grove::running_moments m(2);
    float const odd[] = {1, 2, 3};
    float const bad[] = {1, std::numeric_limits<float>::infinity()};
    CHECK_THROWS_AS(m.add(std::span<float const>(odd)), grove::shape_error);
    CHECK_THROWS_AS(m.add(std::span<float const>(bad)), grove::value_error);
    CHECK(m.count() == 0);
}

TEST_CASE("reward_scale: the deviation of the discounted return, which ends with the episode") {
    grove::reward_scale scale(2, 0.5);
    CHECK(scale.factor() == doctest::Approx(1.0));
    std::vector<double> const first{1, 3}, second{2, -1};
    std::vector<episode_state> const none(2),
        one{episode_state::running, episode_state::terminated};
    scale.add(first, one);    // returns 1, 3
    scale.add(second, none);  // returns 2.5, −1 (the second began anew)
    // numpy: var([1, 3, 2.5, -1]) = 2.421875
    CHECK(scale.factor() == doctest::Approx(1 / std::sqrt(2.421875)).epsilon(1e-7));
}
