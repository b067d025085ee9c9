// SPDX-License-Identifier: Apache-2.0
/// @file
/// The algorithms of verl with its defaults (mid-2026): unbiased deviation + 1e-6, log-ratios
/// bounded at ±20, the dual clip always on at 3, k3 limited to ±20 and ±10 and off, mean over
/// tokens.
#pragma once

#include "grove/rl/preset.hpp"

namespace grove::inline GROVE_ISA::rl {

/// verl's composition with any advantage, ratio, surrogate and aggregation.
template <class Advantage, class Ratio, class Surrogate, class Aggregation = token_mean>
using verl_objective = objective<Advantage, Ratio, Surrogate, limited_k3, Aggregation>;

/// `adv_estimator="grpo"`. A group of one gets 0 here; verl hands its reward on as it is.
inline verl_objective<group_normalized, token_ratio, dual_clipped> verl_grpo() {
    return {.advantage = {.epsilon = 1e-6}, .ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `norm_adv_by_std_in_grpo=False`, `loss_agg_mode="seq-mean-token-sum-norm"`; `length` is
/// `loss_scale_factor`, which defaults to the padded width of the batch.
inline verl_objective<group_centred, token_ratio, dual_clipped, constant_length> verl_dr_grpo(
    double length) {
    return {.ratio = {.limit = 20}, .aggregation = {length}, .kl_coefficient = 0};
}
/// `loss_mode="gspo"`: the token form, its logarithm bounded at 10.
inline verl_objective<group_normalized, geometric_token_ratio, clipped, sequence_mean> verl_gspo() {
    return {.advantage = {.epsilon = 1e-6}, .ratio = {.limit = 10}, .kl_coefficient = 0};
}
/// `loss_mode="cispo"`: bounds relative to 1, with a floor.
inline verl_objective<group_normalized, token_ratio, clipped_score> verl_cispo() {
    return {.advantage = {.epsilon = 1e-6}, .ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `loss_mode="sapo"`.
inline verl_objective<group_normalized, token_ratio, soft_gate, sequence_mean> verl_sapo() {
    return {.advantage = {.epsilon = 1e-6}, .ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `loss_mode="geo_mean"`: GMPO with the clip ratio 0.2 in log space.
inline verl_objective<group_normalized, geometric_clipped_ratio, unclipped, sequence_mean>
verl_gmpo() {
    return {
        .advantage = {.epsilon = 1e-6}, .ratio = {.low = 0.2, .high = 0.2}, .kl_coefficient = 0};
}
/// `loss_mode="dppo_tv"` with the configuration's cap of 3.
inline verl_objective<group_normalized, token_ratio, total_variation_trust> verl_dppo_tv() {
    return {.advantage = {.epsilon = 1e-6},
            .ratio = {.limit = 20},
            .surrogate = {.cap = 3},
            .kl_coefficient = 0};
}
/// `loss_mode="dppo_kl"` with the configuration's cap of 3, and its clip ratio as the bound.
inline verl_objective<group_normalized, token_ratio, binary_kl_trust> verl_dppo_kl() {
    return {.advantage = {.epsilon = 1e-6},
            .ratio = {.limit = 20},
            .surrogate = {.low = 0.2, .high = 0.2, .cap = 3},
            .kl_coefficient = 0};
}
/// `loss_mode="clip_cov"`.
inline verl_objective<group_normalized, token_ratio, covariance_clipped> verl_clip_cov() {
    return {.advantage = {.epsilon = 1e-6}, .kl_coefficient = 0};
}
/// `loss_mode="kl_cov"` with the configuration's coefficient of 0.1; the function's own is 1.
inline verl_objective<group_normalized, token_ratio, covariance_penalized> verl_kl_cov() {
    return {.advantage = {.epsilon = 1e-6}, .surrogate = {.coefficient = 0.1}, .kl_coefficient = 0};
}
/// `adv_estimator="reinforce_plus_plus"`.
inline verl_objective<whitened_returns, token_ratio, dual_clipped> verl_reinforce_plus_plus() {
    return {.ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `adv_estimator="rloo"`.
inline verl_objective<leave_one_out, token_ratio, dual_clipped> verl_rloo() {
    return {.ratio = {.limit = 20}, .kl_coefficient = 0};
}
/// `adv_estimator="gae"`; verl whitens the advantages afterwards (`whitening{}`).
inline verl_objective<gae, token_ratio, dual_clipped> verl_ppo() {
    return {.ratio = {.limit = 20}, .kl_coefficient = 0};
}

}  // namespace grove::inline GROVE_ISA::rl
