// SPDX-License-Identifier: Apache-2.0
/// @file
/// Grouped-query self-attention over a key source.
#pragma once

#include "grove/nn/layers.hpp"
#include "grove/ops/attention.hpp"
#include "grove/ops/rope.hpp"

namespace grove::inline GROVE_ISA {

/// Tokens of several sequences behind each other, with each token's position in its sequence.
struct packed_tokens {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    attention_layout layout;

    /// Whole sequences, each from position 0, whose keys are their own tokens.
    static packed_tokens of(std::vector<std::vector<std::int32_t>> const& sequences) {
        packed_tokens batch;
        for (auto const& sequence : sequences) {
            auto const n = static_cast<std::int32_t>(sequence.size());
            batch.layout.add(n, batch.layout.tokens(), n);
            batch.tokens.insert(batch.tokens.end(), sequence.begin(), sequence.end());
            for (std::int32_t i = 0; i < n; ++i) batch.positions.push_back(i);
        }
        return batch;
    }
};

/// The key source of a whole pass: the keys that this pass computes. (rollout/kv_cache.hpp has the
/// other one: keys of earlier passes.)
struct fresh_keys {
    static constexpr bool fresh = true;

    attention_layout layout;

    template <class X>
    X attend(index_t /*layer*/, attention_shape const& shape, X const& q, X const& k, X const& v) {
        return attention(shape, q, k, v, layout);
    }
};

/// o(softmax(q kᵀ / √head_dim) v) with rotary positions, grouped queries and, where the model has
/// them, biases and norms of each query and key head.
template <class B, class T>
struct self_attention {
    attention_shape extents;
    rope_pairs pairs;
    linear<B, T> qkv_proj;  ///< [hidden, query + key + value columns]
    linear<B, T> o_proj;
    std::optional<norm<B, T>> q_norm, k_norm;

    static self_attention make(parameter_maker<B, T>& make, std::string const& prefix,
                               decoder_config const& c, double output_deviation) {
        attention_shape const s{c.num_attention_heads, c.num_key_value_heads, c.head_width()};
        self_attention m{
            s,
            c.pairs(),
            linear<B, T>::make(make, prefix + "qkv_proj", c.hidden_size,
                               {s.query_columns(), s.key_columns(), s.key_columns()},
                               c.initializer_range, c.attention_bias),
            linear<B, T>::make(make, prefix + "o_proj", s.query_columns(), c.hidden_size,
                               output_deviation, c.attention_output_bias),
            {},
            {}};
        if (c.use_qk_norm) {
            m.q_norm = norm<B, T>::make(make, prefix + "q_norm", s.head_dim, c.rms_norm_eps);
            m.k_norm = norm<B, T>::make(make, prefix + "k_norm", s.head_dim, c.rms_norm_eps);
        }
        return m;
    }
    /// x [tokens, hidden] → [tokens, hidden]; `table` from rope_table; `keys` is the key source.
    template <class X, class Positions, class Keys>
    X operator()(X const& x, X const& table, Positions const& positions, index_t layer,
                 Keys& keys) const {
        auto const [q, k, v] = parts(qkv_proj(x), table, positions);
        return o_proj(keys.attend(layer, extents, q, k, v));
    }
    template <class Visit>
    void visit(Visit&& f) {
        qkv_proj.visit(f);
        o_proj.visit(f);
        if (q_norm) q_norm->visit(f);
        if (k_norm) k_norm->visit(f);
    }

private:
    /// {queries, keys, values} with their positions.
    template <class X, class Positions>
    std::array<X, 3> parts(X const& qkv, X const& table, Positions const& positions) const {
        if (!q_norm) return rope_split(qkv, table, positions, extents, pairs);
        index_t const tokens = qkv.rows(), keys = extents.key_columns();
        auto const [q, k, v] = split_columns(qkv, std::array{extents.query_columns(), keys, keys});
        auto const turned = [&](X const& x, auto const& head_norm, index_t heads) {
            auto const y = (*head_norm)(x.reshape({tokens * heads, extents.head_dim}));
            return rope(y.reshape(x.extents()), table, positions, heads, pairs);
        };
        return {turned(q, q_norm, extents.heads), turned(k, k_norm, extents.key_value_heads), v};
    }
};

}  // namespace grove::inline GROVE_ISA
