// SPDX-License-Identifier: Apache-2.0
/// @file
/// The published architectures, and what they mean by fields that a config.json leaves out.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grove/nn/decoder_config.hpp"

namespace grove::inline GROVE_ISA {

/// What config.json and generation_config.json say about a model.
struct huggingface_config {
    decoder_config decoder{};
    std::string dtype{};  ///< type of the published weights, such as "bfloat16"; empty: not stated
    std::optional<index_t> bos_token_id{};  ///< token that begins a text
    std::vector<index_t> eos_token_ids{};   ///< tokens that end one
    /// Layers of the files behind the decoder's own that predict further tokens (DeepSeek-V3). They
    /// are not loaded.
    index_t num_nextn_predict_layers = 0;
};

namespace detail {

/// The architectures that can be read, by "model_type".
enum class model_family { llama, qwen2, qwen3, qwen3_moe, deepseek_v3 };

inline constexpr std::array<std::pair<std::string_view, std::string_view>, 5> model_families{
    {{"llama", "LlamaForCausalLM"},
     {"qwen2", "Qwen2ForCausalLM"},
     {"qwen3", "Qwen3ForCausalLM"},
     {"qwen3_moe", "Qwen3MoeForCausalLM"},
     {"deepseek_v3", "DeepseekV3ForCausalLM"}}};

/// What a config.json that leaves a field out means: the defaults of the published configuration
/// classes (transformers 5.17, models/*/configuration_*.py). num_key_value_heads 0: as many as
/// query heads.
inline huggingface_config published_defaults(model_family family) {
    huggingface_config result;
    decoder_config& c = result.decoder;
    c = {.vocab_size = 151936,
         .hidden_size = 4096,
         .intermediate_size = 22016,
         .num_hidden_layers = 32,
         .num_attention_heads = 32,
         .num_key_value_heads = 32,
         .max_position_embeddings = 32768};
    switch (family) {
        case model_family::llama:
            c.vocab_size = 32000;
            c.intermediate_size = 11008;
            c.num_key_value_heads = 0;
            c.max_position_embeddings = 2048;
            result.bos_token_id = 1;
            result.eos_token_ids = {2};
            break;
        case model_family::qwen2:
            c.attention_bias = true;
            break;
        case model_family::qwen3:
            c.head_dim = 128;
            c.use_qk_norm = true;
            break;
        case model_family::qwen3_moe:
            c.hidden_size = 2048;
            c.intermediate_size = 6144;
            c.num_hidden_layers = 24;
            c.num_key_value_heads = 4;
            c.use_qk_norm = true;
            c.n_routed_experts = 128;
            c.num_experts_per_tok = 8;
            c.n_shared_experts = 0;
            c.moe_intermediate_size = 768;
            c.first_k_dense_replace = 0;
            c.scoring_func = scoring_function::softmax;
            c.norm_topk_prob = false;
            break;
        case model_family::deepseek_v3:
            c.vocab_size = 129280;
            c.hidden_size = 7168;
            c.intermediate_size = 18432;
            c.num_hidden_layers = 61;
            c.num_attention_heads = c.num_key_value_heads = 128;
            c.max_position_embeddings = 4096;
            c.rope_interleave = true;
            c.kv_lora_rank = 512;
            c.q_lora_rank = 1536;
            c.qk_nope_head_dim = 128;
            c.qk_rope_head_dim = 64;
            c.v_head_dim = 128;
            c.n_routed_experts = 256;
            c.num_experts_per_tok = 8;
            c.n_shared_experts = 1;
            c.moe_intermediate_size = 2048;
            c.first_k_dense_replace = 3;
            c.n_group = 8;
            c.topk_group = 4;
            c.routed_scaling_factor = 2.5;
            result.bos_token_id = 0;
            result.eos_token_ids = {1};
            break;
    }
    return result;
}

}  // namespace detail

}  // namespace grove::inline GROVE_ISA
