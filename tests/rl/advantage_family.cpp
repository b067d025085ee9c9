// SPDX-License-Identifier: Apache-2.0
// Golden values: Python's statistics module, from the formulas.
#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/advantage.hpp"

using namespace grove;
using doctest::Approx;

namespace {

using numbers = std::vector<double>;

/// Groups of 4, 3, 1, 2 (equal) and 2.
numbers const rewards{1, 0, 0, 1, 0.5, 2, -1, 3, 0.25, 0.25, 2, 1};
std::vector<index_t> const groups{0, 4, 7, 8, 10, 12};
std::vector<index_t> const lengths{3, 5, 2, 4, 1, 6, 2, 4, 2, 7, 3, 1};
double const none = std::numeric_limits<double>::quiet_NaN();

void check_near(numbers const& actual, numbers const& expected) {
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(actual[i] - expected[i]) < 1e-13);
        if (expected[i] == 0) CHECK(actual[i] == 0.0);
    }
}

template <class Estimator>
numbers with_lengths(Estimator const& estimator, numbers const& r,
                     std::vector<index_t> const& offsets, std::vector<index_t> const& size,
                     std::vector<std::uint8_t> const& scored = {}) {
    numbers out(r.size());
    estimator(std::span<double const>(r), std::span<index_t const>(offsets),
              std::span<index_t const>(size), std::span<double>(out),
              std::span<std::uint8_t const>(scored));
    return out;
}

}  // namespace

TEST_CASE("estimators from the rewards of a group") {
    auto const check = [](auto const& estimator, numbers const& expected) {
        check_near(rl::advantages(estimator, rewards, groups), expected);
    };
    check(rl::group_centred{}, {0.5, -0.5, -0.5, 0.5, 0, 1.5, -1.5, 0, 0, 0, 0.5, -0.5});
    check(rl::batch_normalized{.epsilon = 1e-4},
          {0.459155631657443, -0.459155631657443, -0.459155631657443, 0.459155631657443, 0,
           1.377466894972329, -1.377466894972329, 0, 0, 0, 0.459155631657443, -0.459155631657443});
    check(rl::batch_normalized{.unbiased = false},
          {0.47961646018645887, -0.47961646018645887, -0.47961646018645887, 0.47961646018645887, 0,
           1.4388493805593767, -1.4388493805593767, 0, 0, 0, 0.47961646018645887,
           -0.47961646018645887});
    check(rl::leave_one_out{},
          {2.0 / 3, -2.0 / 3, -2.0 / 3, 2.0 / 3, 0, 2.25, -2.25, 0, 0, 0, 1, -1});
    check(rl::leave_one_out_normalized{.epsilon = 1e-6},
          {1.1546985383827157, -1.1546985383827155, -1.1546985383827155, 1.1546985383827157, 0,
           2.1213183435615286, -2.1213183435615286, 0, 0, 0, 1, -1});
    check(rl::best_of_group{.epsilon = 1e-6},
          {0, 0, 0, 0, 0, 0.9999993333337779, 0, 0, 0, 0, 1.4142115623759233, 0});
    check(rl::best_of_group{.normalized = false}, {0, 0, 0, 0, 0, 1.5, 0, 0, 0, 0, 1, 0});
    check(rl::nonzero_scaled{.normalizer = 2},
          {0.3, -0.3, -0.3, 0.3, 0, 0.9, -0.9, 0, 0, 0, 0.3, -0.3});
}

TEST_CASE("estimators that weigh by length") {
    check_near(with_lengths(rl::length_weighted_baseline{}, rewards, groups, lengths),
               {0.5, -0.5, -0.5, 0.5, -0.6666666666666667, 0.8333333333333333, -2.166666666666667,
                0, 0, 0, 0.25, -0.75});
    check_near(
        with_lengths(rl::group_centred_whitened{}, rewards, groups, lengths),
        {0.44002857104579174, -0.9139054937104906, -0.9139054937104906, 0.44002857104579174,
         -0.2369384613323494, 1.793962635802074, -2.2678395584667728, -0.2369384613323494,
         -0.2369384613323494, -0.2369384613323494, 0.44002857104579174, -0.9139054937104906});
    check_near(
        with_lengths(rl::group_centred_whitened{.batch = {.unbiased = false}}, rewards, groups,
                     lengths),
        {0.44563425643491344, -0.925548071057128, -0.925548071057128, 0.44563425643491344,
         -0.23995690731110722, 1.8168165839269548, -2.2967303985491694, -0.23995690731110722,
         -0.23995690731110722, -0.23995690731110722, 0.44563425643491344, -0.925548071057128});
}

