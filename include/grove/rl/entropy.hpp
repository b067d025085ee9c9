// SPDX-License-Identifier: Apache-2.0
/// @file
/// What entropy is good for beside its reward: a controller of that reward, and the choice of the
/// tokens that learn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA::rl {

/// An entropy coefficient that holds the policy's entropy at a target (He et al. 2025, Skywork-OR1,
/// as in TRL): after every step η moves by `step` towards more entropy or less, and it is in force
/// only where the entropy is not above the target. It is state: store it with a checkpoint.
/// ```cpp
/// rl::adaptive_entropy controller;
/// controller.update(report_entropy);  // after each step
/// objective.entropy_coefficient = controller.coefficient();
/// ```
struct adaptive_entropy {
    double value = 0.0;   ///< η as it is carried on, within [lowest, highest]
    double target = 0.2;  ///< nats per token, ≥ 0
    double step = 0.005;  ///< ≥ 0
    double lowest = 0.0;
    double highest = 1.0;
    double measured = 0.0;  ///< the entropy of the last step; before the first: below any target

    /// Takes the mean entropy per token of a step. Throws value_error for one that is not finite,
    /// configuration_error for settings out of range.
    void update(double entropy) {
        char const* const operation = "adaptive_entropy";
        require<configuration_error>(target >= 0 && step >= 0 && lowest <= highest, operation,
                                     "expected target ≥ 0, step ≥ 0 and lowest ≤ highest, got ",
                                     target, ", ", step, ", ", lowest, " and ", highest);
        require<value_error>(std::isfinite(entropy), operation, "expected a finite entropy, got ",
                             entropy);
        value = std::clamp(value + (entropy < target   ? step
                                    : entropy > target ? -step
                                                       : 0.0),
                           lowest, highest);
        measured = entropy;
    }
    /// η for the next step: 0 while the entropy is above the target.
    double coefficient() const { return measured <= target ? value : 0.0; }
};

/// Only the tokens of highest entropy learn, those at which the reasoning forks (Wang et al. 2025,
/// "Beyond the 80/20 rule"; TRL, `top_entropy_quantile`): factors 1 where the entropy is at least
/// the (1 − share)-quantile of the tokens that count, else 0.
///
/// The factors belong in `batch.correction`: the others still count in the aggregation, and the
/// divergence still holds them. Ask for the quantile over the whole optimizer step, and once for a
/// rollout, since it moves with the policy.
struct top_entropy {
    double share = 0.2;  ///< in (0, 1]

    /// Factors `[tokens]` for `entropy` `[tokens]`; tokens that `mask` (or empty: none) leaves out
    /// have factor 1. Throws shape_error for sizes that differ, value_error for entropies that
    /// count and are not finite, configuration_error for a share out of range.
    template <class T>
    std::vector<T> operator()(std::span<T const> entropy,
                              std::span<std::uint8_t const> mask = {}) const {
        char const* const operation = "top_entropy";
        require<configuration_error>(share > 0 && share <= 1, operation,
                                     "expected 0 < share ≤ 1, got ", share);
        require<shape_error>(mask.empty() || mask.size() == entropy.size(), operation,
                             "expected mask [", entropy.size(), "] like entropy, got [",
                             mask.size(), "]");
        std::vector<T> counted;
        for (std::size_t t = 0; t < entropy.size(); ++t) {
            if (!mask.empty() && mask[t] == 0) continue;
            require<value_error>(std::isfinite(entropy[t]), operation,
                                 "expected finite entropies, got ", entropy[t], " at ", t);
            counted.push_back(entropy[t]);
        }
        std::vector<T> factors(entropy.size(), T(1));
        if (counted.empty()) return factors;
        std::sort(counted.begin(), counted.end());
        double const threshold = quantile(counted, 1 - share);
        for (std::size_t t = 0; t < entropy.size(); ++t)
            if (mask.empty() || mask[t] != 0)
                factors[t] = static_cast<double>(entropy[t]) >= threshold ? T(1) : T(0);
        return factors;
    }

private:
    /// Between the two nearest of ascending numbers, as numpy and torch have it.
    template <class T>
    static double quantile(std::vector<T> const& ascending, double level) {
        double const place = level * static_cast<double>(ascending.size() - 1);
        auto const below = static_cast<std::size_t>(place);
        auto const above = std::min(below + 1, ascending.size() - 1);
        auto const low = static_cast<double>(ascending[below]);
        return low +
               (static_cast<double>(ascending[above]) - low) * (place - static_cast<double>(below));
    }
};

}  // namespace grove::inline GROVE_ISA::rl
