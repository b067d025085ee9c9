// SPDX-License-Identifier: Apache-2.0
/// @file
/// config.json and generation_config.json of a decoder, in the spelling that transformers 4 and 5
/// and the inference engines read.
#pragma once

#include "grove/io/huggingface_config.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// The published architecture that computes what a decoder of this configuration computes. Throws
/// configuration_error where there is none.
inline model_family family_of(decoder_config const& c) {
    auto const need = [](bool condition, std::string_view family, std::string_view what) {
        require<configuration_error>(condition, "format_huggingface_config",
                                     "expected a decoder that a published architecture describes; ",
                                     family, " has ", what, ", got others");
    };
    bool const one_bias = c.attention_bias == c.attention_output_bias;
    if (c.is_latent()) {
        need(one_bias && !c.use_qk_norm, "deepseek_v3", "all biases or none, and no q/k norms");
        need(c.num_key_value_heads == c.num_attention_heads, "deepseek_v3",
             "as many key and value heads as query heads");
        need(c.n_routed_experts == 0 || c.scoring_func == scoring_function::sigmoid, "deepseek_v3",
             "sigmoid scores");
        return model_family::deepseek_v3;
    }
    need(!c.rope_interleave, "every architecture without latent attention", "half-rotated pairs");
    if (c.n_routed_experts > 0) {
        bool const plain = c.n_shared_experts == 0 && c.first_k_dense_replace == 0 &&
                           c.n_group == 1 && c.topk_group == 1 && c.routed_scaling_factor == 1.0;
        need(plain, "qwen3_moe", "experts in every layer, without groups, shared ones or a factor");
        need(one_bias && c.use_qk_norm && c.scoring_func == scoring_function::softmax, "qwen3_moe",
             "all biases or none, q/k norms and softmax scores");
        return model_family::qwen3_moe;
    }
    need(one_bias || !c.use_qk_norm, "qwen3", "all biases or none");
    need(one_bias || c.attention_bias, "every architecture", "no bias of the output alone");
    return c.use_qk_norm ? model_family::qwen3
           : one_bias    ? model_family::llama
                         : model_family::qwen2;
}

inline ordered_json format_rope_scaling(decoder_config const& c) {
    rope_scaling_options const& s = c.rope_scaling;
    if (s.type == rope_type::standard) return nullptr;
    std::string_view const name = s.type == rope_type::linear    ? "linear"
                                  : s.type == rope_type::dynamic ? "dynamic"
                                  : s.type == rope_type::llama3  ? "llama3"
                                                                 : "yarn";
    // Readers of different age look for one or the other.
    ordered_json object{{"rope_type", name}, {"type", name}, {"factor", s.factor}};
    index_t const original = s.original_max_position_embeddings;
    if (s.type == rope_type::llama3) {
        object["low_freq_factor"] = s.low_freq_factor;
        object["high_freq_factor"] = s.high_freq_factor;
        object["original_max_position_embeddings"] =
            original > 0 ? original : c.max_position_embeddings;
    }
    if (s.type == rope_type::yarn) {
        if (original > 0) object["original_max_position_embeddings"] = original;
        object["beta_fast"] = s.beta_fast;
        object["beta_slow"] = s.beta_slow;
        if (s.mscale > 0) object["mscale"] = s.mscale;
        if (s.mscale_all_dim > 0) object["mscale_all_dim"] = s.mscale_all_dim;
        if (s.attention_factor > 0) object["attention_factor"] = s.attention_factor;
        object["truncate"] = s.truncate;
    }
    return object;
}

