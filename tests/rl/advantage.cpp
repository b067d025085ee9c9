// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/advantage.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace grove;
using doctest::Approx;

namespace {

auto const exactly = [](double x) { return Approx(x).epsilon(1e-14); };
rl::group_normalized const estimator;

struct centred {
    static constexpr rl::level unit = rl::level::sequence;
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const>, std::span<T> out,
                    std::span<std::uint8_t const>) const {
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = rewards[i] - T(0.5);
    }
};

}  // namespace

TEST_CASE("group_normalized agrees with numpy") {
    std::vector<double> const rewards{1, 0, 0, 1, 0.5, 2.0, -1.0};
    std::vector<index_t> const groups{0, 4, 7};
    SUBCASE("unbiased, without epsilon, by default") {
        auto const a = rl::advantages(estimator, rewards, groups);
        double const expected[] = {0.8660254037844387,
                                   -0.8660254037844387,
                                   -0.8660254037844387,
                                   0.8660254037844387,
                                   0,
                                   1,
                                   -1};
        for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == exactly(expected[i]));
    }
    SUBCASE("biased") {
        auto const a = rl::advantages(rl::group_normalized{.unbiased = false}, rewards, groups);
        double const expected[] = {1, -1, -1, 1, 0, 1.2247448713915892, -1.2247448713915892};
        for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == exactly(expected[i]));
    }
    SUBCASE("with TRL's epsilon") {
        auto const a = rl::advantages(rl::group_normalized{.epsilon = 1e-4}, rewards, groups);
        CHECK(a[0] == exactly(0.8658754297607016));
        CHECK(a[6] == exactly(-0.9999333377774815));
    }
}

TEST_CASE("one correct answer of 16") {
    std::vector<double> rewards(16, 0.0);
    rewards[0] = 1;
    auto const groups = rl::equal_groups(1, 16);
    CHECK(rl::advantages(estimator, rewards, groups)[0] == exactly(3.75));
    CHECK(rl::advantages(rl::group_normalized{.unbiased = false}, rewards, groups)[0] ==
          exactly(3.8729833462074166));
}

TEST_CASE("nearly equal float rewards do not cancel") {
    std::vector<float> const rewards{0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.35f};
    auto const a = rl::advantages(estimator, rewards, rl::equal_groups(1, 8));
    CHECK(a[0] == Approx(0.3535533905932736).epsilon(1e-6));
    CHECK(a[7] == Approx(-2.474873734152917).epsilon(1e-6));
}

TEST_CASE("a group of equal rewards gets exactly zero") {
    for (float reward : {0.1f, 0.2f, 1.0f / 3.0f, -7.7f}) {
        std::vector<float> const rewards(16, reward);
        for (float a : rl::advantages(estimator, rewards, rl::equal_groups(2, 8))) CHECK(a == 0.0f);
    }
}

TEST_CASE("a group of one gets exactly zero") {
    std::vector<double> const rewards{5.0, 1.0, 0.0};
    std::vector<index_t> const groups{0, 1, 3};
    CHECK(rl::advantages(estimator, rewards, groups)[0] == 0.0);
}

TEST_CASE("shift and scale of the rewards do not matter, however small or large") {
    std::vector<double> const rewards{1, 0, 0, 1, 2};
    auto const groups = rl::equal_groups(1, 5);
    auto const expected = rl::advantages(estimator, rewards, groups);
    for (double scale : {1e-200, 1e-3, 1e200}) {
        std::vector<double> scaled;
        for (double r : rewards) scaled.push_back(scale * (r - 3));
        auto const a = rl::advantages(estimator, scaled, groups);
        for (std::size_t i = 0; i < a.size(); ++i)
            CHECK(a[i] == Approx(expected[i]).epsilon(1e-12));
    }
}

TEST_CASE("a response without a reward is not a response with reward zero") {
    double const none = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> const rewards{1, none, 0, 0, 1, none, none};
    std::vector<index_t> const groups{0, 5, 7};
    std::vector<std::uint8_t> const scored{1, 0, 1, 1, 1, 0, 0};
    auto const a = rl::advantages(estimator, rewards, groups, scored);
    double const expected[] = {
        0.8660254037844387, 0, -0.8660254037844387, -0.8660254037844387, 0.8660254037844387, 0, 0};
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == exactly(expected[i]));
    CHECK(rl::zero_variance_share(rewards, groups, scored) == 0.5);
}

TEST_CASE("zero_variance_share counts the groups that teach nothing") {
    std::vector<float> const rewards{1, 1, 0, 0, 0, 1, 0.1f, 0.1f};
    CHECK(rl::zero_variance_share(rewards, rl::equal_groups(4, 2)) == 0.75);
    CHECK(rl::zero_variance_share(std::vector<float>{}, rl::equal_groups(0, 2)) == 0.0);
}

TEST_CASE("an estimator of one's own models the concept") {
    static_assert(rl::advantage_estimator<centred, float>);
    static_assert(rl::advantage_estimator<rl::group_normalized, double>);
    static_assert(!rl::advantage_estimator<int, double>);
    CHECK(rl::advantages(centred{}, std::vector<double>{1, 0}, rl::equal_groups(1, 2))[1] == -0.5);
}

TEST_CASE("bad rewards and groups are refused") {
    std::vector<double> const rewards{1, 0, 1};
    auto const refused = [&](std::vector<double> r, std::vector<index_t> groups) {
        CHECK_THROWS_AS(rl::advantages(estimator, r, groups), value_error);
        CHECK_THROWS_AS(rl::zero_variance_share(r, groups), value_error);
    };
    refused({1, std::numeric_limits<double>::quiet_NaN(), 1}, {0, 3});
    refused({1, std::numeric_limits<double>::infinity(), 1}, {0, 3});
    refused(rewards, {0, 1, 1, 3});
    refused(rewards, {0, 2, 1, 3});
    refused(rewards, {0, 2});
    refused(rewards, {1, 3});
    refused(rewards, {});

    std::vector<index_t> const groups{0, 3};
    std::vector<std::uint8_t> const two(2, 1);
    CHECK_THROWS_AS(rl::advantages(estimator, rewards, groups, two), shape_error);
    std::vector<double> out(2);
    CHECK_THROWS_AS(estimator(std::span<double const>(rewards), groups, std::span(out)),
                    shape_error);
    CHECK_THROWS_AS(rl::advantages(rl::group_normalized{.epsilon = -1}, rewards, groups),
                    configuration_error);
    CHECK_THROWS_AS(rl::equal_groups(2, 0), value_error);
    CHECK_THROWS_AS(rl::equal_groups(-1, 4), value_error);
}

TEST_CASE("a message names the response at fault") {
    std::vector<double> const rewards{1, std::numeric_limits<double>::quiet_NaN()};
    CHECK_THROWS_WITH_AS(rl::advantages(estimator, rewards, rl::equal_groups(1, 2)),
                         "[group_normalized] expected finite rewards, got nan for response 1",
                         value_error);
}
