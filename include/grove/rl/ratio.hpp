// SPDX-License-Identifier: Apache-2.0
/// @file
/// Importance ratios: how much likelier the policy makes what the old policy sampled.
///
/// A ratio names the unit it is taken over and maps that unit's log-ratio to a number. Your own is
/// such a struct:
/// ```cpp
/// struct tempered_ratio {
///     static constexpr level unit = level::token;
///     template <class Number>
///     GROVE_HD Number operator()(Number log_ratio, Number length) const {
///         return math::exp(Number(0.5) * log_ratio);
///     }
/// };
/// ```
/// One per token that looks at its response takes `unit_numbers<Number> const&` instead
/// (objective.hpp). One per response may change each token's log-ratio before they are summed, by a
/// member `Number of_token(Number log_ratio, Number advantage) const`.
#pragma once

#include <limits>
#include <string>

#include "grove/core/math.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/unit_numbers.hpp"

namespace grove::inline GROVE_ISA::rl {

/// One ratio per token, π(oₜ|q,o₍<ₜ₎) / π_old(oₜ|q,o₍<ₜ₎) (Shao et al. 2024, DeepSeekMath, eq. 3).
struct token_ratio {
    static constexpr level unit = level::token;

    /// Bound on |log π − log π_old|, beyond which the ratio has no gradient; > 0 (verl and
    /// OpenRLHF: 20). None by default: `evaluate` reports an overflow instead.
    double limit = std::numeric_limits<double>::infinity();

    /// exp(log π − log π_old); `length` is 1.
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number /*length*/) const {
        return math::exp(math::clamp(log_ratio, Number(-limit), Number(limit)));
    }
    std::string formula() const {
        bool const bounded = limit < std::numeric_limits<double>::infinity();
        return bounded ? formula_text("exp(clamp(log π − log π_old, ±", limit, "))")
                       : "exp(log π − log π_old)";
    }
};

/// One ratio per response, π(o|q) / π_old(o|q): the product of its tokens' ratios (DeepSeek-R1,
/// eq. 1 as printed). It grows exponentially with the length of the response.
struct sequence_ratio {
    static constexpr level unit = level::sequence;

    /// Bound on each token's |log π − log π_old| in the sum; > 0 (VESPO in TRL: 20).
    double limit = std::numeric_limits<double>::infinity();

    template <class Number>
    GROVE_HD Number of_token(Number log_ratio, Number /*advantage*/) const {
        return math::clamp(log_ratio, Number(-limit), Number(limit));
    }
    /// exp(Σₜ log π − log π_old); `log_ratio` is that sum over the `length` tokens that count.
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number /*length*/) const {
        return math::exp(log_ratio);
    }
    std::string formula() const {
        bool const bounded = limit < std::numeric_limits<double>::infinity();
        return bounded ? formula_text("exp(Σₜ clamp(log π − log π_old, ±", limit, "))")
                       : "exp(Σₜ log π − log π_old)";
    }
};

/// One ratio per response, the geometric mean of its tokens' ratios, (π(o|q) / π_old(o|q))^(1/|o|)
/// (Zheng et al. 2025, GSPO, eq. 7). It stays near 1 for every length: GSPO clips at about 3e-4.
struct geometric_ratio {
    static constexpr level unit = level::sequence;

    /// exp(Σₜ (log π − log π_old) / |o|).
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number length) const {
        return math::exp(log_ratio / length);
    }
    std::string formula() const { return "exp(Σₜ (log π − log π_old) / |o|)"; }
};

/// geometric_ratio with the gradient of each token alone, sg(s)·π / sg(π) (Zheng et al. 2025,
/// GSPO-token, eq. 14): the same as geometric_ratio where all tokens of a response share one
/// advantage, and defined where they do not.
struct geometric_token_ratio {
    static constexpr level unit = level::token;

    /// Upper bound on the logarithm, beyond which there is no gradient (verl: 10).
    double limit = std::numeric_limits<double>::infinity();

    template <class Number>
    GROVE_HD Number operator()(unit_numbers<Number> const& token) const {
        Number const log_ratio = token.log_ratio - math::stop_gradient(token.log_ratio) +
                                 math::stop_gradient(token.response_log_ratio);
        return math::exp(math::min(log_ratio, Number(limit)));
    }
    std::string formula() const { return "sg(exp(Σₜ (log π − log π_old) / |o|))·π / sg(π)"; }
};

/// The geometric mean of ratios clipped one by one, on the side where leaving would pay, in log
/// space (Zhao et al. 2025, GMPO, eq. 4): exp(Σₜ cₜ / |o|) with c = min(d, high) for A > 0 and
/// max(d, −low) otherwise, d = log π − log π_old.
struct geometric_clipped_ratio {
    static constexpr level unit = level::sequence;
    static constexpr bool clips = true;

    double low = 0.4;
    double high = 0.4;

    template <class Number>
    GROVE_HD Number of_token(Number log_ratio, Number advantage) const {
        return math::select(Number(0) < advantage, math::min(log_ratio, Number(high)),
                            math::max(log_ratio, Number(-low)));
    }
    template <class Number>
    GROVE_HD Number operator()(Number log_ratio, Number length) const {
        return math::exp(log_ratio / length);
    }
    std::string formula() const {
        return formula_text("exp(Σₜ clip(log π − log π_old, ", -low, ", ", high,
                            " where it would pay) / |o|)");
    }
};

}  // namespace grove::inline GROVE_ISA::rl
