// SPDX-License-Identifier: Apache-2.0
// The published models of tests/data, and what tests do with folders of models.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grove/io/huggingface_defaults.hpp"

/// The folder of a model of tests/data/huggingface.
inline std::filesystem::path published_model(std::string const& name) {
    return std::filesystem::path(GROVE_SOURCE_DIRECTORY) / "tests/data/huggingface" / name;
}
inline std::vector<std::string> const published_models{
    "deepseek-v3-tiny", "deepseek-v3-noqlora-tiny", "llama-tiny",
    "qwen2-tiny",       "qwen3-moe-tiny",           "qwen2-tiny-bf16"};

/// Whether two configurations agree in every field.
inline bool same_config(grove::decoder_config const& a, grove::decoder_config const& b) {
    auto const all = [](grove::decoder_config const& c) {
        auto const& s = c.rope_scaling;
        return std::pair(
            std::array<double, 14>{c.rope_theta, c.rms_norm_eps, c.initializer_range,
                                   c.routed_scaling_factor, s.factor, s.low_freq_factor,
                                   s.high_freq_factor, s.beta_fast, s.beta_slow, s.mscale,
                                   s.mscale_all_dim, s.attention_factor, double(s.truncate),
                                   double(s.original_max_position_embeddings)},
            std::array<grove::index_t, 28>{c.vocab_size,
                                           c.hidden_size,
                                           c.intermediate_size,
                                           c.num_hidden_layers,
                                           c.num_attention_heads,
                                           c.num_key_value_heads,
                                           c.head_dim,
                                           c.max_position_embeddings,
                                           c.rope_interleave,
                                           c.attention_bias,
                                           c.attention_output_bias,
                                           c.use_qk_norm,
                                           c.tie_word_embeddings,
                                           c.kv_lora_rank,
                                           c.q_lora_rank,
                                           c.qk_nope_head_dim,
                                           c.qk_rope_head_dim,
                                           c.v_head_dim,
                                           c.n_routed_experts,
                                           c.num_experts_per_tok,
                                           c.n_shared_experts,
                                           c.moe_intermediate_size,
                                           c.first_k_dense_replace,
                                           static_cast<grove::index_t>(c.scoring_func),
                                           c.n_group,
                                           c.topk_group,
                                           c.norm_topk_prob,
                                           static_cast<grove::index_t>(s.type)});
    };
    return all(a) == all(b);
}
