// SPDX-License-Identifier: Apache-2.0
/// @file
/// Named algorithms: compositions with their published settings. A name that is a type has them as
/// its defaults (`grpo{}`), a name that is a function sets them (`dapo()`). What each peer means by
/// the same names is in preset/trl.hpp, verl.hpp, openrlhf.hpp and nemo.hpp.
#pragma once

#include "grove/rl/advantage.hpp"
#include "grove/rl/aggregation.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/ratio.hpp"
#include "grove/rl/surrogate.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Group-relative policy optimization (Shao et al. 2024, DeepSeekMath, eq. 3): a clipped ratio per
/// token, k3, the mean over each response's tokens. `grpo{}` clips at 0.2 and has β = 0.001.
using grpo = objective<group_normalized, token_ratio, clipped, k3, sequence_mean>;

/// GRPO with the probabilities of whole responses, as DeepSeek-R1 prints it (eq. 1 and 2).
using sequence_grpo =
    objective<group_normalized, sequence_ratio, clipped, sequence_kl<k3>, sequence_mean>;

/// Dr. GRPO (Liu et al. 2025): GRPO without its two biases, the group's deviation and 1/|o|. Set
/// `aggregation.length` to the longest length allowed.
using dr_grpo = objective<group_centred, token_ratio, clipped, no_kl, constant_length>;

/// The type of `dapo()`.
using dapo_objective = objective<group_normalized, token_ratio, clipped, no_kl, token_mean>;
/// DAPO (Yu et al. 2025): clip-higher (0.2, 0.28), the mean over all tokens, no divergence. Its
/// penalty is soft_overlong_penalty; dynamic sampling is the trainer's.
inline dapo_objective dapo() { return {.surrogate = {.low = 0.2, .high = 0.28}}; }

/// The type of `gspo()`.
using gspo_objective = objective<group_normalized, geometric_ratio, clipped, no_kl, sequence_mean>;
/// GSPO (Zheng et al. 2025): one ratio per response, clipped at 3e-4 and 4e-4.
inline gspo_objective gspo() { return {.surrogate = {.low = 3e-4, .high = 4e-4}}; }

/// The type of `luspo()`.
using luspo_objective = objective<group_normalized, geometric_ratio, clipped, no_kl, sequence_sum>;
/// LUSPO (arXiv 2602.05261, "Length-unbiased sequence policy optimization"): GSPO with each
/// response weighed by its length, so that the same advantage pulls a long response's tokens as
/// hard as a short one's; clipped at 2e-3 and 2.5e-3, as in the paper's section 5.1.
inline luspo_objective luspo() { return {.surrogate = {.low = 2e-3, .high = 2.5e-3}}; }

/// GMPO (Zhao et al. 2025): the geometric mean of ratios clipped at ±0.4 in log space.
using gmpo = objective<group_normalized, geometric_clipped_ratio, unclipped, no_kl, sequence_mean>;
/// CISPO (MiniMax 2025): a bounded weight on every token's ∇log π.
using cispo = objective<group_normalized, token_ratio, capped_score, no_kl, token_mean>;
/// SAPO (Gao et al. 2025): a soft gate in place of the clip.
using sapo = objective<group_normalized, token_ratio, soft_gate, no_kl, sequence_mean>;
/// VESPO (Shen et al. 2026): a smooth weight of the response's ratio.
using vespo = objective<group_normalized, sequence_ratio, variational_score, no_kl, token_mean>;
/// REINFORCE with the leave-one-out baseline (Ahmadian et al. 2024).
using rloo = objective<leave_one_out, sequence_ratio, reinforce, no_kl, sequence_sum>;
/// GPG (Chu et al. 2025): REINFORCE with the group's mean as its baseline.
using gpg = objective<nonzero_scaled, token_ratio, reinforce, no_kl, token_mean>;
/// OPO (Hao et al. 2025): REINFORCE with the baseline of least variance, strictly on policy.
using opo = objective<length_weighted_baseline, token_ratio, reinforce, no_kl, token_mean>;
/// ReMax (Li et al. 2023): REINFORCE with the greedy response as its baseline.
using remax = objective<greedy_baseline, token_ratio, reinforce, no_kl, token_mean>;
/// REINFORCE++ (Hu 2025): PPO's clip without a critic, whitened over the batch; the divergence goes
/// into the rewards (kl_reward.hpp).
using reinforce_plus_plus = objective<whitened_returns, token_ratio, clipped, no_kl, token_mean>;
/// REINFORCE++-baseline (Hu et al. 2025): the group's mean, then the batch's scale.
using reinforce_plus_plus_baseline =
    objective<group_centred_whitened, token_ratio, clipped, no_kl, token_mean>;
