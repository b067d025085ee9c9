// SPDX-License-Identifier: Apache-2.0
#include "grove/rollout/sampler.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "../thrown.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using tokens = std::vector<std::int32_t>;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Probabilities of all tokens, zero for those outside the kept set, by the definition of each
/// truncation: which tokens a token has before it.
numbers distribution(numbers const& logits, sampling_options const& options) {
    std::size_t const size = logits.size();
    auto const weight = [&](std::size_t i) { return std::exp(logits[i] / options.temperature); };
    auto const before = [&](std::size_t i, std::size_t j) {
        return logits[i] > logits[j] || (logits[i] == logits[j] && i < j);
    };
    auto const normalize = [](numbers p) {
        double total = 0;
        for (double x : p) total += x;
        for (double& x : p) x /= total;
        return p;
    };
    numbers p(size);
    for (std::size_t i = 0; i < size; ++i) {
        std::int64_t better = 0;
        for (std::size_t j = 0; j < size; ++j) better += before(j, i);
        p[i] = options.top_k == 0 || better < options.top_k ? weight(i) : 0;
    }
    p = normalize(p);
    numbers nucleus = p;
    for (std::size_t i = 0; i < size; ++i) {
        double mass = 0;
        for (std::size_t j = 0; j < size; ++j) mass += before(j, i) ? p[j] : 0;
        if (mass >= options.top_p) nucleus[i] = 0;
    }
    p = normalize(nucleus);
    double const best = *std::max_element(p.begin(), p.end());
    for (double& x : p)
        if (x < options.min_p * best) x = 0;
    return normalize(p);
}

tokens support(numbers const& p) {
    tokens kept;
    for (std::size_t i = 0; i < p.size(); ++i)
        if (p[i] > 0) kept.push_back(static_cast<std::int32_t>(i));
    return kept;
}

std::int32_t draw(sampler& s, numbers const& logits, double uniform) {
    return s(std::span<double const>(logits), uniform);
}

std::string refusal(sampling_options const& options) {
    return grove_test::message_of<configuration_error>([&] { sampler const s(options); });
}

}  // namespace

TEST_CASE("tokens come as often as their probabilities say") {
    numbers const logits{0.3, -1.2, 2.0, 1.1, 0.0, -0.4, 1.6, 0.9};
    for (sampling_options const& options :
         {sampling_options{}, {.temperature = 0.6}, {.temperature = 2.5}, {.top_k = 3},
          {.top_p = 0.8}, {.min_p = 0.3},
          {.temperature = 1.5, .top_k = 7, .top_p = 0.95, .min_p = 0.2}}) {
        CAPTURE(options.temperature);
        CAPTURE(options.top_k);
        CAPTURE(options.top_p);
        auto const expected = distribution(logits, options);
        sampler s(options);
        constexpr int draws = 20000;
        std::vector<int> counts(logits.size());
        random_key const key{.seed = 11, .stream = random_stream::rollout};
        for (std::uint32_t i = 0; i < draws; ++i)
            ++counts[static_cast<std::size_t>(draw(s, logits, key.uniform<double>(i)))];
        double chi_square = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            double const mean = draws * expected[i];
            if (mean == 0) CHECK(counts[i] == 0);
            if (mean > 0) chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
        }
        CHECK(chi_square < 24.3);  // exceeded once in a thousand with seven degrees of freedom
    }
}

TEST_CASE("truncation keeps what its definition keeps, ties included") {
    random_sequence random({.seed = 3});
    for (int round = 0; round < 200; ++round) {
        numbers logits(static_cast<std::size_t>(random.integer(1, 40)));
        for (double& z : logits) z = std::round(2 * random.normal()) / 2;  // many are equal
        for (sampling_options options :
             {sampling_options{.top_k = 1}, {.top_k = 5}, {.top_k = 100}, {.top_p = 0.9},
              {.top_p = 1e-9}, {.top_p = 0.55, .min_p = 0.1}, {.min_p = 0.25}, {.min_p = 1.0},
              {.temperature = 0.6, .top_k = 6, .top_p = 0.77, .min_p = 0.05}}) {
            sampler s(options);
            auto const token = draw(s, logits, random.uniform());
            tokens const kept(s.kept().begin(), s.kept().end());
            CHECK(kept == support(distribution(logits, options)));
            CHECK(std::count(kept.begin(), kept.end(), token) == 1);
        }
    }
}

