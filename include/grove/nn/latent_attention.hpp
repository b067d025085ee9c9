// SPDX-License-Identifier: Apache-2.0
/// @file
/// DeepSeek's multi-head latent attention (arXiv 2405.04434, section 2.1; 2412.19437, 2.1.1).
#pragma once

#include <memory>

#include "grove/nn/attention.hpp"
#include "grove/ops/reduce.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
/// The key source of one attention's two passes over the same tokens: the first, which acts, notes
/// what spares the second, on a tape, to attend again.
template <class B, class T>
struct noted_keys {
    attention_layout layout;
    std::optional<placed_layout<B>> placed{};
    attention_result<B, T> noted{};

    using acting = tensor<B, T>;
    acting attend(index_t /*layer*/, attention_shape const& shape, acting const& q, acting const& k,
                  acting const& v) {
        check_layout(layout, q.rows(), k.rows());
        check_disjoint(layout);
        if constexpr (has_attention<B, T>) {
            placed = placed_layout<B>::of(q.backend(), layout);
            noted = attention_with_normalizer(shape, q, k, v, *placed);
            return noted.output;
        } else {
            return attention(shape, q, k, v, layout);
        }
    }
    using learning = tensor<autodiff<B>, T>;
    learning attend(index_t /*layer*/, attention_shape const& shape, learning const& q,
                    learning const& k, learning const& v) const {
        if constexpr (has_attention<B, T>) {
            return known_attention(shape, q, k, v, *placed, noted);
        } else {
            return attention(shape, q, k, v, layout);
        }
    }
};
}  // namespace detail

/// Keys and values of all heads come from one latent of `rank` columns, beside one rotated key of
/// `rope` columns that the heads share: a cache holds [latent, rotated key], rank + rope columns.
///
/// A score is (q_nope · (latent k_bᵀ) + q_rope · k_rope) · scale. By default q_nope k_b comes
/// first, so that queries meet the latents themselves, all heads as one group; `expand` multiplies
/// latent k_bᵀ first and the key source holds keys and values: as true, other bits, faster in long
/// passes. Gradients, which no sampler has to reproduce, take the second way in any case.
template <class B, class T>
struct latent_attention {
    index_t heads, nope, rope_dim, rank, value_dim;
    rope_pairs pairs;
    double scale;
    std::optional<linear<B, T>> q_a_proj;     ///< [hidden, q_lora_rank]
    std::optional<norm<B, T>> q_a_layernorm;  ///< of the compressed query
    linear<B, T> q_b_proj;                    ///< named q_proj where queries are not compressed
    linear<B, T> kv_a_proj_with_mqa;          ///< [hidden, rank + rope]
    norm<B, T> kv_a_layernorm;                ///< of the latent
    parameter<B, T> k_b_proj;                 ///< [heads, nope, rank]
    parameter<B, T> v_b_proj;                 ///< [heads, rank, value_dim]
    linear<B, T> o_proj;                      ///< [heads · value_dim, hidden]

