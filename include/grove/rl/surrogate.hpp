// SPDX-License-Identifier: Apache-2.0
/// @file
/// Surrogates: what is maximised in place of the expected reward, as laws of (ratio, advantage).
///
/// Your own surrogate is such a struct, written branch-free with grove::math; its gradient, its
/// SIMD form and its CUDA form follow from it:
/// ```cpp
/// struct soft_gate {  // a smooth clip
///     double temperature = 1.0;
///     template <class Number>
///     GROVE_HD Number operator()(Number ratio, Number advantage) const {
///         Number const gate = math::sigmoid(Number(temperature) * (ratio - Number(1)));
///         return Number(4.0 / temperature) * gate * advantage;
///     }
/// };
/// ```
#pragma once

#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::rl {

/// r·A: the importance-weighted policy gradient.
struct unclipped {
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return ratio * advantage;
    }
};

/// min(r·A, clip(r, 1 − low, 1 + high)·A): no reward for leaving the interval (Schulman et al.
/// 2017, eq. 7). Unequal bounds are DAPO's "clip-higher".
struct clipped {
    double low = 0.2;
    double high = 0.2;

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const limited = math::clamp(ratio, Number(1 - low), Number(1 + high));
        return math::min(ratio * advantage, limited * advantage);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