TEST_CASE("temperature 0 takes the best token, the lowest of equals") {
    sampler s({.temperature = 0, .top_k = 2, .top_p = 0.5});
    CHECK(draw(s, {0.5, 2, -1, 2}, 0.999) == 1);
    CHECK(s.kept().empty());
    CHECK(draw(s, {-infinity, -infinity, -3}, 0.0) == 2);
    CHECK(s.options().recorded_temperature() == 1);
    CHECK(sampling_options{.temperature = 0.6}.recorded_temperature() == 0.6);
}

TEST_CASE("the ends of the unit interval draw tokens that are possible") {
    double const last = std::nextafter(1.0, 0.0);
    for (sampling_options const& options : {sampling_options{}, {.top_k = 3}, {.top_p = 0.999}}) {
        sampler s(options);
        CHECK(draw(s, {-infinity, 0.1, 0.2, -infinity, 0.3, -infinity}, 0.0) == 1);
        CHECK(draw(s, {-infinity, 0.1, 0.2, -infinity, 0.3, -infinity}, last) == 4);
        CHECK(draw(s, {7.0}, last) == 0);
    }
    sampler s({});
    draw(s, {0.0, 1.0}, 0.5);
    CHECK(s.kept().empty());
}

TEST_CASE("huge and far apart logits are drawn without overflow") {
    sampler cold({.temperature = 1e-3}), hot({.temperature = 1e6});
    std::vector<float> const logits{-3e38F, 1e30F, 1e30F, 3e38F};
    CHECK(cold(std::span<float const>(logits), 0.999) == 3);
    CHECK(draw(hot, {0, 1, 2, 3}, 0.1) == 0);
    CHECK(draw(hot, {0, 1, 2, 3}, 0.9) == 3);
}

TEST_CASE("logits that are no distribution are refused") {
    sampler s({});
    CHECK_THROWS_WITH_AS(draw(s, {0, std::nan(""), 1}, 0.5),
                         "[sampler] expected logits without NaN, got one at 1", value_error);
    CHECK_THROWS_WITH_AS(draw(s, {-infinity, -infinity}, 0.5),
                         "[sampler] expected a finite largest logit, got -inf", value_error);
    CHECK_THROWS_WITH_AS(draw(s, {0, infinity}, 0.5),
                         "[sampler] expected a finite largest logit, got inf", value_error);
    CHECK_THROWS_WITH_AS(draw(s, {}, 0.5), "[sampler] expected at least one logit, got none",
                         value_error);
    sampler greedy({.temperature = 0});
    CHECK_THROWS_AS(draw(greedy, {std::nan("")}, 0.5), value_error);
    CHECK(draw(s, {0, 1}, 0.0) == 0);  // and the sampler goes on
}

TEST_CASE("options outside their ranges are refused with a sentence") {
    std::string const beginning = "[sampling_options] expected ";
    CHECK(refusal({}).empty());
    CHECK(refusal({.temperature = 0}).empty());
    for (double bad : {-1.0, 1e-5, 1e7, infinity})
        CHECK(refusal({.temperature = bad}).starts_with(beginning +
                                                        "temperature 0 or in [0.001, 1e6], got "));
    CHECK_FALSE(refusal({.temperature = std::nan("")}).empty());
    CHECK(refusal({.top_k = -1}) == beginning + "top_k ≥ 0, got -1");
    CHECK(refusal({.top_p = 0}) == beginning + "top_p in (0, 1], got 0");
    CHECK(refusal({.top_p = 1.5}) == beginning + "top_p in (0, 1], got 1.5");
    CHECK_FALSE(refusal({.top_p = std::nan("")}).empty());
    CHECK(refusal({.min_p = -0.5}) == beginning + "min_p in [0, 1], got -0.5");
    CHECK(refusal({.min_p = 2}) == beginning + "min_p in [0, 1], got 2");
    CHECK_FALSE(refusal({.min_p = std::nan("")}).empty());
}