TEST_CASE("several rewards are normalized before they are summed") {
    numbers const both{1, 0, 0, 1, 1, 0, 0, 2, 1, 3, 0, 0};
    numbers const weights{0.7, 0.3};
    auto const two = rl::equal_groups(2, 3);
    rl::decoupled_rewards<> const estimator{.each = {.epsilon = 1e-4}, .epsilon = 1e-4};
    numbers out(6);
    auto const run = [&](numbers const& r, std::vector<std::uint8_t> const& scored) {
        estimator(std::span<double const>(r), std::span<double const>(weights),
                  std::span<index_t const>(two), std::span<double>(out),
                  std::span<std::uint8_t const>(scored));
    };
    run(both, {});
    check_near(out, {0.8009967172889826, -0.16409118062128447, -0.636905536667698,
                     1.1828876017578536, 0.36391450412262016, -1.5468021058804737});
    SUBCASE("equal rewards give exactly zero") {
        run(numbers(12, 0.1), {});
        CHECK(out == numbers(6, 0.0));
    }
    SUBCASE("a response without any reward takes no part") {
        numbers some = both;
        some[1] = some[7] = none;
        std::vector<std::uint8_t> scored(12, 1);
        scored[1] = scored[7] = 0;
        run(some, scored);
        CHECK(out[1] == 0.0);
        CHECK(out[0] + out[2] + out[3] + out[4] + out[5] == Approx(0.0));
    }
    SUBCASE("sizes are checked") {
        CHECK_THROWS_AS(run(numbers(11), {}), shape_error);
        CHECK_THROWS_AS(run(both, {1, 1}), shape_error);
    }
}

TEST_CASE("equal rewards, and a group of one, get exactly zero from every group estimator") {
    auto const check = [](auto const& estimator) {
        for (float reward : {0.1f, 0.2f, 1.0f / 3.0f, -7.7f}) {
            std::vector<float> const same(17, reward);
            std::vector<index_t> const offsets{0, 16, 17};
            for (float a : rl::advantages(estimator, same, offsets)) CHECK(a == 0.0f);
        }
    };
    check(rl::group_normalized{.epsilon = 1e-6});
    check(rl::group_centred{});
    check(rl::batch_normalized{});
    check(rl::leave_one_out{});
    check(rl::leave_one_out_normalized{});
    check(rl::best_of_group{});
    check(rl::nonzero_scaled{});
    std::vector<index_t> const offsets{0, 3, 4}, size{1, 2, 3, 4};
    numbers const same(4, 0.1);
    CHECK(with_lengths(rl::length_weighted_baseline{}, same, offsets, size) == numbers(4, 0.0));
    CHECK(with_lengths(rl::group_centred_whitened{}, same, offsets, size) == numbers(4, 0.0));
}

TEST_CASE("seven against one: the deviation of equal others is zero, not what rounding leaves") {
    std::vector<float> const r{0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.95f, 0.35f};
    auto const a =
        rl::advantages(rl::leave_one_out_normalized{.epsilon = 1e-6}, r, rl::equal_groups(1, 8));
    CHECK(a[7] == Approx(-0.6).epsilon(1e-6));
    CHECK(a[0] == Approx(0.0857142857142857 / 0.22677868380553634).epsilon(1e-4));
}

TEST_CASE("a response without a reward takes no part in any group") {
    numbers r = rewards;
    std::vector<std::uint8_t> scored(r.size(), 1);
    r.insert(r.begin() + 2, none);
    scored.insert(scored.begin() + 2, 0);
    std::vector<index_t> offsets = groups, size = lengths;
    for (std::size_t g = 1; g < offsets.size(); ++g) ++offsets[g];
    size.insert(size.begin() + 2, 9);
    auto const check = [&](numbers with, numbers const& without) {
        CHECK(with[2] == 0.0);
        with.erase(with.begin() + 2);
        check_near(with, without);
    };
    auto const same = [&](auto const& e) {
        check(rl::advantages(e, r, offsets, scored), rl::advantages(e, rewards, groups));
    };
    same(rl::group_centred{});
    same(rl::batch_normalized{});
    same(rl::leave_one_out{});
    same(rl::leave_one_out_normalized{});
    same(rl::best_of_group{});
    same(rl::nonzero_scaled{});
    auto const same_lengths = [&](auto const& e) {
        check(with_lengths(e, r, offsets, size, scored), with_lengths(e, rewards, groups, lengths));
    };
    same_lengths(rl::length_weighted_baseline{});
    same_lengths(rl::group_centred_whitened{});
}

TEST_CASE("of two equally good answers neither is the best") {
    CHECK(rl::advantages(rl::best_of_group{}, numbers{1, 1, 0}, rl::equal_groups(1, 3)) ==
          numbers(3, 0.0));
}

TEST_CASE("settings and lengths out of range are refused") {
    auto const refused = [](auto const& e) {
        CHECK_THROWS_AS(rl::advantages(e, rewards, groups), configuration_error);
    };
    refused(rl::batch_normalized{.epsilon = -1});
    refused(rl::leave_one_out_normalized{.epsilon = -1});
    refused(rl::best_of_group{.epsilon = none});
    refused(rl::nonzero_scaled{.normalizer = 0});
    rl::length_weighted_baseline const opo;
    CHECK_THROWS_AS(with_lengths(opo, rewards, groups, {1, 2}), shape_error);
    CHECK_THROWS_AS(with_lengths(opo, {1, 0}, {0, 2}, {1, -2}), value_error);
    CHECK_THROWS_AS(with_lengths(opo, {1, 0}, {0, 2}, {0, 0}), value_error);
    CHECK_THROWS_AS(
        with_lengths(rl::group_centred_whitened{.batch = {.epsilon = -1}}, {1, 0}, {0, 2}, {1, 1}),
        configuration_error);
}
