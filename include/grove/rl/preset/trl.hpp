// SPDX-License-Identifier: Apache-2.0
/// @file
/// The algorithms of Hugging Face TRL with its defaults (mid-2026): unbiased deviation + 1e-4, no
/// bound on log-ratios (`evaluate` throws where TRL would go on with NaN), k3 with β = 0.
#pragma once

#include "grove/rl/preset.hpp"

namespace grove::inline GROVE_ISA::rl {

/// GRPOTrainer's composition with any ratio, surrogate and aggregation.
template <class Ratio, class Surrogate, class Aggregation>
using trl_objective = objective<group_normalized, Ratio, Surrogate, k3, Aggregation>;

/// `loss_type="grpo"`.
inline trl_objective<token_ratio, clipped, sequence_mean> trl_grpo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// `loss_type="dapo"`, TRL's default: the tokens of the whole generation batch in the denominator.
inline trl_objective<token_ratio, clipped, token_mean> trl_dapo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// `loss_type="dr_grpo"` with `scale_rewards="none"`; without the latter TRL still divides by the
/// deviation. `longest` is `max_completion_length`.
inline objective<group_centred, token_ratio, clipped, k3, constant_length> trl_dr_grpo(
    double longest) {
    return {.aggregation = {longest}, .kl_coefficient = 0};
}
/// `importance_sampling_level="sequence"`; the paper's clips are 3e-4 and 4e-4, TRL's default 0.2.
inline trl_objective<geometric_ratio, clipped, sequence_mean> trl_gspo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// `loss_type="cispo"` with `epsilon_high=5`: here ε is the cap itself, not its distance from 1.
inline trl_objective<token_ratio, capped_score, token_mean> trl_cispo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// `loss_type="sapo"`.
inline trl_objective<token_ratio, soft_gate, sequence_mean> trl_sapo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// `loss_type="vespo"`.
inline trl_objective<sequence_ratio, variational_score, token_mean> trl_vespo() {
    return {.advantage = {.epsilon = 1e-4}, .ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `loss_type="luspo"`.
inline trl_objective<geometric_ratio, clipped, sequence_sum> trl_luspo() {
    return {.advantage = {.epsilon = 1e-4}, .kl_coefficient = 0};
}
/// RLOOTrainer: PPO's clip on the ratio of the whole response; its divergence is in the reward,
/// with β = 0.05.
inline objective<leave_one_out, sequence_ratio, clipped, no_kl, sequence_mean> trl_rloo() {
    return {};
}

}  // namespace grove::inline GROVE_ISA::rl