inline void format_experts(decoder_config const& c, model_family family, ordered_json& object) {
    bool const deepseek = family == model_family::deepseek_v3;
    if (c.n_routed_experts == 0) {
        object["n_routed_experts"] = 0;
        object["first_k_dense_replace"] = c.num_hidden_layers;
        return;
    }
    object[deepseek ? "n_routed_experts" : "num_experts"] = c.n_routed_experts;
    object["num_experts_per_tok"] = c.num_experts_per_tok;
    object["moe_intermediate_size"] = c.moe_intermediate_size;
    object["norm_topk_prob"] = c.norm_topk_prob;
    if (!deepseek) {
        object["decoder_sparse_step"] = 1;
        object["mlp_only_layers"] = json::array();
        return;
    }
    object["n_shared_experts"] = c.n_shared_experts;
    object["first_k_dense_replace"] = c.first_k_dense_replace;
    object["moe_layer_freq"] = 1;
    object["n_group"] = c.n_group;
    object["topk_group"] = c.topk_group;
    object["topk_method"] = "noaux_tc";
    object["scoring_func"] = "sigmoid";
    object["routed_scaling_factor"] = c.routed_scaling_factor;
}

inline void format_latent_attention(decoder_config const& c, ordered_json& object) {
    object["kv_lora_rank"] = c.kv_lora_rank;
    object["q_lora_rank"] = c.q_lora_rank > 0 ? ordered_json(c.q_lora_rank) : nullptr;
    object["qk_nope_head_dim"] = c.qk_nope_head_dim;
    object["qk_rope_head_dim"] = c.qk_rope_head_dim;
    object["v_head_dim"] = c.v_head_dim;
    object["rope_interleave"] = c.rope_interleave;
}

/// bos_token_id and eos_token_id, as null, a token, or a list.
inline void format_tokens(huggingface_config const& config, ordered_json& object) {
    object["bos_token_id"] = nullptr;
    object["eos_token_id"] = nullptr;
    if (config.bos_token_id) object["bos_token_id"] = *config.bos_token_id;
    auto const& tokens = config.eos_token_ids;
    if (tokens.size() == 1) object["eos_token_id"] = tokens[0];
    if (tokens.size() > 1) object["eos_token_id"] = tokens;
}

}  // namespace detail

/// The config.json of a decoder, in the older spelling, which newer readers know too. It reads back
/// to an equal configuration, except for fields that mean nothing to the architecture, and zeros
/// that stand for a value derived from other fields, where readers need that value. Throws
/// configuration_error where no published architecture computes the same, and for tokens outside
/// the vocabulary.
inline ordered_json format_huggingface_config(huggingface_config const& config) {
    decoder_config const& c = config.decoder;
    c.validate();
    detail::huggingface_config_reader::check_tokens(config);
    auto const family = detail::family_of(c);
    auto const& [type, architecture] = detail::model_families[static_cast<std::size_t>(family)];
    bool const latent = family == detail::model_family::deepseek_v3;
    ordered_json object{{"architectures", {architecture}},
                        {"model_type", type},
                        {"vocab_size", c.vocab_size},
                        {"hidden_size", c.hidden_size},
                        {"intermediate_size", c.intermediate_size},
                        {"num_hidden_layers", c.num_hidden_layers},
                        {"num_attention_heads", c.num_attention_heads},
                        {"num_key_value_heads", c.num_key_value_heads}};
    if (!latent && (c.head_dim > 0 || family == detail::model_family::qwen3))
        object["head_dim"] = c.head_width();
    if (latent) detail::format_latent_attention(c, object);
    if (latent || c.n_routed_experts > 0) detail::format_experts(c, family, object);
    if (latent) object["num_nextn_predict_layers"] = config.num_nextn_predict_layers;
    object["hidden_act"] = "silu";
    object["max_position_embeddings"] = c.max_position_embeddings;
    object["rope_theta"] = c.rope_theta;
    object["rope_scaling"] = detail::format_rope_scaling(c);
    object["rms_norm_eps"] = c.rms_norm_eps;
    object["initializer_range"] = c.initializer_range;
    object["tie_word_embeddings"] = c.tie_word_embeddings;
    if (family != detail::model_family::qwen2) object["attention_bias"] = c.attention_bias;
    detail::format_tokens(config, object);
    if (!config.dtype.empty()) object["torch_dtype"] = config.dtype;
    return object;
}

/// The generation_config.json of a model: the tokens that begin and end a text.
inline ordered_json format_generation_config(huggingface_config const& config) {
    ordered_json object;
    detail::format_tokens(config, object);
    return object;
}

}  // namespace grove::inline GROVE_ISA
