// SPDX-License-Identifier: Apache-2.0
/// @file
/// The extents of a decoder, under the names that published checkpoints use.
#pragma once

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A decoder-only transformer: RMSNorm, rotary embedding, grouped-query attention, SwiGLU, and
/// DeepSeek-V3's mixture of experts where n_routed_experts > 0. Field names are those of
/// config.json.
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
    double rms_norm_eps = 1e-6;
    bool tie_word_embeddings = false;
    double initializer_range = 0.02;

    index_t n_routed_experts = 0;        ///< 0: every layer is dense
    index_t num_experts_per_tok = 2;     ///< top-k
    index_t n_shared_experts = 1;        ///< always-on experts, as one SwiGLU of their joint width
    index_t moe_intermediate_size = 0;   ///< width of one expert
    index_t first_k_dense_replace = 1;   ///< layers before this one are dense
    index_t n_group = 1;                 ///< groups of experts
    index_t topk_group = 1;              ///< groups that a token may choose from
    bool norm_topk_prob = true;          ///< weights of the chosen experts sum to 1 …
    double routed_scaling_factor = 1.0;  ///< … times this

    index_t head_width() const { return head_dim ? head_dim : hidden_size / num_attention_heads; }
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
        need(head_width() % 2 == 0, "expected an even head_dim, got ", head_width());
        need(max_position_embeddings > 0, "expected max_position_embeddings > 0, got ",
             max_position_embeddings);
        need(rope_theta > 0 && rms_norm_eps >= 0,
             "expected rope_theta > 0 and rms_norm_eps ≥ 0, got ", rope_theta, " and ",
             rms_norm_eps);
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
