// SPDX-License-Identifier: Apache-2.0
/// @file
/// Where each tensor of a published checkpoint lies in a decoder's parameters: the one table that
/// loading, saving and comparing with published gradients go by.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "grove/nn/decoder_config.hpp"

namespace grove::inline GROVE_ISA {

/// Numbers that a tensor of a file and a parameter of a decoder share: for (i, j, k) within
/// `extents`, element offset + i · strides[0] + j · strides[1] + k of the parameter is element
/// file_offset + i · file_strides[0] + j · file_strides[1] + k · file_strides[2] of the tensor.
struct tensor_block {
    std::string parameter;  ///< as decoder::visit names it; a router's bias as files name it
    std::array<index_t, 3> extents{1, 1, 1};
    index_t offset = 0;
    std::array<index_t, 2> strides{0, 1};
    index_t file_offset = 0;
    std::array<index_t, 3> file_strides{0, 0, 1};

    /// Elements of the parameter from `offset` to the last one of the block.
    index_t span() const {
        return (extents[0] - 1) * strides[0] + (extents[1] - 1) * strides[1] + extents[2];
    }
};

/// A tensor of a published checkpoint.
struct published_tensor {
    std::string name;
    std::vector<index_t> extents;
    std::vector<tensor_block> blocks;
};

/// How a checkpoint stores the experts of a layer.
enum class expert_storage {
    separate,  ///< mlp.experts.{e}.gate_proj.weight and so on, as published files do
    fused,     ///< mlp.experts.gate_up_proj and mlp.experts.down_proj of all experts
};

namespace detail {

/// Puts together the table of one decoder. Linear weights are [out, in] in files and [in, out] in a
/// decoder, which also keeps queries beside keys and values, gates beside their ups, and stacks
/// experts.
class published_layout_builder {
public:
    published_layout_builder(decoder_config const& config, expert_storage experts)
        : config_(config), experts_(experts) {}

    std::vector<published_tensor> build() {
        index_t const vocabulary = config_.vocab_size, hidden = config_.hidden_size;
        tensors_.push_back({"model.embed_tokens.weight",
                            {vocabulary, hidden},
                            {{.parameter = "model.embed_tokens.weight",
                              .extents = {1, vocabulary, hidden},
                              .strides = {0, hidden},
                              .file_strides = {0, hidden, 1}}}});
        for (index_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
            std::string const prefix = "model.layers." + std::to_string(layer) + ".";
            vector(prefix + "input_layernorm.weight", hidden);
            vector(prefix + "post_attention_layernorm.weight", hidden);
            if (config_.is_latent()) {
                latent_attention(prefix + "self_attn.");
            } else {
                attention(prefix + "self_attn.");
            }
            if (config_.is_moe(layer)) {
                mixture(prefix + "mlp.");
            } else {
                swiglu(prefix + "mlp.", config_.intermediate_size);
            }
        }
        vector("model.norm.weight", hidden);
        if (!config_.tie_word_embeddings) matrix("lm_head.weight", hidden, vocabulary);
        return std::move(tensors_);
    }

private:
    void vector(std::string const& name, index_t size) {
        tensors_.push_back(
            {name, {size}, {{.parameter = name, .extents = {1, 1, size}, .strides = {0, size}}}});
    }
    void matrix(std::string const& name, index_t in, index_t out) {
        tensors_.push_back({name, {out, in}, {transposed(name, in, out, out, 0)}});
    }
    void projection(std::string const& name, index_t in, index_t out, bool biased) {
        side_by_side(name, name, in, out, out, 0, biased);
    }
    /// All of a file's [out, in] as `out` columns of a parameter of `columns` columns.
    static tensor_block transposed(std::string const& parameter, index_t in, index_t out,
                                   index_t columns, index_t offset) {
        return {.parameter = parameter,
                .extents = {1, in, out},
                .offset = offset,
                .strides = {0, columns},
                .file_strides = {0, 1, in}};
    }

