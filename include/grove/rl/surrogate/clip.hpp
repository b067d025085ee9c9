// SPDX-License-Identifier: Apache-2.0
/// @file
/// Surrogates that bound the ratio: PPO's clip and its kin.
#pragma once

#include <string>

#include "grove/core/math.hpp"
#include "grove/rl/formula.hpp"

namespace grove::inline GROVE_ISA::rl {

/// r·A: the importance-weighted policy gradient.
struct unclipped {
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return ratio * advantage;
    }
    std::string formula() const { return "r·A"; }
};

/// min(r·A, clip(r, 1 − low, 1 + high)·A): no reward for leaving the interval (Schulman et al.
/// 2017, eq. 7). Unequal bounds are DAPO's "clip-higher".
struct clipped {
    static constexpr bool clips = true;

    double low = 0.2;
    double high = 0.2;

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const limited = math::clamp(ratio, Number(1 - low), Number(1 + high));
        return math::min(ratio * advantage, limited * advantage);
    }
    std::string formula() const {
        return formula_text("min(r·A, clip(r, ", 1 - low, ", ", 1 + high, ")·A)");
    }
};

/// `clipped`, and never below cap·A where A < 0 (Ye et al. 2020, dual-clip PPO): a response that
/// was bad and became likely cannot outweigh the batch. verl always does this, with 3.
struct dual_clipped {
    static constexpr bool clips = true;

    double low = 0.2;
    double high = 0.2;
    double cap = 3.0;  ///< > 1

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const pessimistic = clipped{low, high}(ratio, advantage);
        return math::select(advantage < Number(0), math::max(pessimistic, Number(cap) * advantage),
                            pessimistic);
    }
    std::string formula() const {
        return formula_text(clipped{low, high}.formula(), ", ≥ ", cap, "·A where A < 0");
    }
};

/// min(min(r, cap)·A, clip(r, 1 − low, 1 + high)·A): for A < 0 the ratio is bounded from above as
/// well (TRL, `delta`; Intellect-2). Unlike `dual_clipped` it takes any sign of the advantage, and
/// the two agree for cap ≥ 1 + high.
struct two_sided_clipped {
    static constexpr bool clips = true;

    double low = 0.2;
    double high = 0.2;
    double cap = 4.0;  ///< δ > 1 + high

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const limited = math::clamp(ratio, Number(1 - low), Number(1 + high));
        return math::min(math::min(ratio, Number(cap)) * advantage, limited * advantage);
    }
    std::string formula() const {
        return formula_text("min(min(r, ", cap, ")·A, clip(r, ", 1 - low, ", ", 1 + high, ")·A)");
    }
};

/// (4 / τ)·σ(τ·(r − 1))·A with τ by the sign of A (Gao et al. 2025, SAPO): a clip without corners,
/// whose slope at r = 1 is A and dies away on both sides.
struct soft_gate {
    static constexpr bool clips = true;

    double positive_temperature = 1.0;   ///< τ where A > 0; > 0
    double negative_temperature = 1.05;  ///< τ elsewhere; > 0

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const temperature = math::select(Number(0) < advantage, Number(positive_temperature),
                                                Number(negative_temperature));
        return Number(4) / temperature * math::sigmoid(temperature * (ratio - Number(1))) *
               advantage;
    }
    std::string formula() const {
        return formula_text("4/τ·σ(τ·(r − 1))·A, τ = ", positive_temperature, " if A > 0 else ",
                            negative_temperature);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