    static latent_attention make(parameter_maker<B, T>& make, std::string const& prefix,
                                 decoder_config const& c, double output_deviation) {
        constexpr double epsilon = 1e-6;  // of the published code, whatever rms_norm_eps is
        index_t const heads = c.num_attention_heads, rank = c.kv_lora_rank, hidden = c.hidden_size;
        index_t const nope = c.qk_nope_head_dim, rope_dim = c.qk_rope_head_dim;
        double const d = c.initializer_range;
        auto project = [&](char const* name, index_t in, index_t out, bool biased) {
            return linear<B, T>::make(make, prefix + name, in, out, d, biased);
        };
        bool const compressed = c.q_lora_rank > 0;
        std::optional<linear<B, T>> q_a;
        std::optional<norm<B, T>> q_norm;
        if (compressed) {
            q_a = project("q_a_proj", hidden, c.q_lora_rank, c.attention_bias);
            q_norm = norm<B, T>::make(make, prefix + "q_a_layernorm", c.q_lora_rank, epsilon);
        }
        index_t const q_columns = heads * (nope + rope_dim);
        return {heads,
                nope,
                rope_dim,
                rank,
                c.v_head_dim,
                c.pairs(),
                score_scale(c),
                std::move(q_a),
                std::move(q_norm),
                compressed ? project("q_b_proj", c.q_lora_rank, q_columns, false)
                           : project("q_proj", hidden, q_columns, false),
                project("kv_a_proj_with_mqa", hidden, rank + rope_dim, c.attention_bias),
                norm<B, T>::make(make, prefix + "kv_a_layernorm", rank, epsilon),
                make.normal(prefix + "k_b_proj.weight", {heads, nope, rank}, d),
                make.normal(prefix + "v_b_proj.weight", {heads, rank, c.v_head_dim}, d),
                linear<B, T>::make(make, prefix + "o_proj", heads * c.v_head_dim, hidden,
                                   output_deviation, c.attention_output_bias)};
    }
    /// x [tokens, hidden] → [tokens, hidden]; `table` from rope_table; `keys` is the key source.
    template <class X, class Positions, class Keys>
    X operator()(X const& x, X const& table, Positions const& positions, index_t layer, Keys& keys,
                 bool expand = false) const {
        index_t const tokens = x.rows();
        auto const q = q_b_proj(q_a_proj ? (*q_a_layernorm)((*q_a_proj)(x)) : x)
                           .reshape({tokens * heads, nope + rope_dim});
        auto const [q_nope, q_turning] = split_columns(q, std::array{nope, rope_dim});
        auto const q_rope =
            rope(q_turning.reshape({tokens, heads * rope_dim}), table, positions, heads, pairs)
                .reshape({tokens * heads, rope_dim});
        auto const [c, k_turning] =
            split_columns(kv_a_proj_with_mqa(x), std::array{rank, rope_dim});
        auto const latent = kv_a_layernorm(c);
        auto const k_rope = rope(k_turning, table, positions, 1, pairs);
        if (expand) return o_proj(expanded(q_nope, q_rope, latent, k_rope, layer, keys));
        if constexpr (is_autodiff<std::remove_cvref_t<decltype(x.backend())>>) {
            return o_proj(learned(q_nope, q_rope, latent, k_rope, layer, keys));
        } else {
            return o_proj(absorbed(q_nope, q_rope, latent, k_rope, layer, keys));
        }
    }
    template <class Visit>
    void visit(Visit&& f) {
        if (q_a_proj) q_a_proj->visit(f);
        if (q_a_layernorm) q_a_layernorm->visit(f);
        q_b_proj.visit(f);
        kv_a_proj_with_mqa.visit(f);
        kv_a_layernorm.visit(f);
        f(k_b_proj);
        f(v_b_proj);
        o_proj.visit(f);
    }

private:
    /// 1/√(nope + rope), times the square of yarn's temperature of whole heads.
    static double score_scale(decoder_config const& c) {
        auto const& r = c.rope_scaling;
        double const m = r.type == rope_type::yarn && r.mscale_all_dim > 0
                             ? r.temperature(r.mscale_all_dim)
                             : 1.0;
        return m * m / std::sqrt(static_cast<double>(c.qk_nope_head_dim + c.qk_rope_head_dim));
    }
    /// [tokens, heads · in] times one matrix [in, out] for each head → [tokens, heads · out].
    template <class X>
    X by_head(X const& x, index_t tokens, X const& w) const {
        auto const y =
            matmul(swap_leading(x.reshape({tokens, heads, x.size() / (tokens * heads)})), w);
        return swap_leading(y).reshape({tokens, heads * w.columns()});
    }
    template <class X, class Keys>
    X absorbed(X const& q_nope, X const& q_rope, X const& latent, X const& k_rope, index_t layer,
               Keys& keys) const {
        index_t const tokens = latent.rows(), columns = rank + rope_dim;
        auto& on = latent.backend();
        auto const q_latent = by_head(q_nope, tokens, lift(on, k_b_proj));
        auto const q =
            concatenate_columns(std::vector{q_latent.reshape({tokens * heads, rank}), q_rope})
                .reshape({tokens, heads * columns});
        auto const k = concatenate_columns(std::vector{latent, k_rope});
        attention_shape const s{heads, 1, columns, rank, true, scale};
        return by_head(keys.attend(layer, s, q, k, k), tokens, lift(on, v_b_proj));
    }
    /// The bits of `absorbed` with the gradient of `expanded`, whose products are narrower. The two
    /// share the scores' normalizers and the output, so that the latter's forward pass is spared.
    template <class X>
    X learned(X const& q_nope, X const& q_rope, X const& latent, X const& k_rope, index_t layer,
              fresh_keys const& keys) const {
        using inner = std::remove_cvref_t<decltype(latent.backend().inner())>;
        using source = detail::noted_keys<inner, T>;
        auto const shared = std::make_shared<source>(source{keys.layout});
        auto const first = [=, this](auto const&... x) {
            shared->noted.output = this->absorbed(x..., layer, *shared);
            return std::array{shared->noted.output};
        };
        auto const again = [=, this](auto const&... x) {
            return std::array{this->expanded(x..., layer, *shared)};
        };
        return checkpoint(first, again, std::array{q_nope, q_rope, latent, k_rope})[0];
    }
    template <class X, class Keys>
    X expanded(X const& q_nope, X const& q_rope, X const& latent, X const& k_rope, index_t layer,
               Keys& keys) const {
        index_t const tokens = latent.rows(), columns = nope + rope_dim;
        auto& on = latent.backend();
        auto const rows = [&](X const& a, X const& b) {
            return concatenate_columns(std::vector{a, b}).reshape({tokens, heads * columns});
        };
        auto const k_nope = matmul(latent, lift(on, k_b_proj).reshape({heads * nope, rank}),
                                   transpose::no, transpose::yes);
        auto const owner =
            on.template tabulate<std::int32_t>(detail::divide_index_law{heads}, tokens * heads);
        auto const every = gather_rows(k_rope, {on, owner, {tokens * heads}});
        auto const v =
            matmul(latent, swap_leading(lift(on, v_b_proj)).reshape({rank, heads * value_dim}));
        attention_shape const s{heads, heads, columns, value_dim, false, scale};
        return keys.attend(layer, s, rows(q_nope, q_rope),
                           rows(k_nope.reshape({tokens * heads, nope}), every), v);
    }
};

}  // namespace grove::inline GROVE_ISA