    void attention(std::string const& prefix) {
        decoder_config const& c = config_;
        index_t const head = c.head_width();
        index_t const queries = c.num_attention_heads * head, keys = c.num_key_value_heads * head;
        index_t first = 0;
        for (auto const& [name, columns] :
             {std::pair{"q_proj", queries}, {"k_proj", keys}, {"v_proj", keys}}) {
            side_by_side(prefix + name, prefix + "qkv_proj", c.hidden_size, columns,
                         queries + 2 * keys, first, c.attention_bias);
            first += columns;
        }
        projection(prefix + "o_proj", queries, c.hidden_size, c.attention_output_bias);
        if (!c.use_qk_norm) return;
        vector(prefix + "q_norm.weight", head);
        vector(prefix + "k_norm.weight", head);
    }
    /// A projection whose `out` columns are those of a wider parameter from `first` on.
    void side_by_side(std::string const& name, std::string const& parameter, index_t in,
                      index_t out, index_t columns, index_t first, bool biased) {
        tensors_.push_back({name + ".weight",
                            {out, in},
                            {transposed(parameter + ".weight", in, out, columns, first)}});
        if (!biased) return;
        tensors_.push_back({name + ".bias",
                            {out},
                            {{.parameter = parameter + ".bias",
                              .extents = {1, 1, out},
                              .offset = first,
                              .strides = {0, columns}}}});
    }
    void latent_attention(std::string const& prefix) {
        decoder_config const& c = config_;
        index_t const heads = c.num_attention_heads, rank = c.kv_lora_rank;
        index_t const queries = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
        if (c.q_lora_rank > 0) {
            projection(prefix + "q_a_proj", c.hidden_size, c.q_lora_rank, c.attention_bias);
            vector(prefix + "q_a_layernorm.weight", c.q_lora_rank);
            matrix(prefix + "q_b_proj.weight", c.q_lora_rank, queries);
        } else {
            matrix(prefix + "q_proj.weight", c.hidden_size, queries);
        }
        projection(prefix + "kv_a_proj_with_mqa", c.hidden_size, rank + c.qk_rope_head_dim,
                   c.attention_bias);
        vector(prefix + "kv_a_layernorm.weight", rank);
        keys_and_values(prefix, heads, c.qk_nope_head_dim, c.v_head_dim, rank);
        projection(prefix + "o_proj", heads * c.v_head_dim, c.hidden_size, c.attention_output_bias);
    }
    /// Of each head's rows of kv_b_proj, the first are k_b_proj [heads, nope, rank], the others
    /// v_b_proj [heads, rank, value] transposed.
    void keys_and_values(std::string const& prefix, index_t heads, index_t nope, index_t value,
                         index_t rank) {
        index_t const head = (nope + value) * rank;
        tensors_.push_back({prefix + "kv_b_proj.weight",
                            {heads * (nope + value), rank},
                            {{.parameter = prefix + "k_b_proj.weight",
                              .extents = {heads, nope, rank},
                              .strides = {nope * rank, rank},
                              .file_strides = {head, rank, 1}},
                             {.parameter = prefix + "v_b_proj.weight",
                              .extents = {heads, rank, value},
                              .strides = {rank * value, value},
                              .file_offset = nope * rank,
                              .file_strides = {head, 1, rank}}}});
    }
    void swiglu(std::string const& prefix, index_t width) {
        index_t const hidden = config_.hidden_size;
        std::string const gate_up = prefix + "gate_up_proj";
        side_by_side(prefix + "gate_proj", gate_up, hidden, width, 2 * width, 0, false);
        side_by_side(prefix + "up_proj", gate_up, hidden, width, 2 * width, width, false);
        matrix(prefix + "down_proj.weight", width, hidden);
    }
    void mixture(std::string const& prefix) {
        decoder_config const& c = config_;
        matrix(prefix + "gate.weight", c.hidden_size, c.n_routed_experts);
        if (c.scoring_func == scoring_function::sigmoid)
            vector(prefix + "gate.e_score_correction_bias", c.n_routed_experts);
        if (experts_ == expert_storage::fused) {
            fused_experts(prefix + "experts.");
        } else {
            for (index_t expert = 0; expert < c.n_routed_experts; ++expert)
                separate_expert(prefix + "experts.", expert);
        }
        if (c.n_shared_experts > 0)
            swiglu(prefix + "shared_experts.", c.n_shared_experts * c.moe_intermediate_size);
    }
    void separate_expert(std::string const& prefix, index_t expert) {
        index_t const hidden = config_.hidden_size, width = config_.moe_intermediate_size;
        std::string const own = prefix + std::to_string(expert) + ".";
        index_t const first = expert * hidden * 2 * width;
        tensors_.push_back(
            {own + "gate_proj.weight",
             {width, hidden},
             {transposed(prefix + "gate_up_proj", hidden, width, 2 * width, first)}});
        tensors_.push_back(
            {own + "up_proj.weight",
             {width, hidden},
             {transposed(prefix + "gate_up_proj", hidden, width, 2 * width, first + width)}});
        tensors_.push_back(
            {own + "down_proj.weight",
             {hidden, width},
             {transposed(prefix + "down_proj", width, hidden, hidden, expert * width * hidden)}});
    }
    void fused_experts(std::string const& prefix) {
        index_t const experts = config_.n_routed_experts;
        auto const stacked = [&](std::string const& name, index_t in, index_t out) {
            tensors_.push_back({name,
                                {experts, out, in},
                                {{.parameter = name,
                                  .extents = {experts, in, out},
                                  .strides = {in * out, out},
                                  .file_strides = {in * out, 1, in}}}});
        };
        index_t const hidden = config_.hidden_size, width = config_.moe_intermediate_size;
        stacked(prefix + "gate_up_proj", hidden, 2 * width);
        stacked(prefix + "down_proj", width, hidden);
    }

