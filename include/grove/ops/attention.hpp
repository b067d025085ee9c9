// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention over packed sequences, with fresh or cached keys.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>

#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/product.hpp"
#include "grove/ops/softmax.hpp"

namespace grove::inline GROVE_ISA {

/// Which rows belong together. Queries of sequence s are rows offsets[s] … offsets[s+1]; the last
/// of them sees all of `key_counts[s]` key rows from row `key_first[s]`, the one before sees one
/// less, and so on.
struct attention_layout {
    std::vector<std::int32_t> offsets{0};
    std::vector<std::int32_t> key_first;
    std::vector<std::int32_t> key_counts;

    index_t sequences() const { return static_cast<index_t>(key_first.size()); }
    index_t tokens() const { return offsets.back(); }

    /// Adds a sequence of `queries` tokens whose keys are `keys` rows from `first_key`.
    void add(index_t queries, index_t first_key, index_t keys) {
        require<shape_error>(queries >= 0 && keys >= queries, "attention_layout",
                             "expected at least as many keys as queries, got ", keys, " for ",
                             queries);
        offsets.push_back(offsets.back() + static_cast<std::int32_t>(queries));
        key_first.push_back(static_cast<std::int32_t>(first_key));
        key_counts.push_back(static_cast<std::int32_t>(keys));
    }
    /// Whether no key row belongs to two sequences: what a gradient by the keys needs.
    bool keys_are_disjoint() const {
        std::vector<std::size_t> order(key_first.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(),
                  [&](auto a, auto b) { return key_first[a] < key_first[b]; });
        for (std::size_t i = 1; i < order.size(); ++i)
            if (key_first[order[i - 1]] + key_counts[order[i - 1]] > key_first[order[i]])
                return false;
        return true;
    }
    /// Sequences of these lengths whose keys are their own tokens.
    static attention_layout packed(std::vector<std::int32_t> const& lengths) {
        attention_layout layout;
        for (auto n : lengths) layout.add(n, layout.tokens(), n);
        return layout;
    }
};

/// `attention` composed from primitives, sequence by sequence.
template <class B, class T>
tensor<B, T> attention_composite(attention_shape const& shape, tensor<B, T> const& q,
                                 tensor<B, T> const& k, tensor<B, T> const& v,
                                 attention_layout const& layout) {
    B& b = q.backend();
    T const scale = shape.score_factor<T>();
    index_t const width = shape.value_width();
    std::vector<tensor<B, T>> outputs;
    for (std::size_t s = 0; s < layout.key_first.size(); ++s) {
        index_t const first = layout.offsets[s], n = layout.offsets[s + 1] - first;
        index_t const m = layout.key_counts[s];
        if (n == 0) continue;
        // [n, heads · dim] → [heads, n, dim]; key heads are repeated for their group.
        auto split = [&](tensor<B, T> const& x, index_t from, index_t rows, index_t heads) {
            return swap_leading(
                slice_rows(x, from, rows).reshape({rows, heads, x.columns() / heads}));
        };
        std::vector<std::int32_t> owner;
        for (index_t h = 0; h < shape.heads; ++h)
            owner.push_back(static_cast<std::int32_t>(h / shape.group()));
        auto const owners = indices_from(b, owner);
        auto repeat = [&](tensor<B, T> const& x) {
            auto const heads = split(x, layout.key_first[s], m, shape.key_value_heads);
            index_t const dim = heads.columns();
            return gather_rows(heads.reshape({shape.key_value_heads, m * dim}), owners)
                .reshape({shape.heads, m, dim});
        };
        auto values = [&] {
            auto const all = repeat(v);
            if (all.columns() == width) return all;
            return slice_columns(all, 0, width).reshape({shape.heads, m, width});
        };
        std::vector<T> mask(static_cast<std::size_t>(n * m));
        for (index_t i = 0; i < n; ++i)
            for (index_t j = 0; j < m; ++j)
                mask[static_cast<std::size_t>(i * m + j)] = j <= m - n + i ? T(1) : T(0);
        auto const scores = affine(
            matmul(split(q, first, n, shape.heads), repeat(k), transpose::no, transpose::yes),
            scale);
        auto const masked = map(law::keep_where<T>{-std::numeric_limits<T>::infinity()},
                                scores.reshape({shape.heads, n * m}), from_host(b, {n * m}, mask));
        auto const weights = softmax(masked.reshape({shape.heads, n, m}));
        outputs.push_back(
            swap_leading(matmul(weights, values())).reshape({n, shape.output_columns()}));
    }
    return outputs.empty() ? zeros<T>(b, {0, shape.output_columns()}) : concatenate_rows(outputs);
}

namespace detail {
/// Throws shape_error unless queries, keys and values have the columns that the shape says.
template <class B, class T>
void check_attention(attention_shape const& shape, tensor<B, T> const& q, tensor<B, T> const& k,
                     tensor<B, T> const& v) {
    require<shape_error>(
        shape.head_dim > 0 && shape.key_value_heads > 0 && shape.heads % shape.key_value_heads == 0,
        "attention", "expected heads in equal groups, got ", shape.heads, " query heads of ",
        shape.head_dim, " for ", shape.key_value_heads, " key heads");
    require<shape_error>(q.columns() == shape.query_columns(), "attention", "expected queries of ",
                         shape.query_columns(), " columns, got ", q.extents());
    require<shape_error>(
        shape.value_dim >= 0 && (!shape.values_in_keys || shape.value_width() <= shape.head_dim),
        "attention", "expected values of at most ", shape.head_dim, " columns, got ",
        shape.value_dim);
    require<shape_error>(k.columns() == shape.key_columns() && v.rows() == k.rows() &&
                             v.columns() == shape.value_columns(),
                         "attention", "expected keys of ", shape.key_columns(),
                         " columns and as many values of ", shape.value_columns(), ", got ",
                         k.extents(), " and ", v.extents());
}
/// Throws shape_error unless a layout is of `queries` rows and within `keys` rows.
inline void check_layout(attention_layout const& layout, index_t queries, index_t keys) {
    require<shape_error>(queries == layout.tokens(), "attention", "expected queries of ",
                         layout.tokens(), " tokens, got ", queries);
    for (std::size_t s = 0; s < layout.key_first.size(); ++s)
        require<shape_error>(
            layout.key_first[s] >= 0 && layout.key_first[s] + layout.key_counts[s] <= keys,
            "attention", "expected keys within ", keys, " rows, got ", layout.key_counts[s],
            " from row ", layout.key_first[s]);
}
/// Throws value_error where two sequences share keys, of which there is no gradient.
inline void check_disjoint(attention_layout const& layout) {
    require<value_error>(layout.keys_are_disjoint(), "attention",
                         "expected sequences with keys of their own under autodiff, got shared "
                         "ones");
}
}  // namespace detail

/// An attention_layout on a backend, so that all layers of a pass share one upload.
template <class B>
struct placed_layout {
    typename B::template buffer<std::int32_t> offsets, key_first, key_counts;

