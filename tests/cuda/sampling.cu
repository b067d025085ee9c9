// SPDX-License-Identifier: Apache-2.0
// Tokens drawn on the device: the sampler's tokens and kept sets, from each row alone, with the
// right frequencies; logits that are no numbers are refused.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "../backend/conformance.hpp"
#include "../thrown.hpp"
#include "../instances/kernels_cuda.hpp"
#include "grove/backend/refinement.hpp"
#include "grove/rollout/sampler.hpp"

using namespace grove;
using grove_test::message_of;

namespace {

using conformance::down, conformance::ints, conformance::rows_of, conformance::up;

static_assert(has_token_sampling<cuda_backend, float> && has_token_sampling<cuda_backend, double>);

/// What was drawn for each row, and kept.
struct drawn {
    ints tokens;
    std::vector<ints> kept;
    friend bool operator==(drawn const&, drawn const&) = default;
};
template <class T>
drawn on_device(cuda_backend& b, std::vector<T> const& logits, index_t columns,
                std::vector<double> const& uniforms, sampling_options const& options) {
    auto const tokens = b.allocate<std::int32_t>(static_cast<index_t>(uniforms.size()));
    auto const [offsets, kept] =
        b.sample_tokens(up(b, logits), columns, up(b, uniforms), options, tokens);
    drawn y{down<std::int32_t>(b, tokens), std::vector<ints>(uniforms.size())};
    if (offsets.size() == 0) return y;
    ints const first = down<std::int32_t>(b, offsets), all = down<std::int32_t>(b, kept);
    for (std::size_t i = 0; i < uniforms.size(); ++i)
        y.kept[i].assign(all.begin() + first[i], all.begin() + first[i + 1]);
    return y;
}
template <class T>
drawn on_host(std::vector<T> const& logits, index_t columns, std::vector<double> const& uniforms,
              sampling_options const& options) {
    sampler draw(options);
    drawn y;
    for (std::size_t i = 0; i < uniforms.size(); ++i) {
        y.tokens.push_back(
            draw(std::span<T const>(logits.data() + static_cast<index_t>(i) * columns,
                                    static_cast<std::size_t>(columns)),
                 uniforms[i]));
        y.kept.emplace_back(draw.kept().begin(), draw.kept().end());
    }
    return y;
}
std::vector<double> uniforms_of(std::size_t count, std::uint64_t seed) {
    random_sequence random({.seed = seed});
    std::vector<double> y;
    for (std::size_t i = 0; i < count; ++i) y.push_back(random.uniform());
    return y;
}
/// Logits from −6 to 6; with `ties`, in steps of a half.
template <class T>
std::vector<T> logits_of(index_t size, std::uint64_t seed, bool ties) {
    auto y = random_values<T>(size, seed);
    for (auto& z : y) z = ties ? std::round(z * T(12)) / T(2) : z * T(6);
    return y;
}
std::vector<sampling_options> const all_options{
    {},
    {.temperature = 0.0},
    {.temperature = 0.0, .top_p = 0.5},
    {.temperature = 0.6},
    {.top_k = 1},
    {.top_k = 20},
    {.top_k = 1'000'000},
    {.top_p = 0.9},
    {.temperature = 0.6, .top_p = 0.95},
    {.top_p = 1e-6},
    {.min_p = 0.05},
    {.min_p = 1.0},
    {.temperature = 1.7, .top_k = 50, .top_p = 0.8, .min_p = 0.02},
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: tokens and kept sets are the sampler's", T, float, double) {
    cuda_backend b;
    for (index_t columns : {1, 7, 32, 33, 515, 2048, 32003})
        for (bool ties : {false, true}) {
            CAPTURE(columns);
            CAPTURE(ties);
            std::size_t const rows = columns > 10'000 ? 5 : 40;
            auto const logits = logits_of<T>(static_cast<index_t>(rows) * columns, 1, ties);
            auto const uniforms = uniforms_of(rows, 2);
            for (std::size_t o = 0; o < all_options.size(); ++o) {
                CAPTURE(o);
                auto const got = on_device(b, logits, columns, uniforms, all_options[o]);
                auto const expected = on_host(logits, columns, uniforms, all_options[o]);
                CHECK(got.tokens == expected.tokens);
                CHECK(got.kept == expected.kept);
            }
        }
}

TEST_CASE("cuda: the ends of the unit interval, and logits of minus infinity") {
    cuda_backend b;
    double const below_one = std::nextafter(1.0, 0.0);
    float const none = -std::numeric_limits<float>::infinity();
    std::vector<float> const logits{none, 1, none, 1, 2, none, none, 1, none, 1, 2, none};
    for (auto const& options : all_options)
        CHECK(on_device(b, logits, 6, {0.0, below_one}, options) ==
              on_host(logits, 6, {0.0, below_one}, options));
    CHECK(on_device(b, logits, 6, {0.0, below_one}, {}).tokens == ints{1, 4});
}

TEST_CASE("cuda: a row is drawn and kept alone as among 64") {
    cuda_backend b;
    index_t const columns = 5003, rows = 64;
    auto const logits = logits_of<float>(rows * columns, 3, false);
    auto const uniforms = uniforms_of(64, 4);
    for (auto const& options : all_options) {
        auto const together = on_device(b, logits, columns, uniforms, options);
        for (index_t row : {0, 31, 63}) {
            auto const i = static_cast<std::size_t>(row);
            auto const alone =
                on_device(b, rows_of(logits, columns, row, 1), columns, {uniforms[i]}, options);
            CHECK(alone.tokens[0] == together.tokens[i]);
            CHECK(alone.kept[0] == together.kept[i]);
        }
    }
}

TEST_CASE("cuda: tokens come as often as their probabilities say") {
    cuda_backend b;
    index_t const columns = 40, draws = 40'000;
    auto const row = logits_of<float>(columns, 5, false);
    std::vector<float> logits;
    for (index_t i = 0; i < draws; ++i) logits.insert(logits.end(), row.begin(), row.end());
    for (auto const& options : {sampling_options{},
                                {.temperature = 2.0},
                                {.temperature = 1.3, .top_k = 12},
                                {.temperature = 3.0, .top_p = 0.9}}) {
        auto const got = on_device(b, logits, columns, uniforms_of(draws, 6), options);
        std::vector<double> weight(columns, 0.0), count(columns, 0.0);
        double total = 0;
        for (std::size_t t = 0; t < weight.size(); ++t) {
            auto const& kept = got.kept[0];
            bool const is_kept =
                kept.empty() || std::find(kept.begin(), kept.end(), t) != kept.end();
            weight[t] = is_kept ? std::exp(double{row[t]} / options.temperature) : 0.0;
            total += weight[t];
        }
        for (auto token : got.tokens) count[static_cast<std::size_t>(token)] += 1;
        double chi_square = 0, others = 0, expected_others = 0;
        int classes = 0;
        for (std::size_t t = 0; t < weight.size(); ++t) {
            double const expected = weight[t] / total * static_cast<double>(draws);
            if (expected == 0.0) {
                CHECK(count[t] == 0);
            } else if (expected < 10) {  // rare tokens make one class
                others += count[t];
                expected_others += expected;
            } else {
                chi_square += (count[t] - expected) * (count[t] - expected) / expected;
                ++classes;
            }
        }
        if (expected_others > 0)
            chi_square += (others - expected_others) * (others - expected_others) / expected_others;
        REQUIRE(classes > 3);
        CHECK(chi_square < classes + 4.5 * std::sqrt(2.0 * classes));  // mean + 4.5 deviations
    }
}

TEST_CASE("cuda: logits that are no numbers are refused by the next wait, and only once") {
    cuda_backend b;
    float const infinity = std::numeric_limits<float>::infinity();
    auto const draw = [&](index_t place, float bad, sampling_options const& options) {
        auto logits = logits_of<float>(3 * 700, 7, false);
        logits[static_cast<std::size_t>(place)] = bad;
        on_device(b, logits, 700, {0.1, 0.5, 0.9}, options);
    };
    for (auto const& options : all_options) {
        CHECK(message_of<value_error>([&] { draw(700 + 523, std::nanf(""), options); }) ==
              "[sampler] expected logits without NaN, got one at 523");
        CHECK(message_of<value_error>([&] { draw(1400 + 699, infinity, options); }) ==
              "[sampler] expected a finite largest logit, got another at 699");
        CHECK_NOTHROW(draw(700, -infinity, options));
    }
    std::vector<float> const nothing(20, -infinity);
    CHECK_THROWS_AS(on_device(b, nothing, 10, {0.1, 0.2}, {.top_p = 0.9}), value_error);
}
