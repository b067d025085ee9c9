// SPDX-License-Identifier: Apache-2.0
/// @file
/// Fused operations that a backend may offer together with their gradients. They are taken both
/// when acting and when learning, or in neither; `capabilities` says which.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "grove/backend/concept.hpp"
#include "grove/backend/sampling_options.hpp"

namespace grove::inline GROVE_ISA {

/// Extents of an attention: queries [tokens, heads · head_dim], keys [rows, key_value_heads ·
/// head_dim], values [rows, key_value_heads · value_width]; query head h reads key head
/// h / (heads / key_value_heads). Results are [tokens, heads · value_width].
struct attention_shape {
    index_t heads, key_value_heads, head_dim;
    index_t value_dim = 0;  ///< columns of a head's value; 0: head_dim
    /// Values are the first value_dim columns of each key head: the same rows are given as keys and
    /// as values (latent attention).
    bool values_in_keys = false;
    double scale = 0.0;  ///< of the scores; 0: 1/√head_dim

    index_t query_columns() const { return heads * head_dim; }
    index_t key_columns() const { return key_value_heads * head_dim; }
    index_t value_width() const { return value_dim > 0 ? value_dim : head_dim; }
    /// Columns from one head's value to the next one's.
    index_t value_step() const { return values_in_keys ? head_dim : value_width(); }
    index_t value_columns() const { return key_value_heads * value_step(); }
    index_t output_columns() const { return heads * value_width(); }
    index_t group() const { return heads / key_value_heads; }
    template <class T>
    T score_factor() const {
        return scale > 0 ? static_cast<T>(scale) : T(1) / std::sqrt(static_cast<T>(head_dim));
    }
};

/// y = x · w / √(mean x² + ε) by rows: `rms_norm` → {y, 1/√…}, `rms_norm_backward` → {dx, dw}.
template <class B, class T>
concept has_rms_norm = requires(B& b, typename B::template buffer<T> const& x) {
    {
        b.rms_norm(x, x, index_t{}, index_t{}, T{})
    } -> std::same_as<std::array<typename B::template buffer<T>, 2>>;
    {
        b.rms_norm_backward(x, x, x, x, index_t{}, index_t{})
    } -> std::same_as<std::array<typename B::template buffer<T>, 2>>;
};

/// The norm of s = x + y, as rms_norm's of s, in one: `add_rms_norm` → {s, normed s, 1/√…};
/// `add_rms_norm_backward` for the gradients of s, where it is not empty, and of its norm → {ds,
/// dw}, where ds is the gradient of x and of y.
template <class B, class T>
concept has_add_rms_norm =
    has_rms_norm<B, T> && requires(B& b, typename B::template buffer<T> const& x) {
        {
            b.add_rms_norm(x, x, x, index_t{}, index_t{}, T{})
        } -> std::same_as<std::array<typename B::template buffer<T>, 3>>;
        {
            b.add_rms_norm_backward(x, x, x, x, x, index_t{}, index_t{})
        } -> std::same_as<std::array<typename B::template buffer<T>, 2>>;
    };

/// [rows, 2 · columns] (gate beside up) → silu(gate) · up [rows, columns], and its gradient.
template <class B, class T>
concept has_swiglu = requires(B& b, typename B::template buffer<T> const& x) {
    { b.swiglu(x, index_t{}, index_t{}) } -> std::same_as<typename B::template buffer<T>>;
    {
        b.swiglu_backward(x, x, index_t{}, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
};

/// Which columns of a head rotate together.
enum class rope_pairs {
    halves,       ///< (j, j + dim / 2), as in Llama and Qwen
    interleaved,  ///< (2j, 2j + 1), as in DeepSeek-V3
};

/// Parts put side by side: part i fills the places of view i; together they fill all of `size`.
template <class B, class T>
concept has_join = requires(B& b, std::vector<typename B::template buffer<T>> const& parts,
                            std::vector<strided_view> const& views) {
    { b.join(parts, views, index_t{}) } -> std::same_as<typename B::template buffer<T>>;
};

/// C += op(A) · op(B) in place, for a shape as `matmul` takes it: the sums go on from C.
template <class B, class T>
concept has_matmul_add = requires(B& b, typename B::template buffer<T> const& x,
                                  typename B::template buffer<T>& target, product_shape const& p) {
    { b.matmul_add(p, x, x, target) } -> std::same_as<void>;
};

/// Numbers as results of products are kept, which may be rounded: `as_activations` → the same
/// numbers for what later holds such results, as a cache of keys does.
template <class B, class T>
concept has_activation_storage = requires(B& b, typename B::template buffer<T> const& x) {
    { b.as_activations(x) } -> std::same_as<typename B::template buffer<T>>;
};

/// `write_rows` of two targets at the same rows, in one: keys and values.
template <class B, class T>
concept has_row_pairs =
    requires(B& b, typename B::template buffer<T>& target, typename B::template buffer<T> const& x,
             typename B::template buffer<std::int32_t> const& index) {
        {
            b.write_row_pairs(target, x, index_t{}, target, x, index_t{}, index)
        } -> std::same_as<void>;
    };

/// Rotary embedding of [tokens, heads · dim] by a table [positions, dim] of cosines beside sines;
/// the gradient is the rotation by the negative angle.
template <class B, class T>
concept has_rope = requires(B& b, typename B::template buffer<T> const& x,
                            typename B::template buffer<std::int32_t> const& positions) {
    {
        b.rope(x, x, positions, index_t{}, index_t{}, rope_pairs{}, bool{})
    } -> std::same_as<typename B::template buffer<T>>;
};

/// Queries, keys and values side by side, [tokens, (heads + 2 · key_value_heads) · head_dim]:
/// `rope_split` → {q, k, v} with q and k rotated; `rope_join` is its gradient, from those of the
/// three.
template <class B, class T>
concept has_rope_split =
    has_rope<B, T> && requires(B& b, typename B::template buffer<T> const& x,
                               std::array<typename B::template buffer<T>, 3> const& parts,
                               typename B::template buffer<std::int32_t> const& positions,
                               attention_shape const& shape) {
        {
            b.rope_split(x, x, positions, shape, rope_pairs{})
        } -> std::same_as<std::array<typename B::template buffer<T>, 3>>;
        {
            b.rope_join(parts, x, positions, shape, rope_pairs{})
        } -> std::same_as<typename B::template buffer<T>>;
    };

/// Causal attention over packed sequences: queries of sequence s are rows offsets[s] …
/// offsets[s+1]; its keys are `key_counts[s]` rows from `key_first[s]`. `attention` → {out, log Σ
/// e^score [tokens, heads]}.
template <class B, class T>
concept has_attention =
    requires(B& b, typename B::template buffer<T> const& x,
             typename B::template buffer<std::int32_t> const& i, attention_shape const& shape) {
        {
            b.attention(shape, x, x, x, i, i, i)
        } -> std::same_as<std::array<typename B::template buffer<T>, 2>>;
        {
            b.attention_backward(shape, x, x, x, x, x, x, i, i, i)
        } -> std::same_as<std::array<typename B::template buffer<T>, 3>>;
    };

/// Rows to the experts that tokens chose, and back; slot t · top + c is choice c of token t.
/// `group_by_key` sorts the slots' keys, stably → {slot at each place, place of each slot, where
/// the places of each of `groups` keys begin}; `spread_rows` gives y[place] = x[token] of each
/// slot; `combine_rows` Σ_c weight · y[place] of each token, without weights (an empty buffer) the
/// plain sum; `combine_rows_backward` → {dy, dweights}.
template <class B, class T>
concept has_expert_rows = requires(B& b, typename B::template buffer<T> const& x,
                                   typename B::template buffer<std::int32_t> const& places) {
    {
        b.group_by_key(places, index_t{})
    } -> std::same_as<std::array<typename B::template buffer<std::int32_t>, 3>>;
    {
        b.spread_rows(x, index_t{}, places, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
    {
        b.combine_rows(x, x, index_t{}, places, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
    {
        b.combine_rows_backward(x, x, x, index_t{}, places, index_t{})
    } -> std::same_as<std::array<typename B::template buffer<T>, 2>>;
};

/// Of each row of logits [rows, vocabulary]: the target's log-probability, the entropy and log Σ
/// e^z of z = logits / temperature, over all tokens or over the kept ones (`kept_offsets` [rows +
/// 1] into `kept`; an empty range keeps all).
template <class B, class T>
concept has_token_statistics = requires(B& b, typename B::template buffer<T> const& x,
                                        typename B::template buffer<std::int32_t> const& i) {
    {
        b.token_statistics(x, index_t{}, i, T{}, i, i)
    } -> std::same_as<std::array<typename B::template buffer<T>, 3>>;
    {
        b.token_statistics_backward(x, index_t{}, i, T{}, i, i, x, x, x, x)
    } -> std::same_as<typename B::template buffer<T>>;
};

/// A token from each row of logits [rows, vocabulary], by inverse transform of uniforms [rows] in
/// [0, 1): `sampler` (rollout/sampler.hpp) where the logits are. `sample_tokens` writes tokens
/// [rows] → {offsets [rows + 1], kept}: row i kept the tokens kept[offsets[i]] …
/// kept[offsets[i+1]], ascending; `kept` may be longer, and both are empty where nothing truncates.
/// A NaN among the logits and an infinite largest one throw value_error when the host next waits.
template <class B, class T>
concept has_token_sampling =
    requires(B& b, typename B::template buffer<T> const& x,
             typename B::template buffer<double> const& uniforms, sampling_options const& options,
             typename B::template buffer<std::int32_t> const& tokens) {
        {
            b.sample_tokens(x, index_t{}, uniforms, options, tokens)
        } -> std::same_as<std::array<typename B::template buffer<std::int32_t>, 2>>;
    };

/// A parameter, its gradient and its two moments, and the law (w, g, m, v) → (w, m, v) that moves
/// it on. Addresses are of the owner's buffers, which are replaced.
template <class Buffer, class Law>
struct parameter_update {
    Law law;
    Buffer gradient;
    Buffer *weight, *first_moment, *second_moment;
};

namespace detail {
struct archetype_update_law {
    template <class N>
    GROVE_HD several<N, 3> operator()(N w, N, N m, N v) const {
        return {{w, m, v}};
    }
};
struct archetype_clip {
    GROVE_HD double operator()(double) const { return 1; }
};
}  // namespace detail

/// One step of all parameters at once: each gradient, times clip(norm) of the norm √Σ g² of all, in
/// double. → the norm; where it is not finite nothing changes. Other holders of a replaced buffer
/// keep its numbers.
template <class B, class T>
concept has_updates =
    requires(B& b, std::vector<parameter_update<typename B::template buffer<T>,
                                                detail::archetype_update_law>> const& all) {
        { b.update(all, detail::archetype_clip{}) } -> std::same_as<double>;
    };

/// Work that is recorded once and launched again as a whole. `can_capture` says whether this
/// instance records at all; `capture(work)` runs work() to record it, and `launch` of the result
/// does it. Inputs come by `assign`, which writes to a buffer that stays where it is. `fetch`
/// queues a download behind it, and `await` waits for that alone, not for the launches that came
/// later.
template <class B>
concept has_graphs = requires(B& b, typename B::graph& recorded, void (*work)(),
                              typename B::template buffer<std::int32_t>& target,
                              std::span<std::int32_t const> source,
                              typename B::template arrival<std::int32_t>& arrival) {
    { b.can_capture() } -> std::same_as<bool>;
    { b.capture(work) } -> std::same_as<typename B::graph>;
    { recorded.launch() };
    { b.assign(target, source) };
    { b.fetch(target, arrival) };
    { b.await(arrival) } -> std::same_as<std::span<std::int32_t const>>;
};

/// Names of the fused operations that this backend offers for T.
template <class T = float, class B>
std::vector<std::string> capabilities(B const&) {
    std::vector<std::string> names;
    if (has_join<B, T>) names.emplace_back("join");
    if (has_rms_norm<B, T>) names.emplace_back("rms_norm");
    if (has_add_rms_norm<B, T>) names.emplace_back("add_rms_norm");
    if (has_swiglu<B, T>) names.emplace_back("swiglu");
    if (has_rope<B, T>) names.emplace_back("rope");
    if (has_rope_split<B, T>) names.emplace_back("rope_split");
    if (has_attention<B, T>) names.emplace_back("attention");
    if (has_expert_rows<B, T>) names.emplace_back("expert_rows");
    if (has_token_statistics<B, T>) names.emplace_back("token_statistics");
    if (has_token_sampling<B, T>) names.emplace_back("token_sampling");
    if (has_updates<B, T>) names.emplace_back("updates");
    if (has_graphs<B>) names.emplace_back("graphs");
    return names;
}

}  // namespace grove::inline GROVE_ISA
