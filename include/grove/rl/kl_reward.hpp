// SPDX-License-Identifier: Apache-2.0
/// @file
/// The divergence as a part of the reward, and its coefficient as a controller.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/objective.hpp"

namespace grove::inline GROVE_ISA::rl {

/// rₜ − β·Law(log π_old, log π_ref) per token: the penalty is a reward, carries no gradient of its
/// own and reaches earlier tokens through the returns (Ziegler et al. 2019). With k1, the sum over
/// a response is log π/π_ref of the response, whose mean is the divergence.
/// ```cpp
/// auto reward = rl::final_rewards(scores, offsets, mask);
/// rl::kl_reward<>{.coefficient = 0.05}(old, reference, mask, reward);
/// ```
template <class Law = k1>
struct kl_reward {
    static_assert(kl_law<Law> && law_of_pair<Law> && Law::unit == level::token,
                  "kl_reward takes a divergence per token, such as k1");

    double coefficient = 0.01;  ///< β ≥ 0
    Law law{};

    /// Changes `reward` `[tokens]` where `mask` `[tokens]` (or empty: everywhere) is not 0. Throws
    /// shape_error for sizes that differ, value_error for log-probabilities that count and are not
    /// finite, configuration_error for a negative coefficient.
    template <class T>
    void operator()(std::span<T const> old_log_probability,
                    std::span<T const> reference_log_probability,
                    std::span<std::uint8_t const> mask, std::span<T> reward) const {
        char const* const operation = "kl_reward";
        require<configuration_error>(coefficient >= 0 && std::isfinite(coefficient), operation,
                                     "expected coefficient ≥ 0, got ", coefficient);
        auto const expect = [&](char const* name, std::size_t size) {
            require<shape_error>(size == reward.size(), operation, "expected ", name, " [",
                                 reward.size(), "] like reward, got [", size, "]");
        };
        expect("old_log_probability", old_log_probability.size());
        expect("reference_log_probability", reference_log_probability.size());
        if (!mask.empty()) expect("mask", mask.size());
        for (std::size_t t = 0; t < reward.size(); ++t) {
            if (!mask.empty() && mask[t] == 0) continue;
            auto const old = static_cast<double>(old_log_probability[t]);
            auto const reference = static_cast<double>(reference_log_probability[t]);
            require<value_error>(std::isfinite(old) && std::isfinite(reference), operation,
                                 "expected finite log-probabilities, got ", old, " and ", reference,
                                 " at ", t);
            reward[t] -= static_cast<T>(coefficient * law(old, reference));
        }
    }
};

/// A coefficient β that holds the divergence near a target (Ziegler et al. 2019, §2.2):
/// β ← β·(1 + clip(KL / target − 1, ±0.2)·samples / horizon). A fixed coefficient is a plain
/// double. It is state: store it with a checkpoint.
struct adaptive_kl {
    double coefficient = 0.001;  ///< β > 0
    double target = 0.1;         ///< nats, > 0
    double horizon = 10000;      ///< samples over which an error of 0.2 changes β by 20 %, > 0

    /// Takes the divergence measured over `samples` responses. Throws value_error for one that is
    /// not finite, configuration_error for settings out of range.
    void update(double measured, index_t samples) {
        char const* const operation = "adaptive_kl";
        require<configuration_error>(target > 0 && horizon > 0, operation,
                                     "expected target > 0 and horizon > 0, got ", target, " and ",
                                     horizon);
        require<value_error>(std::isfinite(measured) && samples >= 0, operation,
                             "expected a finite divergence over ≥ 0 samples, got ", measured,
                             " over ", samples);
        double const error = std::clamp(measured / target - 1, -0.2, 0.2);
        coefficient *= 1 + error * static_cast<double>(samples) / horizon;
    }
};

}  // namespace grove::inline GROVE_ISA::rl
