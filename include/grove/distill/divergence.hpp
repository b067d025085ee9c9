// SPDX-License-Identifier: Apache-2.0
/// @file
/// Divergences between what a student and a teacher expect of the next token: laws of one entry of
/// the vocabulary. With q the student's probability of a token and p the teacher's, a divergence is
/// Σ law(log q, log p) over the vocabulary. Your own is such a struct:
/// ```cpp
/// struct brier {  // ½ Σ (q − p)²
///     template <class Number>
///     GROVE_HD Number operator()(Number log_q, Number log_p) const {
///         Number const d = math::exp(log_q) - math::exp(log_p);
///         return Number(0.5) * d * d;
///     }
/// };
/// ```
/// Either argument may be −∞, a token that is impossible there: take the exponential before
/// anything is multiplied. Tokens that are impossible for both are left out.
#pragma once

#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::distill {

namespace detail {
/// p·x, which is 0 for p = 0 whatever x is.
template <class Number>
GROVE_HD Number weighed(Number p, Number x) {
    return math::select(p == Number(0), Number(0), p * x);
}
}  // namespace detail

/// KL(p ‖ q) = Σ p·(log p − log q): the student covers all that the teacher does (Hinton et al.
/// 2015, but for the teacher's entropy, a constant). Infinite where the student excludes what the
/// teacher does not.
struct forward_kl {
    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        return detail::weighed(math::exp(log_p), log_p - log_q);
    }
};

/// KL(q ‖ p) = Σ q·(log q − log p): the student avoids what the teacher does not do (Gu et al.
/// 2023, MiniLLM). Infinite where the teacher excludes what the student does not.
struct reverse_kl {
    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        return detail::weighed(math::exp(log_q), log_q - log_p);
    }
};

/// β·KL(p ‖ m) + (1 − β)·KL(q ‖ m) with m = β·p + (1 − β)·q (Agarwal et al. 2023, GKD):
/// never infinite, at most log 2. Its limits for β → 0 and β → 1 are 0; in their place stand, as in
/// TRL, those of D/β and D/(1 − β): forward_kl at 0 and reverse_kl at 1. Near its ends D is
/// therefore small: with β = 0.01 take 100 times the weight to stay near forward_kl.
struct generalized_jsd {
    double beta = 0.5;  ///< in [0, 1]

    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        if (beta <= 0) return forward_kl{}(log_q, log_p);
        if (beta >= 1) return reverse_kl{}(log_q, log_p);
        Number const of_p(beta), of_q(1 - beta), q = math::exp(log_q), p = math::exp(log_p);
        Number const log_m = math::log(of_p * p + of_q * q);
        return of_p * detail::weighed(p, log_p - log_m) + of_q * detail::weighed(q, log_q - log_m);
    }
};

/// KL(p ‖ α·p + (1 − α)·q): forward_kl that a student's zeros cannot make infinite (Ko et al. 2024,
/// DistiLLM). forward_kl for α = 0.
struct skew_kl {
    double alpha = 0.1;  ///< in [0, 1)

    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        if (alpha <= 0) return forward_kl{}(log_q, log_p);
        Number const q = math::exp(log_q), p = math::exp(log_p);
        return detail::weighed(p, log_p - math::log(Number(alpha) * p + Number(1 - alpha) * q));
    }
};

/// KL(q ‖ (1 − α)·p + α·q): reverse_kl that a teacher's zeros cannot make infinite (Ko et al. 2024,
/// DistiLLM). reverse_kl for α = 0.
struct skew_reverse_kl {
    double alpha = 0.1;  ///< in [0, 1)

    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        return skew_kl{alpha}(log_p, log_q);
    }
};

/// ½ Σ |p − q|, in [0, 1]: the share of tokens in which the two must differ, however they are
/// coupled (Wen et al. 2023). Where p = q its slope is taken as 0.
struct total_variation {
    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        Number const d = math::exp(log_q) - math::exp(log_p);
        return math::select(d == Number(0), Number(0), Number(0.5) * math::abs(d));
    }
};

}  // namespace grove::inline GROVE_ISA::distill