/// The policy's part of PPO (Schulman et al. 2017); the critic and the divergence in the reward are
/// the trainer's.
using ppo = objective<gae, token_ratio, clipped, no_kl, token_mean>;
/// Pass@k training: only the best of a group learns.
using pass_at_k_grpo = objective<best_of_group, token_ratio, clipped, no_kl, token_mean>;
/// Several rewards, each normalized by itself (Liu et al. 2026, GDPO).
using gdpo = objective<decoupled_rewards<>, token_ratio, clipped, no_kl, token_mean>;
/// Clip-cov (Cui et al. 2025); the batch names the tokens (covariance.hpp).
using clip_cov = objective<group_normalized, token_ratio, covariance_clipped, no_kl, token_mean>;
/// Kl-cov (Cui et al. 2025); the batch names the tokens (covariance.hpp).
using kl_cov = objective<group_normalized, token_ratio, covariance_penalized, no_kl, token_mean>;
/// DPPO (Qi et al. 2026) with a trust region in probability; without the deviation (appendix C).
using dppo_tv = objective<group_centred, token_ratio, total_variation_trust, no_kl, token_mean>;
/// DPPO with a trust region in binary divergence.
using dppo_kl = objective<group_centred, token_ratio, binary_kl_trust, no_kl, token_mean>;
/// On-policy distillation by policy gradients (Gu et al. 2023, MiniLLM, as in TRL): the teacher's
/// log-ratio as each token's advantage. `{.advantage = {.discount = …}}` looks further ahead.
using policy_distillation = objective<teacher_log_ratio, token_ratio, clipped, no_kl, token_mean>;
/// DRO as in Tinker and verl (after Richemond et al. 2024; the group's mean as in Kimi k1.5): a
/// quadratic pull towards the sampling policy.
using dro = objective<group_centred, token_ratio, direct_quadratic, no_kl, token_mean>;

/// What the DeepSeek-R1 papers report: β for all stages, ε for the first RL stage of R1. An ε of 10
/// bounds the ratio at 11 from above and not at all from below; PPO's customary ε is 0.2.
struct r1_settings {
    double clip = 10.0;             ///< ε ≥ 0
    double kl_coefficient = 0.001;  ///< β ≥ 0
};

/// GRPO as DeepSeek-R1 runs it (arXiv 2501.12948 and its Nature version, methods), in the token
/// form of DeepSeekMath, which is what is commonly implemented; std unbiased, without epsilon.
/// Throws configuration_error for a negative clip.
/// ```cpp
/// auto objective = rl::r1_paper({.clip = 0.2});
/// ```
inline grpo r1_paper(r1_settings settings = {}) {
    require<configuration_error>(settings.clip >= 0, "r1_paper", "expected clip ≥ 0, got ",
                                 settings.clip);
    return {.surrogate = {settings.clip, settings.clip}, .kl_coefficient = settings.kl_coefficient};
}

/// Equation 1 of DeepSeek-R1 to the letter: one ratio π(o|q)/π_old(o|q) and one k3 per response,
/// the mean over responses, no 1/|o|. For study and for short responses: the ratio of a long one
/// leaves the range of the number type after a few updates, which `evaluate` reports.
/// Throws configuration_error for a negative clip.
inline sequence_grpo r1_equation_1(r1_settings settings = {}) {
    require<configuration_error>(settings.clip >= 0, "r1_equation_1", "expected clip ≥ 0, got ",
                                 settings.clip);
    return {.surrogate = {settings.clip, settings.clip}, .kl_coefficient = settings.kl_coefficient};
}

}  // namespace grove::inline GROVE_ISA::rl
