// SPDX-License-Identifier: Apache-2.0
/// @file
/// Surrogates: what is maximised in place of the expected reward, as laws of (ratio, advantage).
///
/// Your own surrogate is such a struct, written branch-free with grove::math; its gradient, its
/// SIMD form and its CUDA form follow from it:
/// ```cpp
/// struct soft_limit {  // a smooth bound from above
///     double temperature = 1.0;
///     template <class Number>
///     GROVE_HD Number operator()(Number ratio, Number advantage) const {
///         return math::tanh(ratio / Number(temperature)) * advantage;
///     }
/// };
/// ```
/// One that reads more than the advantage takes `unit_numbers<Number> const&` in its place. A
/// member `static constexpr level ratio_unit` says which ratio it is made for, `static constexpr
/// bool clips = true` that it bounds the ratio's pull, `std::string formula() const` what
/// `describe` prints.
#pragma once

#include "grove/rl/surrogate/clip.hpp"
#include "grove/rl/surrogate/covariance.hpp"
#include "grove/rl/surrogate/score.hpp"
