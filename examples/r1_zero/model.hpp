// SPDX-License-Identifier: Apache-2.0
// The policy: its extents, how it is trained and how it is sampled.
#pragma once

#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/grpo_trainer.hpp"
#include "settings.hpp"

namespace r1_zero::inline GROVE_ISA {

template <class B>
using model = grove::decoder<B, float>;

// A mixture-of-experts decoder of the DeepSeek-V3 kind.
inline grove::decoder_config make_config(extents const& e, index_t vocabulary) {
    return {.vocab_size = vocabulary,
            .hidden_size = e.hidden,
            .intermediate_size = e.dense_width,
            .num_hidden_layers = e.layers,
            .num_attention_heads = e.heads,
            .num_key_value_heads = e.key_value_heads,
            .head_dim = e.head_dim,
            .max_position_embeddings = e.positions,
            .initializer_range = e.initializer_range,
            .n_routed_experts = e.experts,
            .num_experts_per_tok = e.chosen_experts,
            .n_shared_experts = 1,
            .moe_intermediate_size = e.expert_width,
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

inline grove::generation_options generation(settings const& s,
                                            grove::symbol_tokenizer const& tokens,
                                            double temperature, double top_p) {
    grove::generation_options o;
    o.sampling.temperature = temperature;
    o.sampling.top_p = top_p;
    o.max_new_tokens = s.max_new_tokens;
    o.max_batch = s.max_batch;
    o.end_tokens = {tokens.end_id()};
    return o;
}

inline grove::grpo_options rl_options(settings const& s, grove::symbol_tokenizer const& tokens) {
    grove::grpo_options o;
    o.seed = s.seed;
    o.prompts_per_step = s.prompts;
    o.group_size = s.group_size;
    o.mini_batches = s.mini_batches;
    o.generation = generation(s, tokens, 1.0, 1.0);
    return o;
}

}  // namespace r1_zero::inline GROVE_ISA
