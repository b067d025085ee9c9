// SPDX-License-Identifier: Apache-2.0
#include "grove/core/random.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <set>

using namespace grove;

namespace {

using words = std::array<std::uint32_t, 4>;

}  // namespace

TEST_CASE("philox: the known answers of its authors' test suite") {
    constexpr std::uint32_t ones = 0xffffffffu;
    CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
          words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
    CHECK(philox({ones, ones, ones, ones}, {ones, ones}) ==
          words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
    CHECK(
        philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
        words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
    static_assert(philox({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5u);
}

TEST_CASE("random_key: golden words, uniform and normal numbers of one address") {
    random_key const key{.seed = 0x0123456789abcdefu,
                         .stream = random_stream::rollout,
                         .visit = 5,
                         .prompt = 7,
                         .sample = 11};
    CHECK(key.words(13) == words{0xcae7c4f5u, 0x9c599fcfu, 0x863584f4u, 0x25a720e1u});
    CHECK(key.uniform<float>(13) == 0.7925989627838135f);
    CHECK(key.uniform<double>(13) == 0.7925990199695206);
    CHECK(key.normal(13) == doctest::Approx(-0.5233163074395825).epsilon(1e-14));
}

TEST_CASE("random_key: every part of the address makes another stream") {
    random_key const base{.seed = 1};
    std::set<words> seen{base.words(0), base.words(1)};
    for (auto stream : {random_stream::initialize, random_stream::task, random_stream::shuffle,
                        random_stream::rollout, random_stream::evaluation})
        seen.insert(random_key{.seed = 1, .stream = stream}.words(0));
    seen.insert(random_key{.seed = 2}.words(0));
    seen.insert(random_key{.seed = 1 + (std::uint64_t{1} << 32)}.words(0));
    seen.insert(random_key{.seed = 1, .visit = 1}.words(0));
    seen.insert(random_key{.seed = 1, .prompt = 1}.words(0));
    seen.insert(random_key{.seed = 1, .sample = 1}.words(0));
    seen.insert(random_key{.seed = 1, .sample = 0xffffff}.words(0));
    CHECK(seen.size() == 13);
}

TEST_CASE_TEMPLATE("random_key: uniform numbers stay in [0, 1) with the moments of uniform", T,
                   float, double) {
    constexpr std::uint32_t count = 20000;
    double sum = 0, squares = 0;
    T low = 1, high = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        T const u = random_key{.seed = 3}.uniform<T>(i);
        low = std::min(low, u), high = std::max(high, u);
        sum += u, squares += double(u) * u;
    }
    CHECK(low >= T(0));
    CHECK(high < T(1));
    CHECK(low < T(0.001));
    CHECK(high > T(0.999));
    CHECK(std::abs(sum / count - 0.5) < 0.01);
    CHECK(std::abs(squares / count - 1.0 / 3) < 0.01);
}

TEST_CASE("random_key: normal numbers have the moments of a normal distribution") {
    constexpr std::uint32_t count = 40000;
    double moments[4] = {};
    for (std::uint32_t i = 0; i < count; ++i) {
        double const x = random_key{.seed = 4}.normal(i);
        REQUIRE(std::isfinite(x));
        double power = 1;
        for (double& m : moments) m += (power *= x) / count;
    }
    // five standard errors of each moment
    CHECK(std::abs(moments[0]) < 5 * std::sqrt(1.0 / count));
    CHECK(std::abs(moments[1] - 1) < 5 * std::sqrt(2.0 / count));
    CHECK(std::abs(moments[2]) < 5 * std::sqrt(15.0 / count));
    CHECK(std::abs(moments[3] - 3) < 5 * std::sqrt(96.0 / count));
}

TEST_CASE("random_sequence: walks the positions of its key") {
    random_key const key{.seed = 9};
    random_sequence sequence(key);
    CHECK(sequence.uniform() == key.uniform<double>(0));
    CHECK(sequence.normal() == key.normal(1));
    CHECK(sequence.uniform() == key.uniform<double>(2));
}

TEST_CASE("random_sequence: integers reach both ends of their range and no further") {
    random_sequence sequence({.seed = 5});
    std::set<std::int64_t> seen;
    for (int i = 0; i < 200; ++i) seen.insert(sequence.integer(-2, 3));
    CHECK(seen == std::set<std::int64_t>{-2, -1, 0, 1, 2, 3});
    CHECK(sequence.integer(7, 7) == 7);
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < 100; ++i) CHECK(sequence.integer(0, most) >= 0);
}

TEST_CASE("random_sequence: an empty range is a value_error with both ends in its message") {
    random_sequence sequence({});
    CHECK_THROWS_WITH_AS(sequence.integer(2, 1),
                         "[random_sequence::integer] expected low ≤ high, got 2 > 1", value_error);
}

TEST_CASE("random_sequence: integers over the whole signed range") {
    grove::random_sequence random({.seed = 9});
    constexpr auto low = std::numeric_limits<std::int64_t>::min();
    constexpr auto high = std::numeric_limits<std::int64_t>::max();
    bool negative = false, positive = false;
    for (int i = 0; i < 64; ++i) {
        auto const x = random.integer(low, high);
        negative = negative || x < 0;
        positive = positive || x > 0;
        CHECK(random.integer(high - 1, high) >= high - 1);
        CHECK(random.integer(low, low) == low);
    }
    CHECK(negative);
    CHECK(positive);
}
