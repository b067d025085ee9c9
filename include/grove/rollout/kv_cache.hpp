// SPDX-License-Identifier: Apache-2.0
/// @file
/// Keys and values of earlier passes.
#pragma once

#include <array>
#include <optional>

#include "grove/nn/attention.hpp"
#include "grove/nn/decoder_config.hpp"
#include "grove/ops/create.hpp"

namespace grove::inline GROVE_ISA {

/// Keys and values of every layer for `slots` sequences of at most `capacity` tokens, allocated
/// once. Per layer, of columns a token:
///
/// - grouped queries: key_value_heads · head_dim of keys and as many of values;
/// - latent attention: kv_lora_rank + qk_rope_head_dim, for keys and values in one;
/// - latent attention, expanded: num_attention_heads · (qk_nope_head_dim + qk_rope_head_dim) of
///   keys and num_attention_heads · v_head_dim of values, for passes with
///   pass_options::expand_latents.
template <class B, class T>
class kv_cache {
public:
    kv_cache(B& backend, decoder_config const& config, index_t slots, index_t capacity,
             bool expand_latents = false)
        : capacity_(capacity) {
        bool const latent = config.is_latent(), expanded = latent && expand_latents;
        index_t const grouped = config.num_key_value_heads * config.head_width();
        index_t const head = config.qk_nope_head_dim + config.qk_rope_head_dim;
        index_t const key_columns = expanded ? config.num_attention_heads * head
                                    : latent ? config.kv_lora_rank + config.qk_rope_head_dim
                                             : grouped;
        index_t const value_columns = expanded ? config.num_attention_heads * config.v_head_dim
                                      : latent ? 0
                                               : grouped;
        for (index_t i = 0; i < config.num_hidden_layers; ++i) {
            keys_.push_back(memory(backend, {slots * capacity, key_columns}));
            if (value_columns > 0)
                values_.push_back(memory(backend, {slots * capacity, value_columns}));
        }
    }

    index_t capacity() const { return capacity_; }
    tensor<B, T>& keys(index_t layer) { return keys_[static_cast<std::size_t>(layer)]; }
    /// Not of latents.
    tensor<B, T>& values(index_t layer) { return values_[static_cast<std::size_t>(layer)]; }
    /// Writes the keys and values of new tokens to these rows of a layer, of latents the keys
    /// alone, and returns all keys and values of the layer. Throws shape_error for keys of other
    /// columns than the cache was made for.
    std::array<tensor<B, T>, 2> append(index_t layer, attention_shape const& shape,
                                       tensor<B, T> const& k, tensor<B, T> const& v,
                                       typename B::template buffer<std::int32_t> const& rows) {
        B& b = k.backend();
        auto& all = keys(layer);
        require<shape_error>(k.columns() == all.columns(), "kv_cache", "expected keys of ",
                             all.columns(), " columns, as the cache was made for, got ",
                             k.columns());
        if (shape.values_in_keys) {
            b.write_rows(all.buffer(), k.buffer(), k.columns(), rows);
            return {all, all};
        }
        auto& other = values(layer);
        if constexpr (has_row_pairs<B, T>) {
            b.write_row_pairs(all.buffer(), k.buffer(), k.columns(), other.buffer(), v.buffer(),
                              v.columns(), rows);
        } else {
            b.write_rows(all.buffer(), k.buffer(), k.columns(), rows);
            b.write_rows(other.buffer(), v.buffer(), v.columns(), rows);
        }
        return {all, other};
    }

private:
    static tensor<B, T> memory(B& b, shape const& extents) {
        auto const y = zeros<T>(b, extents);
        if constexpr (has_activation_storage<B, T>)
            return {b, b.as_activations(y.buffer()), extents};
        return y;
    }

    index_t capacity_;
    std::vector<tensor<B, T>> keys_, values_;
};

/// The key source of a pass over a cache: its new tokens are appended to their slots' keys, then
/// read together with them. Gives the bits that fresh_keys gives.
template <class B, class T>
class cached_keys {
public:
    static constexpr bool fresh = false;

    explicit cached_keys(kv_cache<B, T>& cache) : cache_(&cache) {}

    /// Adds a sequence to this pass: `tokens` new tokens behind the `length` that its slot holds.
    /// Throws shape_error where they do not fit.
    void add(index_t slot, index_t length, index_t tokens) {
        require<shape_error>(length + tokens <= cache_->capacity(), "cached_keys",
                             "expected at most ", cache_->capacity(), " tokens in a slot, got ",
                             length + tokens);
        index_t const first = slot * cache_->capacity();
        layout_.add(tokens, first, length + tokens);
        for (index_t i = 0; i < tokens; ++i)
            rows_.push_back(static_cast<std::int32_t>(first + length + i));
        placed_.reset();
    }
    attention_layout const& layout() const { return layout_; }

    tensor<B, T> attend(index_t layer, attention_shape const& shape, tensor<B, T> const& q,
                        tensor<B, T> const& k, tensor<B, T> const& v) {
        if (!placed_) placed_ = placed_layout<B>::with(q.backend(), layout_, rows_);
        auto const& [layout, rows] = *placed_;
        auto const [keys, values] = cache_->append(layer, shape, k, v, rows);
        if constexpr (has_attention<B, T>) {
            return attention(shape, q, keys, values, layout);
        } else {
            return attention(shape, q, keys, values, layout_);
        }
    }

private:
    kv_cache<B, T>* cache_;
    attention_layout layout_;
    std::vector<std::int32_t> rows_;
    std::optional<std::pair<placed_layout<B>, typename B::template buffer<std::int32_t>>> placed_;
};

/// The key source of a pass whose every index is on the backend, as a captured one must be: `rows`
/// [tokens] are where the new tokens go.
template <class B, class T>
class placed_keys {
public:
    static constexpr bool fresh = false;

    placed_keys(kv_cache<B, T>& cache, placed_layout<B> layout,
                typename B::template buffer<std::int32_t> rows)
        : cache_(&cache), layout_(std::move(layout)), rows_(std::move(rows)) {}

    tensor<B, T> attend(index_t layer, attention_shape const& shape, tensor<B, T> const& q,
                        tensor<B, T> const& k, tensor<B, T> const& v) {
        auto const [keys, values] = cache_->append(layer, shape, k, v, rows_);
        return attention(shape, q, keys, values, layout_);
    }

private:
    kv_cache<B, T>* cache_;
    placed_layout<B> layout_;
    typename B::template buffer<std::int32_t> rows_;
};

}  // namespace grove::inline GROVE_ISA
