// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a run of PPO for a decoder is told.
#pragma once

#include <cstdint>

#include "grove/rl/actor_critic.hpp"
#include "grove/rl/kl_reward.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/train/language_critic.hpp"
#include "grove/train/supervised.hpp"

namespace grove::inline GROVE_ISA {

/// Settings of PPO for a decoder.
struct ppo_options {
    std::uint64_t seed = 0;
    index_t prompts_per_step = 256;
    index_t group_size = 1;     ///< completions of each prompt; one will do
    index_t mini_batches = 4;   ///< shares of a rollout's responses, an update on each
    index_t epochs = 1;         ///< passes over a rollout, each in an order of its own
    index_t problem_count = 0;  ///< problems are visited again after so many; 0: endless
    critic_body critic = critic_body::separate;
    double critic_rate = 1.0;  ///< the critic's learning rate beside the policy's; > 0
    rl::value_loss value_loss{.clip = 0.5};
    bool whiten_advantages = true;  ///< over all tokens of a rollout
    /// The divergence (k1) from the model that training starts from, in the reward of every token.
    /// A coefficient of 0 leaves it, and the reference, out.
    rl::adaptive_kl kl{.coefficient = 0.0};
    bool adapt_kl = false;          ///< hold the mean divergence per token at kl.target
    double divergence_limit = 0.0;  ///< as in control_options
    generation_options generation;
    learning_options learning;

    /// Throws configuration_error for values out of range.
    void validate() const {
        generation.validate();
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "ppo_options", parts...);
        };
        need(prompts_per_step > 0 && group_size > 0,
             "expected prompts_per_step > 0 and group_size > 0, got ", prompts_per_step, " and ",
             group_size);
        need(mini_batches > 0 && mini_batches <= prompts_per_step * group_size,
             "expected mini_batches from 1 to the ", prompts_per_step * group_size,
             " responses of a rollout, got ", mini_batches);
        need(epochs > 0, "expected epochs > 0, got ", epochs);
        need(problem_count >= 0, "expected problem_count ≥ 0, got ", problem_count);
        need(kl.coefficient >= 0, "expected kl.coefficient ≥ 0, got ", kl.coefficient);
        need(kl.coefficient > 0 || !adapt_kl,
             "expected kl.coefficient > 0 to start from with adapt_kl, got ", kl.coefficient);
        need(critic_rate > 0, "expected critic_rate > 0, got ", critic_rate);
        need(divergence_limit >= 0, "expected divergence_limit ≥ 0, got ", divergence_limit);
    }
};

}  // namespace grove::inline GROVE_ISA
