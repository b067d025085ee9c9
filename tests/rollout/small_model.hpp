// SPDX-License-Identifier: Apache-2.0
// A model with something to say, and requests of many lengths.
#pragma once

#include <vector>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/rollout/generate.hpp"

namespace grove_test {

using namespace grove;
using model_type = decoder<eigen_backend, float>;

/// Extents that are no multiples of a vector register; initial weights large enough that the
/// distributions differ from token to token.
inline decoder_config dense_config() {
    return {.vocab_size = 53, .hidden_size = 40, .intermediate_size = 70, .num_hidden_layers = 2,
            .num_attention_heads = 4, .num_key_value_heads = 2, .max_position_embeddings = 180,
            .initializer_range = 0.25};
}
inline decoder_config moe_config() {
    auto config = dense_config();
    config.n_routed_experts = 8;
    config.num_experts_per_tok = 3;
    config.moe_intermediate_size = 22;
    config.n_group = 4;
    config.topk_group = 2;
    config.routed_scaling_factor = 2.5;
    return config;
}

/// DeepSeek's: latent attention with compressed queries, interleaved pairs, experts in groups.
inline decoder_config latent_config() {
    auto config = moe_config();
    config.rope_interleave = true;
    config.kv_lora_rank = 20;
    config.q_lora_rank = 18;
    config.qk_nope_head_dim = 10;
    config.qk_rope_head_dim = 6;
    config.v_head_dim = 9;
    config.rope_scaling = {.type = rope_type::yarn,
                           .factor = 4,
                           .original_max_position_embeddings = 45,
                           .mscale = 1.0,
                           .mscale_all_dim = 1.0};
    return config;
}
/// Qwen's: biases, norms of queries and keys, experts scored by softmax, llama3's frequencies.
inline decoder_config softmax_config() {
    auto config = moe_config();
    config.n_group = config.topk_group = 1;
    config.n_shared_experts = 0;
    config.first_k_dense_replace = 0;
    config.scoring_func = scoring_function::softmax;
    config.use_qk_norm = config.attention_bias = config.attention_output_bias = true;
    config.rope_scaling = {
        .type = rope_type::llama3, .factor = 8, .original_max_position_embeddings = 45};
    return config;
}
inline std::vector<decoder_config> every_config() {
    return {dense_config(), moe_config(), latent_config(), softmax_config()};
}

/// Prompts of 1 to 9 tokens and one of 140, which is longer than any block of the kernels.
inline std::vector<generation_request> requests(std::uint32_t count) {
    random_sequence random({.seed = 21});
    std::vector<generation_request> all;
    for (std::uint32_t i = 0; i < count; ++i) {
        generation_request request{{}, {.seed = 5, .stream = random_stream::rollout, .prompt = i}};
        std::uint32_t const length = i == 1 ? 140 : 1 + i * 5 % 9;
        while (request.prompt.size() < length)
            request.prompt.push_back(static_cast<std::int32_t>(random.integer(0, 52)));
        all.push_back(request);
    }
    return all;
}

inline bool same(completion const& a, completion const& b) {
    return a.tokens == b.tokens && a.log_probability == b.log_probability &&
           a.kept.tokens == b.kept.tokens && a.kept.offsets == b.kept.offsets &&
           a.reason == b.reason;
}
inline bool same(std::vector<completion> const& a, std::vector<completion> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](auto const& x, auto const& y) { return same(x, y); });
}

}  // namespace grove_test
