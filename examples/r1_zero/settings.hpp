// SPDX-License-Identifier: Apache-2.0
// What the run does, in numbers. Budgets are steps, never seconds.
#pragma once

#include <filesystem>

#include "grove/eval/report.hpp"
#include "grove/grove.hpp"
#include "grove/nn/decoder_config.hpp"
#include "grove/task/addition.hpp"
#include "grove/task/base_data.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/grpo_trainer.hpp"

namespace r1_zero {

struct settings {
    std::uint64_t seed = 0;
    std::filesystem::path out = "runs/r1_zero";
    int threads = 0;
    bool resume = false;

    grove::index_t base_steps = 400;
    grove::index_t base_batch = 128;
    double base_rate = 3e-3;

    grove::index_t rl_steps = 120;
    double rl_rate = 5e-4;
    double clip = 0.2;
    double kl_coefficient = 0.0;
    double format_weight = 0.2;

    grove::index_t held_out = 256;
    grove::index_t samples = 16;
    grove::index_t checkpoint_every = 20;
};

inline grove::symbol_tokenizer make_tokenizer() {
    return grove::symbol_tokenizer(grove::addition::alphabet);
}

/// A mixture-of-experts decoder of the DeepSeek-V3 kind, half a million weights small.
inline grove::decoder_config make_config(grove::index_t vocabulary) {
    grove::decoder_config c;
    c.vocab_size = vocabulary;
    c.hidden_size = 96;
    c.intermediate_size = 256;
    c.num_hidden_layers = 3;
    c.num_attention_heads = 6;
    c.num_key_value_heads = 3;
    c.head_dim = 16;
    c.max_position_embeddings = 64;
    c.initializer_range = 0.08;
    c.n_routed_experts = 8;
    c.num_experts_per_tok = 2;
    c.n_shared_experts = 1;
    c.moe_intermediate_size = 64;
    c.first_k_dense_replace = 1;
    return c;
}

inline grove::learning_options make_learning() {
    grove::learning_options o;
    o.optimizer.weight_decay = 0.01;
    o.balance = 1e-3;
    o.expert_bias_rate = 1e-3;
    return o;
}

inline grove::generation_options make_generation(grove::symbol_tokenizer const& tokens,
                                                 double temperature, double top_p) {
    grove::generation_options o;
    o.sampling.temperature = temperature;
    o.sampling.top_p = top_p;
    o.max_new_tokens = 48;
    o.end_tokens = {tokens.end_id()};
    return o;
}

}  // namespace r1_zero
