// SPDX-License-Identifier: Apache-2.0
/// @file
/// Importance ratios: how much likelier the policy makes what the old policy sampled.
///
/// A ratio names the unit it is taken over and maps that unit's log-ratio to a number. Your own is
/// such a struct:
/// ```cpp
/// struct mean_ratio {  // geometric mean over the response
///     static constexpr level unit = level::sequence;
///     template <class Number>
///     GROVE_HD Number operator()(Number log_ratio, Number length) const {
///         return math::exp(log_ratio / length);
///     }
/// };
/// ```
#pragma once

#include "grove/core/math.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// One ratio per token, π(oₜ|q,o₍<ₜ₎) / π_old(oₜ|q,o₍<ₜ₎) (Shao et al. 2024, DeepSeekMath, eq. 3).
struct token_ratio {
    static constexpr level unit = level::token;

    /// exp(log π − log π_old); `length` is 1.
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number /*length*/) const {
        return math::exp(log_ratio);
    }
};

/// One ratio per response, π(o|q) / π_old(o|q): the product of its tokens' ratios (DeepSeek-R1,
/// eq. 1 as printed). It grows exponentially with the length of the response.
struct sequence_ratio {
    static constexpr level unit = level::sequence;

    /// exp(Σₜ log π − log π_old); `log_ratio` is that sum over the `length` tokens that count.
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number /*length*/) const {
        return math::exp(log_ratio);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
