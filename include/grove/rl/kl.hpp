// SPDX-License-Identifier: Apache-2.0
/// @file
/// Estimators of the divergence KL(π ‖ π_ref) from one sample: laws of the pair of its
/// log-probabilities (Schulman 2020, "Approximating KL divergence"). With d = log π_ref − log π.
///
/// In the loss, the gradient of the value is not the gradient of the divergence: that of k1 has
/// mean 0 and only adds noise, those of k2 and of `straight_through_k3` are right on policy, and
/// those of k3 and of everything off policy need `importance_corrected`. In the reward
/// (kl_reward.hpp) k1 is right.
#pragma once

#include <string>

#include "grove/core/math.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/unit_numbers.hpp"

namespace grove::inline GROVE_ISA::rl {

/// −d: unbiased, of either sign.
struct k1 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        return log_probability - reference;
    }
    std::string formula() const { return "log π − log π_ref"; }
};

/// d² / 2: biased, never negative.
struct k2 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const d = reference - log_probability;
        return Number(0.5) * d * d;
    }
    std::string formula() const { return "½·(log π_ref − log π)²"; }
};

/// eᵈ − d − 1: unbiased and never negative but for rounding (DeepSeek-R1, eq. 2). The subtraction
/// leaves an absolute error of about 10⁻⁷ in single precision, and no such error in the gradient.
struct k3 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const d = reference - log_probability;
        return math::exp(d) - d - Number(1);
    }
    std::string formula() const { return "exp(d) − d − 1, d = log π_ref − log π"; }
};

/// k3 with d and its value limited, beyond which there is no gradient: a token the reference finds
/// absurd cannot pull the policy (verl and NeMo-RL: 20 and 10; OpenRLHF: the value alone).
struct limited_k3 {
    static constexpr level unit = level::token;

    double difference = 20.0;  ///< bound on |d|; > 0
    double value = 10.0;       ///< bound on |k3|; > 0

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const d =
            math::clamp(reference - log_probability, Number(-difference), Number(difference));
        return math::clamp(math::exp(d) - d - Number(1), Number(-value), Number(value));
    }
    std::string formula() const {
        return formula_text("min(exp(d) − d − 1, ", value, "), d = clamp(log π_ref − log π, ±",
                            difference, ")");
    }
};

/// The value of k3 with the gradient of k2 (verl, "k3+"): what is reported is unbiased, and so is
/// the gradient on policy.
struct straight_through_k3 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const slope = k2{}(log_probability, reference);
        return math::stop_gradient(k3{}(log_probability, reference)) + slope -
               math::stop_gradient(slope);
    }
    std::string formula() const { return "value of k3, gradient of ½·(log π_ref − log π)²"; }
};

/// r·Law with the ratio r = π / π_old of the token: unbiased off policy, and with the term of the
/// score function in the gradient, that of KL(π ‖ π_ref) (TRL, `use_bias_correction_kl`).
template <class Law>
struct importance_corrected {
    static constexpr level unit = level::token;
    static_assert(Law::unit == level::token, "importance_corrected takes a divergence per token");

    Law law{};

    template <class Number>
    GROVE_HD Number operator()(unit_numbers<Number> const& token) const {
        return math::exp(token.log_ratio) *
               law(token.log_probability, token.reference_log_probability);
    }
    std::string formula() const {
        return formula_text("π/π_old·(", formula_of(law, "kl(π, π_ref)"), ")");
    }
};

/// Law·π / sg(π): the value of `Law` and, on policy, the gradient of KL(π ‖ π_ref) (NeMo-RL's
/// default), the sampling policy's share in it left out.
template <class Law>
struct score_corrected {
    static constexpr level unit = level::token;
    static_assert(Law::unit == level::token, "score_corrected takes a divergence per token");

    Law law{};

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const value = law(log_probability, reference);
        Number const score = log_probability - math::stop_gradient(log_probability);
        return value + math::stop_gradient(value) * score;
    }
    std::string formula() const {
        return formula_text("π/sg(π)·(", formula_of(law, "kl(π, π_ref)"), ")");
    }
};

/// KL(π ‖ π_ref) = Σᵥ π(v)·(log π(v) − log π_ref(v)) over all tokens v that could have stood here,
/// no estimate: without the noise of one sample, and with its exact gradient at this place of the
/// response. Left out is what the policy changes in the places it will come to. The policy must
/// give it (statistics_request::kl).
struct vocabulary_kl {
    static constexpr level unit = level::token;
    static constexpr bool whole_vocabulary = true;

    template <class Number>
    GROVE_HD Number operator()(unit_numbers<Number> const& token) const {
        return token.vocabulary_kl;
    }
    std::string formula() const { return "Σᵥ π(v)·(log π(v) − log π_ref(v)) over the vocabulary"; }
};

/// `Law` of the probabilities of whole responses: of log π(o|q) = Σₜ log π(oₜ|q,o₍<ₜ₎).
template <class Law>
struct sequence_kl {
    static constexpr level unit = level::sequence;
    static_assert(
        requires(Law const& law, double x) { law(x, x); },
        "sequence_kl takes a divergence of two log-probabilities, such as k3");

    Law law{};

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        return law(log_probability, reference);
    }
    std::string formula() const {
        return formula_text("of whole responses, ", formula_of(law, "kl(π, π_ref)"));
    }
};

/// No divergence term, and no reference model.
struct no_kl {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number /*log_probability*/, Number /*reference*/) const {
        return Number(0);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
