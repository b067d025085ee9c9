// SPDX-License-Identifier: Apache-2.0
/// @file
/// The probability that one of k attempts is right.
#pragma once

#include <cmath>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// Unbiased estimate of pass@k from `correct` right ones among `samples` ≥ k completions:
/// 1 − C(samples − correct, k) / C(samples, k), computed as 1 − Π (1 − k / i) over i in
/// (samples − correct, samples] through logarithms, so that neither binomials overflow nor small
/// values cancel (Chen et al. 2021, "Evaluating large language models trained on code"). Throws
/// value_error unless 0 ≤ correct ≤ samples and 1 ≤ k ≤ samples.
inline double pass_at_k(index_t samples, index_t correct, index_t k) {
    require<value_error>(0 <= correct && correct <= samples, "pass_at_k",
                         "expected 0 ≤ correct ≤ samples, got ", correct, " of ", samples);
    require<value_error>(1 <= k && k <= samples, "pass_at_k",
                         "expected 1 ≤ k ≤ samples, got k = ", k, " with ", samples, " samples");
    if (samples - correct < k) return 1.0;
    double log_fail = 0.0;
    for (index_t i = samples - correct + 1; i <= samples; ++i) {
        log_fail += std::log1p(-static_cast<double>(k) / static_cast<double>(i));
    }
    return -std::expm1(log_fail);
}

}  // namespace grove::inline GROVE_ISA
