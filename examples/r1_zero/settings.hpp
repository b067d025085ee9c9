// SPDX-License-Identifier: Apache-2.0
// What the run does, in numbers. Budgets are steps, never seconds.
#pragma once

#include <filesystem>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/json.hpp"
#include "grove/nn/decoder_config.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/task/addition.hpp"
#include "grove/task/base_data.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/grpo_trainer.hpp"

namespace r1_zero {

using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;
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
    index_t prompts = 16;     // a step
    index_t group_size = 16;  // completions of each
    double rl_rate = 5e-4;
    double clip = 0.2;
    double format_weight = 0.2;  // beside accuracy's 1; nothing rewards length

    index_t held_out = 256;  // problems that training never sees
    index_t samples = 16;    // of each: pass@1 is their mean, cons@16 their majority
    index_t checkpoint_every = 20;

    // What makes two runs the same run: --resume refuses another value.
    grove::json identity() const {
        return {{"seed", seed},
                {"base_steps", base_steps},
                {"base_batch", base_batch},
                {"base_rate", base_rate},
                {"rl_steps", rl_steps},
                {"prompts", prompts},
                {"group_size", group_size},
                {"rl_rate", rl_rate},
                {"clip", clip},
                {"format_weight", format_weight}};
    }
};

// A mixture-of-experts decoder of the DeepSeek-V3 kind, half a million weights small.
inline grove::decoder_config make_config(index_t vocabulary) {
    return {.vocab_size = vocabulary,
            .hidden_size = 96,
            .intermediate_size = 256,
            .num_hidden_layers = 3,
            .num_attention_heads = 6,
            .num_key_value_heads = 3,
            .head_dim = 16,
            .max_position_embeddings = 64,
            .initializer_range = 0.08,
            .n_routed_experts = 8,
            .num_experts_per_tok = 2,
            .n_shared_experts = 1,
            .moe_intermediate_size = 64,
            .first_k_dense_replace = 1};
}

// The base model balances its experts as DeepSeek-V3 does; RL leaves the routers' biases alone.
inline grove::learning_options base_learning() {
    grove::learning_options o;
    o.optimizer.weight_decay = 0.01;
    o.balance = 1e-3;
    o.expert_bias_rate = 1e-3;
    return o;
}

inline grove::generation_options generation(grove::symbol_tokenizer const& tokens,
                                            double temperature, double top_p) {
    grove::generation_options o;
    o.sampling.temperature = temperature;
    o.sampling.top_p = top_p;
    o.max_new_tokens = 48;
    o.end_tokens = {tokens.end_id()};
    return o;
}

inline grove::grpo_options rl_options(settings const& s, grove::symbol_tokenizer const& tokens) {
    grove::grpo_options o;
    o.seed = s.seed;
    o.prompts_per_step = s.prompts;
    o.group_size = s.group_size;
    o.generation = generation(tokens, 1.0, 1.0);
    return o;
}

}  // namespace r1_zero
