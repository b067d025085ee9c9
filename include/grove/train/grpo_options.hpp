// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a run of GRPO is told.
#pragma once

#include <cstdint>

#include "grove/rollout/generate.hpp"
#include "grove/train/supervised.hpp"

namespace grove::inline GROVE_ISA {

/// Settings of a GRPO run.
struct grpo_options {
    std::uint64_t seed = 0;
    index_t prompts_per_step = 16;
    index_t group_size = 16;        ///< completions of each prompt
    index_t mini_batches = 1;       ///< equal shares of a rollout's groups, an update on each
    index_t epochs = 1;             ///< passes over a rollout
    index_t reference_refresh = 0;  ///< steps after which the reference becomes the policy, or 0
    index_t problem_count = 0;      ///< problems are visited again after so many; 0: endless
    generation_options generation;
    learning_options learning;

    /// Updates on one rollout.
    index_t updates_per_step() const { return epochs * mini_batches; }
    /// Throws configuration_error for values out of range and for shares that are not equal.
    void validate() const {
        generation.validate();
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "grpo_options", parts...);
        };
        need(prompts_per_step > 0, "expected prompts_per_step > 0, got ", prompts_per_step);
        need(group_size > 0, "expected group_size > 0, got ", group_size);
        need(mini_batches > 0 && prompts_per_step % mini_batches == 0,
             "expected mini_batches to divide prompts_per_step, got ", mini_batches, " and ",
             prompts_per_step);
        need(epochs > 0, "expected epochs > 0, got ", epochs);
        need(reference_refresh >= 0 && problem_count >= 0,
             "expected reference_refresh ≥ 0 and problem_count ≥ 0, got ", reference_refresh,
             " and ", problem_count);
    }
};

}  // namespace grove::inline GROVE_ISA
