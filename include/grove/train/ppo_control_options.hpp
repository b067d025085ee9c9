// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a run of PPO in environments is told.
#pragma once

#include <cstdint>

#include "grove/optim/adamw.hpp"
#include "grove/rl/actor_critic.hpp"

namespace grove::inline GROVE_ISA {

/// Settings of PPO in environments.
struct control_options {
    std::uint64_t seed = 0;
    index_t environments = 8;  ///< stepped together
    index_t steps = 128;       ///< of each environment in a rollout
    index_t mini_batch = 256;  ///< decisions of an update; divides a rollout
    index_t epochs = 4;        ///< passes over a rollout, each in an order of its own
    rl::value_loss value_loss{};
    bool normalize_advantages = true;  ///< mean 0 and variance 1 within each mini-batch
    bool normalize_observations = false;
    bool normalize_rewards = false;  ///< see reward_scale
    /// Mean divergence from the policy that sampled, in nats, beyond which the rest of a rollout's
    /// updates is left out; 0: never.
    double divergence_limit = 0.0;
    adamw_options optimizer{.beta2 = 0.999, .max_gradient_norm = 0.5};

    /// Decisions of a rollout.
    index_t rows() const { return environments * steps; }
    index_t updates_per_step() const { return epochs * (rows() / mini_batch); }
    /// Throws configuration_error for values out of range and for shares that are not equal.
    void validate() const {
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "control_options", parts...);
        };
        need(environments > 0 && steps > 0, "expected environments > 0 and steps > 0, got ",
             environments, " and ", steps);
        need(mini_batch > 0 && rows() % mini_batch == 0, "expected mini_batch to divide ", rows(),
             " decisions of a rollout, got ", mini_batch);
        need(epochs > 0, "expected epochs > 0, got ", epochs);
        need(divergence_limit >= 0, "expected divergence_limit ≥ 0, got ", divergence_limit);
    }
};

}  // namespace grove::inline GROVE_ISA
