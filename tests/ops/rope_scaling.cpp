// SPDX-License-Identifier: Apache-2.0
// Golden values: the published formulas, in Python's doubles.
#include "grove/ops/rope_scaling.hpp"

#include <doctest/doctest.h>

using namespace grove;

namespace {

using numbers = std::vector<double>;

/// Of 16 columns with θ = 10000.
numbers frequencies(rope_scaling_options const& options, index_t positions) {
    return rope_frequencies_of(options, 16, 10000.0, positions).per_position;
}
void check_close(numbers const& got, numbers const& expected) {
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-13));
}
numbers const standard{1,    0.31622776601683794,   0.1,   0.031622776601683791,
                       0.01, 0.0031622776601683794, 0.001, 0.00031622776601683794};

}  // namespace

TEST_CASE("rope_frequencies_of: standard and linear") {
    check_close(frequencies({}, 64), standard);
    numbers quarter = standard;
    for (double& f : quarter) f /= 4;
    check_close(frequencies({.type = rope_type::linear, .factor = 4}, 64), quarter);
}

TEST_CASE("rope_frequencies_of: dynamic grows θ with the context, from the original one on") {
    rope_scaling_options const options{
        .type = rope_type::dynamic, .factor = 2, .original_max_position_embeddings = 64};
    check_close(
        frequencies(options, 256),
        {1, 0.23948135600598383, 0.057351319874464762, 0.013734571852269752, 0.0032891738913431771,
         0.00078769582363834257, 0.00018863846396516057, 4.5175395145262567e-05});
    check_close(frequencies(options, 64), standard);
    check_close(frequencies(options, 10), standard);
}

TEST_CASE("rope_frequencies_of: llama3") {
    check_close(frequencies({.type = rope_type::llama3,
                             .factor = 8,
                             .original_max_position_embeddings = 64,
                             .low_freq_factor = 1,
                             .high_freq_factor = 4},
                            256),
                {1, 0.24438459943539834, 0.013042256043820465, 0.0039528470752104739, 0.00125,
                 0.00039528470752104742, 0.000125, 3.9528470752104742e-05});
}

TEST_CASE("rope_frequencies_of: yarn, its ramp and its amplitude") {
    rope_scaling_options options{
        .type = rope_type::yarn, .factor = 40, .original_max_position_embeddings = 4096};
    check_close(frequencies(options, 163840),
                {1, 0.31622776601683794, 0.1, 0.023914724805023366, 0.005125,
                 0.00084986212117025184, 2.5e-05, 7.9056941504209471e-06});
    auto amplitude = [&] { return rope_frequencies_of(options, 16, 10000, 163840).amplitude; };
    CHECK(amplitude() == doctest::Approx(1.3688879454113936));
    options.mscale = 0.707;
    CHECK(amplitude() == doctest::Approx(1.3688879454113936));  // both scales or none
    options.mscale_all_dim = 1.0;
    CHECK(amplitude() == doctest::Approx(0.9210423553163399));
    options.mscale = 1.0;
    CHECK(amplitude() == 1.0);
    options.attention_factor = 1.5;
    CHECK(amplitude() == 1.5);
    check_close(frequencies({.type = rope_type::yarn,
                             .factor = 4,
                             .original_max_position_embeddings = 64,
                             .truncate = false},
                            256),
                {1, 0.19858352015369318, 0.025595245891924211, 0.0079056941504209478, 0.0025,
                 0.00079056941504209474, 0.00025, 7.9056941504209485e-05});
}

TEST_CASE("rope_frequencies_of: nonsense is a configuration_error") {
    CHECK_THROWS_AS(rope_frequencies_of({}, 7, 1e4, 64), configuration_error);
    CHECK_THROWS_AS(rope_frequencies_of({}, 0, 1e4, 64), configuration_error);
    CHECK_THROWS_WITH_AS(
        frequencies({.type = rope_type::linear, .factor = 0.5}, 64),
        "[rope_scaling] expected factor ≥ 1 and a number of positions, got 0.5 and 0",
        configuration_error);
    CHECK_THROWS_AS(frequencies({.type = rope_type::llama3, .factor = 8, .low_freq_factor = 4}, 64),
                    configuration_error);
    CHECK_THROWS_AS(frequencies({.type = rope_type::yarn, .beta_slow = 40}, 64),
                    configuration_error);
    CHECK_THROWS_AS(frequencies({.mscale = -1}, 64), configuration_error);
    double const nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(frequencies({.factor = nan}, 64), configuration_error);
}
