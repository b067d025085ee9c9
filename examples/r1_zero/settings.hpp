// SPDX-License-Identifier: Apache-2.0
// What the run does, in numbers. Budgets are steps, never seconds. Plain types alone, so that units
// compiled for different instruction sets may share them.
#pragma once

#include <filesystem>
#include <string>

#include "grove/core/shape.hpp"
#include "grove/io/json.hpp"

namespace r1_zero {

using grove::index_t;

// Extents of the policy, a mixture-of-experts decoder of the DeepSeek-V3 kind.
struct extents {
    index_t hidden = 96, layers = 3;
    index_t heads = 6, key_value_heads = 3, head_dim = 16;
    index_t dense_width = 256;  // of the first layer
    index_t experts = 8, chosen_experts = 2, expert_width = 64;
    index_t positions = 64;
    double initializer_range = 0.08;

    grove::json identity() const {
        return {hidden,           layers,  heads,          key_value_heads, head_dim,
                dense_width,      experts, chosen_experts, expert_width,    positions,
                initializer_range};
    }
};

struct settings {
    std::string setting = "miniature";
    std::string backend = "cpu";
    std::string precision = "float32";  // of products on cuda
    std::uint64_t seed = 0;
    std::filesystem::path out = "runs/r1_zero";
    int threads = 0;  // of the CPU; all
    bool resume = false;

    int digits = 3;          // of each term of a sum
    double countdown = 0.0;  // share of problems that are countdowns; the others are sums
    extents model{};
    index_t max_new_tokens = 48;

    index_t base_steps = 400;  // supervised, on unreliable text
    index_t base_batch = 128;  // demonstrations a step
    double base_rate = 3e-3;

    index_t rl_steps = 100;
    index_t prompts = 16;      // a step
    index_t group_size = 16;   // completions of each
    index_t mini_batches = 1;  // shares of a rollout, an update on each
    index_t max_batch = 256;   // completions sampled at a time
    double rl_rate = 5e-4;
    double clip = 0.2;
    double format_weight = 0.2;  // beside accuracy's 1; nothing rewards length

    index_t held_out = 256;         // problems that training never sees
    index_t samples = 16;           // of each: pass@1 is their mean, cons@16 their majority
    index_t checkpoint_every = 20;  // updates

    // What makes two runs the same run: --resume refuses another value.
    grove::json identity() const {
        return {{"backend", precision == "float32" ? backend : backend + " " + precision},
                {"seed", seed},
                {"digits", digits},
                {"countdown", countdown},
                {"model", model.identity()},
                {"max_new_tokens", max_new_tokens},
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

// The settings of this name: `miniature` takes a minute and a half on two cores, `large` some
// minutes on a GPU.
inline settings named_settings(std::string const& name) {
    settings s;
    s.setting = name;
    if (name != "large") return s;
    s.digits = 6;
    s.countdown = 0.5;
    s.model = {.hidden = 384,
               .layers = 6,
               .heads = 6,
               .key_value_heads = 3,
               .head_dim = 64,
               .dense_width = 1024,
               .experts = 16,
               .chosen_experts = 2,
               .expert_width = 256,
               .positions = 160,
               .initializer_range = 0.04};
    s.max_new_tokens = 128;
    s.base_steps = 2000;
    s.base_batch = 256;
    s.base_rate = 1e-3;
    s.rl_steps = 250;
    s.prompts = 32;
    s.group_size = 16;
    s.max_batch = 1024;
    s.rl_rate = 1.5e-4;
    s.held_out = 512;
    s.samples = 8;
    s.checkpoint_every = 500;
    return s;
}

}  // namespace r1_zero
