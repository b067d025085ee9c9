// SPDX-License-Identifier: Apache-2.0
/// @file
/// The algorithms of OpenRLHF with its defaults (mid-2026): unbiased deviation + 1e-9, log-ratios
/// bounded at ±20, k1 in the reward with β = 0.01 (kl_reward.hpp), mean over tokens.
#pragma once

#include "grove/rl/preset.hpp"

namespace grove::inline GROVE_ISA::rl {

/// OpenRLHF's composition with any advantage and ratio.
template <class Advantage, class Ratio = token_ratio>
using openrlhf_objective = objective<Advantage, Ratio, clipped, no_kl, token_mean>;

/// `--advantage_estimator group_norm`.
inline openrlhf_objective<group_normalized> openrlhf_group_norm() {
    return {.advantage = {.epsilon = 1e-9}, .ratio = {.limit = 20}};
}
/// `--advantage_estimator dr_grpo`: the advantage of Dr. GRPO without its constant normaliser.
inline openrlhf_objective<group_centred> openrlhf_dr_grpo() { return {.ratio = {.limit = 20}}; }
/// `--advantage_estimator rloo`.
inline openrlhf_objective<leave_one_out> openrlhf_rloo() { return {.ratio = {.limit = 20}}; }
/// `--advantage_estimator reinforce`: the biased variance.
inline openrlhf_objective<whitened_returns> openrlhf_reinforce() {
    return {.advantage = {.batch = {.unbiased = false}}, .ratio = {.limit = 20}};
}
/// `--advantage_estimator reinforce_baseline`: the biased variance.
inline openrlhf_objective<group_centred_whitened> openrlhf_reinforce_baseline() {
    return {.advantage = {.batch = {.unbiased = false}}, .ratio = {.limit = 20}};
}
/// `--advantage_estimator gae`.
inline openrlhf_objective<gae> openrlhf_ppo() { return {.ratio = {.limit = 20}}; }
/// `--policy_loss_type gspo`.
inline openrlhf_objective<group_normalized, geometric_ratio> openrlhf_gspo() {
    return {.advantage = {.epsilon = 1e-9}};
}

}  // namespace grove::inline GROVE_ISA::rl
