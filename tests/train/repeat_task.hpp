// SPDX-License-Identifier: Apache-2.0
// A decoder and a task small enough to learn within a test: repeat the digit of the prompt.
#pragma once

#include <string>

#include "grove/nn/decoder_config.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/sample_rollout.hpp"

namespace grove_test {

inline grove::decoder_config small_config(grove::index_t vocabulary) {
    return {.vocab_size = vocabulary,
            .hidden_size = 16,
            .intermediate_size = 24,
            .num_hidden_layers = 2,
            .num_attention_heads = 2,
            .num_key_value_heads = 1,
            .max_position_embeddings = 24,
            .initializer_range = 0.2,
            .n_routed_experts = 4,
            .num_experts_per_tok = 2,
            .moe_intermediate_size = 8};
}
inline grove::symbol_tokenizer const& tokens() {
    static grove::symbol_tokenizer const t("0123456789");
    return t;
}
inline grove::rollout_problem problem(grove::index_t i) {
    return {"<begin>" + std::to_string(i % 10), std::to_string(i % 10)};
}

}  // namespace grove_test
