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
    attention_layout layout;

    template <class X>
    X attend(index_t /*layer*/, attention_shape const& shape, X const& q, X const& k, X const& v) {
        return attention(shape, q, k, v, layout);
    }
};

/// o(softmax(q kᵀ / √head_dim) v) with rotary positions.
template <class B, class T>
struct self_attention {
    attention_shape extents;
    linear<B, T> q_proj, k_proj, v_proj, o_proj;

    static self_attention make(parameter_maker<B, T>& make, std::string const& prefix,
                               decoder_config const& c, double output_deviation) {
        attention_shape const s{c.num_attention_heads, c.num_key_value_heads, c.head_width()};
        auto weight = [&](char const* name, index_t in, index_t out, double deviation) {
            return linear<B, T>{make.normal(prefix + name + ".weight", {in, out}, deviation)};
        };
        double const d = c.initializer_range;
        return {s, weight("q_proj", c.hidden_size, s.query_columns(), d),
                weight("k_proj", c.hidden_size, s.key_columns(), d),
                weight("v_proj", c.hidden_size, s.key_columns(), d),
                weight("o_proj", s.query_columns(), c.hidden_size, output_deviation)};
    }
    /// x [tokens, hidden] → [tokens, hidden]; `table` from rope_table; `keys` is the key source.
    template <class X, class Positions, class Keys>
    X operator()(X const& x, X const& table, Positions const& positions, index_t layer,
                 Keys& keys) const {
        auto const q = rope(q_proj(x), table, positions, extents.heads);
        auto const k = rope(k_proj(x), table, positions, extents.key_value_heads);
        return o_proj(keys.attend(layer, extents, q, k, v_proj(x)));
    }
    template <class Visit>
    void visit(Visit&& f) {
        q_proj.visit(f);
        k_proj.visit(f);
        v_proj.visit(f);
        o_proj.visit(f);
    }
};

}  // namespace grove::inline GROVE_ISA
