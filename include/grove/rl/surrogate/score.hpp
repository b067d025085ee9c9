// SPDX-License-Identifier: Apache-2.0
/// @file
/// Surrogates whose gradient is a weight times A·∇log π, the weight itself without a gradient.
///
/// They read `unit_numbers` beside the ratio. For a response, log π is the mean over its tokens, so
/// that each token's gradient is weight·A under the aggregation's weight, as for a token.
#pragma once

#include <string>

#include "grove/core/math.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/unit_numbers.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A·log π (Williams 1992): no ratio, and so right only on what the policy itself just sampled.
struct reinforce {
    template <class Number>
    GROVE_HD Number operator()(Number /*ratio*/, unit_numbers<Number> const& unit) const {
        return unit.advantage * unit.log_probability / unit.length;
    }
    std::string formula() const { return "A·log π"; }
};

/// sg(min(r, cap))·A·log π (MiniMax 2025, CISPO, as in TRL and Liger): the weight is bounded, no
/// token loses its gradient. The cap is absolute, 5 in the paper's setting, and there is no floor.
struct capped_score {
    static constexpr bool clips = true;

    double cap = 5.0;  ///< > 0

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& unit) const {
        Number const weight = math::stop_gradient(math::min(ratio, Number(cap)));
        return weight * unit.advantage * unit.log_probability / unit.length;
    }
    std::string formula() const { return formula_text("sg(min(r, ", cap, "))·A·log π"); }
};

/// sg(clip(r, 1 − low, 1 + high))·A·log π (CISPO as in verl and NeMo-RL): the bounds are relative
/// to 1 and there is a floor. The same name, another function than `capped_score`.
struct clipped_score {
    static constexpr bool clips = true;

    double low = 0.2;
    double high = 0.2;

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& unit) const {
        Number const weight =
            math::stop_gradient(math::clamp(ratio, Number(1 - low), Number(1 + high)));
        return weight * unit.advantage * unit.log_probability / unit.length;
    }
    std::string formula() const {
        return formula_text("sg(clip(r, ", 1 - low, ", ", 1 + high, "))·A·log π");
    }
};

/// sg(φ(w))·A·log π with φ(w) = exp(λ + k·log w − λ·w) of the response's ratio w (Shen et
/// al. 2026, VESPO, eq. 20; powers and decays are the paper's, section 4.1, and TRL's): a smooth
/// weight, 1 at w = 1 and at most 1.25, that falls as wᵏ below and exponentially above. It takes
/// sequence_ratio. `log π_old` should be the sampler's, and then a correction for another sampler
/// is not to be set beside it.
struct variational_score {
    static constexpr level ratio_unit = level::sequence;
    static constexpr bool clips = true;

    double positive_power = 2.0;  ///< k where A ≥ 0
    double positive_decay = 3.0;  ///< λ where A ≥ 0
    double negative_power = 3.0;  ///< k where A < 0
    double negative_decay = 2.0;  ///< λ where A < 0

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& unit) const {
        auto const negative = unit.advantage < Number(0);
        Number const power = math::select(negative, Number(negative_power), Number(positive_power));
        Number const decay = math::select(negative, Number(negative_decay), Number(positive_decay));
        Number const weight = math::exp(decay + power * unit.log_ratio - decay * ratio);
        return math::stop_gradient(weight) * unit.advantage * unit.log_probability / unit.length;
    }
    std::string formula() const {
        return formula_text("sg(exp(λ + k·log r − λ·r))·A·log π, (k, λ) = (", positive_power, ", ",
                            positive_decay, ") if A ≥ 0 else (", negative_power, ", ",
                            negative_decay, ")");
    }
};

/// A·log π − (β / 2)·(log r)², by tokens as in Tinker and verl: a pull back to the sampling policy
/// in place of a clip. By responses it is Kimi k1.5's (2025), and with the reference in place of
/// the sampling policy and a learned value in A it is DRO (Richemond et al. 2024).
struct direct_quadratic {
    double beta =
        0.1;  ///< ≥ 0; Richemond et al.: 1 for a response, Tinker's and verl's examples: 0.05

    template <class Number>
    GROVE_HD Number operator()(Number /*ratio*/, unit_numbers<Number> const& unit) const {
        Number const pull = Number(0.5 * beta) * unit.log_ratio * unit.log_ratio;
        return (unit.advantage * unit.log_probability - pull) / unit.length;
    }
    std::string formula() const { return formula_text("A·log π − ", 0.5 * beta, "·(log r)²"); }
};

/// sg(min(r, cap))·A·log π where the probability of the token has not moved further than allowed
/// in the direction of A, else 0 (Qi et al. 2026, DPPO, total variation): rare tokens may change
/// their ratio freely, frequent ones may not. π − π_old ≤ high where A > 0, ≥ −low elsewhere.
/// π_old must be the policy that sampled, not one computed again (section 5.2).
struct total_variation_trust {
    static constexpr level ratio_unit = level::token;
    static constexpr bool clips = true;

    double low = 0.2;   ///< in probability; the paper: 0.15 and 0.2
    double high = 0.2;  ///< in probability
    double cap = 20.0;  ///< of the weight, as in TRL; the paper: none or 5; verl's configuration: 3

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& unit) const {
        Number const moved =
            math::exp(unit.log_probability) - math::exp(unit.log_probability - unit.log_ratio);
        Number const inside = math::select(
            Number(0) < unit.advantage, math::select(moved <= Number(high), Number(1), Number(0)),
            math::select(moved >= Number(-low), Number(1), Number(0)));
        Number const weight = math::stop_gradient(inside * math::min(ratio, Number(cap)));
        return weight * unit.advantage * unit.log_probability;
    }
    std::string formula() const {
        return formula_text("sg(min(r, ", cap, "))·A·log π·[π − π_old ≤ ", high,
                            " if A > 0 else π_old − π ≤ ", low, "]");
    }
};

/// `total_variation_trust` by the divergence between the two distributions of "this token or
/// another", KL(π_old ‖ π) in nats (DPPO, binary KL). A step towards π_old is always allowed.
struct binary_kl_trust {
    static constexpr level ratio_unit = level::token;
    static constexpr bool clips = true;

    double low = 0.05;   ///< nats, where A ≤ 0; the paper's (appendices C and E)
    double high = 0.05;  ///< nats, where A > 0
    double cap = 20.0;   ///< as in total_variation_trust

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& unit) const {
        Number const one(1), zero(0), tiny(1e-8);
        Number const now = math::exp(unit.log_probability);
        Number const old = math::exp(unit.log_probability - unit.log_ratio);
        Number const others =
            math::log((math::max(one - old, zero) + tiny) / (math::max(one - now, zero) + tiny));
        Number const divergence = (one - old) * others - old * unit.log_ratio;
        Number const rising =
            math::select(now <= old, one, math::select(divergence <= Number(high), one, zero));
        Number const falling =
            math::select(now >= old, one, math::select(divergence <= Number(low), one, zero));
        Number const inside = math::select(zero < unit.advantage, rising, falling);
        Number const weight = math::stop_gradient(inside * math::min(ratio, Number(cap)));
        return weight * unit.advantage * unit.log_probability;
    }
    std::string formula() const {
        return formula_text("sg(min(r, ", cap, "))·A·log π·[KL(π_old, π) ≤ ", high,
                            " if A > 0 else ", low, "]");
    }
};

}  // namespace grove::inline GROVE_ISA::rl
