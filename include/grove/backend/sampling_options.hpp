// SPDX-License-Identifier: Apache-2.0
/// @file
/// How a token is drawn from a row of logits: for the sampler, and for backends that draw.
#pragma once

#include <cstdint>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// How tokens are drawn. Truncations apply in this order: top-k, then top-p, then min-p.
struct sampling_options {
    double temperature = 1.0;  ///< 0: always the most probable token
    std::int64_t top_k = 0;    ///< keep the k most probable tokens; 0: all
    double top_p = 1.0;        ///< keep the fewest tokens whose probabilities reach this sum
    double min_p = 0.0;        ///< keep tokens at least this share of the best one's probability

    /// The temperature under which log-probabilities are recorded: that of sampling, or 1 when
    /// greedy.
    double recorded_temperature() const { return temperature > 0 ? temperature : 1.0; }
    GROVE_HD bool truncates() const { return top_k > 0 || top_p < 1.0 || min_p > 0.0; }
    /// Throws configuration_error for values outside their ranges.
    void validate() const {
        auto need = [](bool holds, char const* name, auto value, char const* range) {
            require<configuration_error>(holds, "sampling_options", "expected ", name, " ", range,
                                         ", got ", value);
        };
        need(temperature == 0.0 || (temperature >= 1e-3 && temperature <= 1e6), "temperature",
             temperature, "0 or in [0.001, 1e6]");
        need(top_k >= 0, "top_k", top_k, "≥ 0");
        need(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, "in (0, 1]");
        need(min_p >= 0.0 && min_p <= 1.0, "min_p", min_p, "in [0, 1]");
    }
};

}  // namespace grove::inline GROVE_ISA
