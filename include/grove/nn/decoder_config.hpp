// SPDX-License-Identifier: Apache-2.0
/// @file
/// The extents of a decoder, under the names that published checkpoints use.
#pragma once

#include "grove/backend/refinement.hpp"
#include "grove/core/shape.hpp"
#include "grove/ops/rope_scaling.hpp"

namespace grove::inline GROVE_ISA {

/// How a router turns logits into affinities of experts.
enum class scoring_function {
    sigmoid,  ///< each expert by itself (DeepSeek-V3)
    softmax,  ///< over all experts (Qwen3-MoE, Mixtral)
};

/// A decoder-only transformer: RMSNorm, rotary embedding, grouped-query attention or DeepSeek's
/// latent attention (kv_lora_rank > 0), SwiGLU, and a mixture of experts (n_routed_experts > 0).
/// Field names are those of config.json.
struct decoder_config {
    index_t vocab_size = 512;
    index_t hidden_size = 256;
    index_t intermediate_size = 688;  ///< width of a dense layer's SwiGLU
    index_t num_hidden_layers = 4;
    index_t num_attention_heads = 4;
    index_t num_key_value_heads = 4;
    index_t head_dim = 0;  ///< 0: hidden_size / num_attention_heads
    index_t max_position_embeddings = 256;
    double rope_theta = 10000.0;
    rope_scaling_options rope_scaling{};
    bool rope_interleave = false;        ///< pairs (2j, 2j + 1) instead of (j, j + dim / 2)
    bool attention_bias = false;         ///< biases of the projections into attention …
    bool attention_output_bias = false;  ///< … and of the one out of it
    bool use_qk_norm = false;            ///< RMSNorm of each query and key head (Qwen3)
    double rms_norm_eps = 1e-6;
    bool tie_word_embeddings = false;
    double initializer_range = 0.02;

    index_t kv_lora_rank = 0;      ///< width of the latent that keys and values share; 0: none
    index_t q_lora_rank = 0;       ///< width that queries are compressed to; 0: they are not
    index_t qk_nope_head_dim = 0;  ///< latent attention: columns of a head without rotation …
    index_t qk_rope_head_dim = 0;  ///< … and with it (these are shared by all heads of the keys)
    index_t v_head_dim = 0;        ///< latent attention: columns of a head's value

    index_t n_routed_experts = 0;       ///< 0: every layer is dense
    index_t num_experts_per_tok = 2;    ///< top-k
    index_t n_shared_experts = 1;       ///< always-on experts, as one SwiGLU of their joint width
    index_t moe_intermediate_size = 0;  ///< width of one expert
    index_t first_k_dense_replace = 1;  ///< layers before this one are dense
    scoring_function scoring_func = scoring_function::sigmoid;
    index_t n_group = 1;                 ///< groups of experts
    index_t topk_group = 1;              ///< groups that a token may choose from
    bool norm_topk_prob = true;          ///< weights of the chosen experts sum to 1 …
    double routed_scaling_factor = 1.0;  ///< … times this

    index_t head_width() const { return head_dim ? head_dim : hidden_size / num_attention_heads; }
    bool is_latent() const { return kv_lora_rank > 0; }
    /// Columns of a head that are rotated.
    index_t rope_width() const { return is_latent() ? qk_rope_head_dim : head_width(); }
    rope_pairs pairs() const {
        return rope_interleave ? rope_pairs::interleaved : rope_pairs::halves;
    }
    bool is_moe(index_t layer) const {
        return n_routed_experts > 0 && layer >= first_k_dense_replace;
    }
    /// Throws configuration_error for extents that contradict each other.
    void validate() const {
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "decoder_config", parts...);
        };
        need(vocab_size > 0 && hidden_size > 0 && num_hidden_layers > 0 && intermediate_size > 0,
             "expected positive vocab_size, hidden_size, num_hidden_layers and intermediate_size, "
             "got ",
             vocab_size, ", ", hidden_size, ", ", num_hidden_layers, ", ", intermediate_size);
        need(num_attention_heads > 0 && num_key_value_heads > 0 &&
                 num_attention_heads % num_key_value_heads == 0,
             "expected num_attention_heads to be a multiple of num_key_value_heads, got ",
             num_attention_heads, " and ", num_key_value_heads);
        need(head_dim >= 0, "expected head_dim ≥ 0, got ", head_dim);
        need(head_dim > 0 || hidden_size % num_attention_heads == 0,
             "expected hidden_size to be a multiple of num_attention_heads, got ", hidden_size,
             " and ", num_attention_heads);
        need(rope_width() % 2 == 0, "expected an even number of rotated columns, got ",
             rope_width());
        need(max_position_embeddings > 0, "expected max_position_embeddings > 0, got ",
             max_position_embeddings);
        need(rope_theta > 0 && rms_norm_eps >= 0,
             "expected rope_theta > 0 and rms_norm_eps ≥ 0, got ", rope_theta, " and ",
             rms_norm_eps);
        rope_scaling.validate();
        need(kv_lora_rank >= 0, "expected kv_lora_rank ≥ 0, got ", kv_lora_rank);
        if (is_latent()) {
            need(qk_nope_head_dim > 0 && qk_rope_head_dim > 0 && v_head_dim > 0 && q_lora_rank >= 0,
                 "expected positive qk_nope_head_dim, qk_rope_head_dim and v_head_dim, and "
                 "q_lora_rank ≥ 0, got ",
                 qk_nope_head_dim, ", ", qk_rope_head_dim, ", ", v_head_dim, " and ", q_lora_rank);
            need(!use_qk_norm, "expected no use_qk_norm with latent attention, got it");
        }
        need(n_routed_experts >= 0, "expected n_routed_experts ≥ 0, got ", n_routed_experts);
        if (n_routed_experts == 0) return;
        need(moe_intermediate_size > 0, "expected moe_intermediate_size > 0, got ",
             moe_intermediate_size);
        need(n_group > 0 && n_routed_experts % n_group == 0,
             "expected n_routed_experts to be a multiple of n_group, got ", n_routed_experts,
             " and ", n_group);
        need(topk_group > 0 && topk_group <= n_group, "expected 1 ≤ topk_group ≤ n_group, got ",
             topk_group, " of ", n_group);
        need(n_group == 1 || n_routed_experts / n_group >= 2,
             "expected at least two experts in a group, got ", n_routed_experts / n_group);
        need(num_experts_per_tok > 0 &&
                 num_experts_per_tok <= topk_group * (n_routed_experts / n_group),
             "expected 1 ≤ num_experts_per_tok ≤ ", topk_group * (n_routed_experts / n_group),
             " (experts within the chosen groups), got ", num_experts_per_tok);
        need(n_shared_experts >= 0 && first_k_dense_replace >= 0,
             "expected n_shared_experts ≥ 0 and first_k_dense_replace ≥ 0, got ", n_shared_experts,
             " and ", first_k_dense_replace);
    }
};

}  // namespace grove::inline GROVE_ISA
