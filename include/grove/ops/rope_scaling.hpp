// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rotary frequencies, and the published ways of stretching them to longer contexts.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// Ways of reaching positions that a model was not trained on; the names are config.json's.
enum class rope_type {
    standard,  ///< "default": θ^(−2j/dim)
    linear,    ///< positions divided by `factor` (Chen et al. 2023)
    dynamic,   ///< a larger θ for longer contexts (NTK-aware, "dynamic")
    llama3,    ///< low frequencies divided by `factor`, high ones kept (Llama 3.1)
    yarn,      ///< the same with a linear ramp, and a temperature (Peng et al. 2023)
};

/// What a checkpoint says about rotary scaling; the names are config.json's.
struct rope_scaling_options {
    rope_type type = rope_type::standard;
    double factor = 1.0;
    /// Positions of the original training; 0: the model's max_position_embeddings.
    index_t original_max_position_embeddings = 0;
    double low_freq_factor = 1.0;   ///< llama3: longer waves are divided by `factor` …
    double high_freq_factor = 4.0;  ///< … shorter ones are kept
    double beta_fast = 32.0;        ///< yarn: rotations over the original context, kept above …
    double beta_slow = 1.0;         ///< … divided by `factor` below
    double mscale = 0.0;            ///< yarn: of the rotated queries and keys; 0: not given
    double mscale_all_dim = 0.0;    ///< yarn: of whole heads (latent attention); 0: not given
    double attention_factor = 0.0;  ///< yarn: given outright; 0: from `factor`
    bool truncate = true;           ///< yarn: the ramp begins and ends at whole pairs

    void validate() const {
        require<configuration_error>(factor >= 1.0 && original_max_position_embeddings >= 0,
                                     "rope_scaling",
                                     "expected factor ≥ 1 and a number of positions, got ", factor,
                                     " and ", original_max_position_embeddings);
        require<configuration_error>(
            type != rope_type::llama3 ||
                (low_freq_factor > 0 && high_freq_factor > low_freq_factor),
            "rope_scaling", "expected 0 < low_freq_factor < high_freq_factor, got ",
            low_freq_factor, " and ", high_freq_factor);
        require<configuration_error>(
            type != rope_type::yarn || (beta_slow > 0 && beta_fast >= beta_slow), "rope_scaling",
            "expected 0 < beta_slow ≤ beta_fast, got ", beta_slow, " and ", beta_fast);
        require<configuration_error>(mscale >= 0 && mscale_all_dim >= 0 && attention_factor >= 0,
                                     "rope_scaling", "expected scales ≥ 0, got mscale ", mscale,
                                     ", mscale_all_dim ", mscale_all_dim, ", attention_factor ",
                                     attention_factor);
    }
    /// Yarn's temperature of attention: 0.1 · scale · ln(factor) + 1.
    double temperature(double scale) const { return 0.1 * scale * std::log(factor) + 1.0; }
};

/// Angles per position, and the factor of cosines and sines.
struct rope_frequencies {
    std::vector<double> per_position;  ///< [dim / 2]
    double amplitude = 1.0;
};

namespace detail {
/// 1 where pair j keeps its frequency, 0 where it is divided by the factor (yarn, section 3.2).
inline double yarn_kept(rope_scaling_options const& options, double j, double dim, double theta,
                        double positions) {
    auto const pair_of = [&](double rotations) {
        return dim * std::log(positions / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(theta));
    };
    double low = pair_of(options.beta_fast), high = pair_of(options.beta_slow);
    if (options.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dim - 1);
    if (low == high) high += 0.001;
    return 1.0 - std::clamp((j - low) / (high - low), 0.0, 1.0);
}
/// Divisor of a frequency in Llama 3.1: 1 for short waves, `factor` for long ones, between them
/// smooth.
inline double llama3_frequency(rope_scaling_options const& options, double frequency,
                               double positions) {
    double const wave = 2 * std::numbers::pi / frequency;
    double const smooth = std::clamp((positions / wave - options.low_freq_factor) /
                                         (options.high_freq_factor - options.low_freq_factor),
                                     0.0, 1.0);
    return (1 - smooth) * frequency / options.factor + smooth * frequency;
}
}  // namespace detail

/// Frequencies of a model whose heads rotate `dim` columns and whose context is `positions` tokens.
/// `dynamic` takes those of the whole context at every length: one table, so that a token's bits do
/// not depend on what follows. Throws configuration_error.
inline rope_frequencies rope_frequencies_of(rope_scaling_options const& options, index_t dim,
                                            double theta, index_t positions) {
    options.validate();
    require<configuration_error>(dim > 0 && dim % 2 == 0, "rope",
                                 "expected an even number of rotated columns, got ", dim);
    auto const width = static_cast<double>(dim);
    auto const original = static_cast<double>(options.original_max_position_embeddings > 0
                                                  ? options.original_max_position_embeddings
                                                  : positions);
    if (options.type == rope_type::dynamic && dim > 2) {
        double const length = std::max(static_cast<double>(positions), original);
        theta *= std::pow(options.factor * length / original - (options.factor - 1),
                          width / (width - 2));
    }
    rope_frequencies result;
    for (index_t j = 0; j < dim / 2; ++j) {
        double const frequency = std::pow(theta, -2.0 * static_cast<double>(j) / width);
        double kept = 1.0;
        switch (options.type) {
            case rope_type::standard:
            case rope_type::dynamic:
                break;
            case rope_type::linear:
                kept = 0.0;
                break;
            case rope_type::yarn:
                kept = detail::yarn_kept(options, static_cast<double>(j), width, theta, original);
                break;
            case rope_type::llama3:
                result.per_position.push_back(
                    detail::llama3_frequency(options, frequency, original));
                continue;
        }
        result.per_position.push_back(kept * frequency + (1 - kept) * frequency / options.factor);
    }
    if (options.type == rope_type::yarn) {
        bool const both = options.mscale > 0 && options.mscale_all_dim > 0;
        result.amplitude = options.attention_factor > 0 ? options.attention_factor
                           : both                       ? options.temperature(options.mscale) /
                                        options.temperature(options.mscale_all_dim)
                                  : options.temperature(1.0);
    }
    return result;
}

}  // namespace grove::inline GROVE_ISA