    static placed_layout of(B& b, attention_layout const& layout) {
        return with(b, layout, {}).first;
    }
    /// With more indices in the same upload.
    static std::pair<placed_layout, typename B::template buffer<std::int32_t>> with(
        B& b, attention_layout const& layout, std::vector<std::int32_t> const& more) {
        auto all = layout.offsets;
        for (auto const* part : {&layout.key_first, &layout.key_counts, &more})
            all.insert(all.end(), part->begin(), part->end());
        auto const whole = b.upload(std::span<std::int32_t const>(all));
        index_t const n = layout.sequences(), first = n + 1;
        return {{b.slice(whole, 0, first), b.slice(whole, first, n), b.slice(whole, first + n, n)},
                b.slice(whole, first + 2 * n, static_cast<index_t>(more.size()))};
    }
};

/// What an attention leaves for its gradient: the output [tokens, heads · value_width] and log Σ
/// e^score [tokens, heads].
template <class B, class T>
struct attention_result {
    tensor<B, T> output;
    typename B::template buffer<T> log_normalizer;
};

/// `attention` with a layout that is on the backend, and what its gradient needs; a layout that
/// does not fit is the backend's to report.
template <class B, class T>
attention_result<B, T> attention_with_normalizer(attention_shape const& shape,
                                                 tensor<B, T> const& q, tensor<B, T> const& k,
                                                 tensor<B, T> const& v,
                                                 placed_layout<B> const& layout)
    requires has_attention<B, T>
{
    detail::check_attention(shape, q, k, v);
    auto [out, normalizer] =
        q.backend().attention(shape, q.buffer(), k.buffer(), v.buffer(), layout.offsets,
                              layout.key_first, layout.key_counts);
    return {{q.backend(), std::move(out), {q.rows(), shape.output_columns()}},
            std::move(normalizer)};
}
/// The output alone.
template <class B, class T>
tensor<B, T> attention(attention_shape const& shape, tensor<B, T> const& q, tensor<B, T> const& k,
                       tensor<B, T> const& v, placed_layout<B> const& layout)
    requires has_attention<B, T>
{
    return attention_with_normalizer(shape, q, k, v, layout).output;
}
/// The output of an attention whose result is `known`, as a tape sees it: nothing is computed
/// before its gradient is.
template <class B, class T>
tensor<autodiff<B>, T> known_attention(attention_shape const& shape,
                                       tensor<autodiff<B>, T> const& q,
                                       tensor<autodiff<B>, T> const& k,
                                       tensor<autodiff<B>, T> const& v,
                                       placed_layout<B> const& layout,
                                       attention_result<B, T> const& known)
    requires has_attention<B, T>
{
    detail::check_attention(shape, q, k, v);
    return {q.backend(),
            q.backend().known_attention(shape, q.buffer(), k.buffer(), v.buffer(), {layout.offsets},
                                        {layout.key_first}, {layout.key_counts},
                                        {known.output.buffer(), known.log_normalizer}),
            known.output.extents()};
}

/// softmax(q kᵀ · scale) v, causal, grouped queries (Ainslie et al. 2023). q [tokens, heads · dim];
/// k [key rows, key_value_heads · dim], v [key rows, key_value_heads · value_width], or k again
/// where the shape says values_in_keys; → [tokens, heads · value_width]. Throws shape_error on
/// misfits.
template <class B, class T>
tensor<B, T> attention(attention_shape const& shape, tensor<B, T> const& q, tensor<B, T> const& k,
                       tensor<B, T> const& v, attention_layout const& layout) {
    detail::check_attention(shape, q, k, v);
    detail::check_layout(layout, q.rows(), k.rows());
    if constexpr (is_autodiff<B>) detail::check_disjoint(layout);
    if constexpr (has_attention<B, T>) {
        return attention(shape, q, k, v, placed_layout<B>::of(q.backend(), layout));
    } else {
        return attention_composite(shape, q, k, v, layout);
    }
}

}  // namespace grove::inline GROVE_ISA