    decoder_config config_;
    expert_storage experts_;
    std::vector<published_tensor> tensors_;
};

}  // namespace detail

/// The tensors of a published checkpoint of this decoder. Every element of every parameter, and of
/// every tensor, occurs in exactly one block.
inline std::vector<published_tensor> published_layout(
    decoder_config const& config, expert_storage experts = expert_storage::separate) {
    return detail::published_layout_builder(config, experts).build();
}

namespace detail {

/// Copies the elements [first, first + part.size()) of a parameter, whole rows of it, as far as
/// they lie in `block`; element(i) is number i of the file's tensor.
template <class T, class Element>
void copy_from_file(tensor_block const& block, Element const& element, index_t first,
                    std::span<T> part) {
    constexpr index_t tile = 32;  // lines of the file that are read side by side
    auto const [outer, rows, columns] = block.extents;
    index_t const stride = block.strides[1], last = first + static_cast<index_t>(part.size());
    for (index_t i = 0; i < outer; ++i) {
        index_t const base = block.offset + i * block.strides[0];
        auto const row_at = [&](index_t position) {
            return std::clamp((position - base + stride - 1) / stride, index_t{0}, rows);
        };
        index_t const begin = first > base ? row_at(first) : 0,
                      end = last > base ? row_at(last) : 0;
        index_t const source = block.file_offset + i * block.file_strides[0];
        for (index_t k = 0; k < columns; k += tile)
            for (index_t j = begin; j < end; ++j) {
                T* const target = part.data() + (base + j * stride - first);
                index_t const line = source + j * block.file_strides[1];
                for (index_t c = k; c < std::min(k + tile, columns); ++c)
                    target[c] = element(line + c * block.file_strides[2]);
            }
    }
}

/// Numbers that are converted at a time.
template <class T>
inline constexpr index_t fill_elements = (index_t{8} << 20) / static_cast<index_t>(sizeof(T));

}  // namespace detail

}  // namespace grove::inline GROVE_ISA
