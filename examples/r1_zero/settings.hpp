// SPDX-License-Identifier: Apache-2.0
// What the run does, in numbers. Budgets are steps, never seconds.
#pragma once

#include <filesystem>

#include "grove/core/shape.hpp"
#include "grove/io/json.hpp"

namespace r1_zero {

using grove::index_t;

struct settings {
    std::uint64_t seed = 0;
    std::filesystem::path out = "runs/r1_zero";
    int threads = 0;  // all
    bool resume = false;

    index_t base_steps = 400;  // supervised, on unreliable text
    index_t base_batch = 128;  // demonstrations a step
    double base_rate = 3e-3;

    index_t rl_steps = 100;
    index_t prompts = 16;      // a step
    index_t group_size = 16;   // completions of each
    index_t mini_batches = 1;  // shares of a rollout, an update on each
    double rl_rate = 5e-4;
    double clip = 0.2;
    double format_weight = 0.2;  // beside accuracy's 1; nothing rewards length

    index_t held_out = 256;         // problems that training never sees
    index_t samples = 16;           // of each: pass@1 is their mean, cons@16 their majority
    index_t checkpoint_every = 20;  // updates

    // What makes two runs the same run: --resume refuses another value.
    grove::json identity() const {
        return {{"seed", seed},
                {"base_steps", base_steps},
                {"base_batch", base_batch},
                {"base_rate", base_rate},
                {"rl_steps", rl_steps},
                {"prompts", prompts},
                {"group_size", group_size},
                {"mini_batches", mini_batches},
                {"rl_rate", rl_rate},
                {"clip", clip},
                {"format_weight", format_weight}};
    }
};

}  // namespace r1_zero
