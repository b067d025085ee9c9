// SPDX-License-Identifier: Apache-2.0
/// @file
/// The algorithms of NVIDIA NeMo-RL with its defaults (mid-2026): leave-one-out mean and deviation
/// + 1e-6, no bound on log-ratios, k3 limited to ±20 and ±10 with its score term, β = 0.01, mean
/// over tokens.
#pragma once

#include "grove/rl/preset.hpp"

namespace grove::inline GROVE_ISA::rl {

/// NeMo-RL's composition with any advantage, ratio, surrogate and aggregation.
template <class Advantage, class Ratio, class Surrogate, class Aggregation = token_mean>
using nemo_objective =
    objective<Advantage, Ratio, Surrogate, score_corrected<limited_k3>, Aggregation>;

/// "GRPO", which by default leaves each response out of its own baseline and deviation.
inline nemo_objective<leave_one_out_normalized, token_ratio, clipped> nemo_grpo() {
    return {.advantage = {.epsilon = 1e-6}, .kl_coefficient = 0.01};
}
/// `normalize_rewards=False`.
inline nemo_objective<leave_one_out, token_ratio, clipped> nemo_rloo() {
    return {.kl_coefficient = 0.01};
}
/// `sequence_level_importance_ratios=True`.
inline nemo_objective<leave_one_out_normalized, geometric_ratio, clipped> nemo_gspo() {
    return {.advantage = {.epsilon = 1e-6}, .kl_coefficient = 0.01};
}
/// The dual clip at 3, which NeMo-RL leaves off by default.
inline nemo_objective<leave_one_out_normalized, token_ratio, dual_clipped> nemo_dual_clip() {
    return {.advantage = {.epsilon = 1e-6}, .kl_coefficient = 0.01};
}
/// CISPO with bounds relative to 1.
inline nemo_objective<leave_one_out_normalized, token_ratio, clipped_score> nemo_cispo() {
    return {.advantage = {.epsilon = 1e-6}, .kl_coefficient = 0.01};
}

}  // namespace grove::inline GROVE_ISA::rl
