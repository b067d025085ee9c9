// SPDX-License-Identifier: Apache-2.0
// The policy: its extents, how it is trained and how it is sampled.
#pragma once

#include "grove/backend/eigen/eigen.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/task/addition.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/grpo_trainer.hpp"
#include "settings.hpp"

namespace r1_zero {

using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

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
    o.mini_batches = s.mini_batches;
    o.generation = generation(tokens, 1.0, 1.0);
    return o;
}

}  // namespace r1_zero
