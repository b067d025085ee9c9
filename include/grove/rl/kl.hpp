// SPDX-License-Identifier: Apache-2.0
/// @file
/// Estimators of the divergence KL(π ‖ π_ref) from one sample: laws of the pair of its
/// log-probabilities (Schulman 2020, "Approximating KL divergence"). With d = log π_ref − log π.
#pragma once

#include "grove/core/math.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// −d: unbiased, of either sign.
struct k1 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        return log_probability - reference;
    }
};

/// d² / 2: biased, never negative.
struct k2 {
    static constexpr level unit = level::token;

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        Number const d = reference - log_probability;
        return Number(0.5) * d * d;
    }
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
};

/// `Law` of the probabilities of whole responses: of log π(o|q) = Σₜ log π(oₜ|q,o₍<ₜ₎).
template <class Law>
struct sequence_kl {
    static constexpr level unit = level::sequence;

    Law law{};

    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number reference) const {
        return law(log_probability, reference);
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
