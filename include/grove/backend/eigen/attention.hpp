// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal grouped-query attention over packed sequences, without a [tokens × tokens] matrix.
///
/// Scores and outputs are products of product.hpp, and each row's softmax reads that row's keys
/// alone: a query has the same bits whether its keys are fresh or cached, and whatever else is in
/// the batch.
#pragma once

#include "grove/backend/eigen/product.hpp"
#include "grove/backend/eigen/rows.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA::detail {

/// One sequence of a batch: `queries` rows from `first_query`, whose last one sees all of the
/// `keys` rows from `first_key`; the one before sees one key less, and so on.
struct attention_span {
    index_t first_query, queries, first_key, keys;

    /// Keys that query i of this sequence sees.
    index_t visible(index_t i) const { return keys - queries + i + 1; }
};

/// Query rows that are worked on together; their scores stay in the cache.
inline constexpr index_t query_block = 32;

/// All heads that share one key head, for one sequence. Writes out [tokens, heads · head_dim] and
/// log_normalizer [tokens, heads] (log Σ e^score) for these rows.
template <class T>
void attend(attention_shape const& shape, attention_span const& span, index_t key_head, T const* q,
            T const* k, T const* v, T* out, T* log_normalizer) {
    index_t const dim = shape.head_dim, q_columns = shape.query_columns();
    index_t const kv_columns = shape.key_columns();
    T const scale = T(1) / math::sqrt(static_cast<T>(dim));
    T const* keys = k + span.first_key * kv_columns + key_head * dim;
    T const* values = v + span.first_key * kv_columns + key_head * dim;
    T* panels = scratch<T, 2>(packed_size<T>(dim, span.keys));
    fill_panels<T>({keys, 1, kv_columns}, dim, span.keys, panels);
    T* scores = scratch<T, 3>(query_block * span.keys);
    for (index_t h = key_head * shape.group(); h < (key_head + 1) * shape.group(); ++h)
        for (index_t i0 = 0; i0 < span.queries; i0 += query_block) {
            index_t const rows = std::min(query_block, span.queries - i0);
            index_t const row0 = span.first_query + i0;
            index_t const keys_seen = span.visible(i0 + rows - 1);
            multiply_packed<T>({q + row0 * q_columns + h * dim, q_columns, 1}, rows, dim, panels,
                               keys_seen, scores, span.keys, false);
            T* target = out + row0 * q_columns + h * dim;
            T sums[query_block];
            for (index_t i = 0; i < rows; ++i) {
                T* row = scores + i * span.keys;
                index_t const seen = span.visible(i0 + i);
                auto const [top, sum] = exponentiate_row(row, seen, scale);
                std::fill(row + seen, row + keys_seen, T(0));
                sums[i] = sum;
                log_normalizer[(row0 + i) * shape.heads + h] = top + math::log(sum);
            }
            multiply<T>({scores, span.keys, 1}, {values, kv_columns, 1}, rows, dim, keys_seen,
                        target, q_columns, false);
            for (index_t i = 0; i < rows; ++i) {
                T* row = target + i * q_columns;
                pack<T> const inverse(T(1) / sums[i]);
                for_each_pack<T>(dim, [&](index_t j, int count) {
                    store_pack(load_pack(row + j, count) * inverse, row + j, count);
                });
            }
        }
}

/// Gradients of `attend`. dk and dv rows of this key head are accumulated over its query heads and
/// must be zero before; dq rows are written.
template <class T>
void attend_backward(attention_shape const& shape, attention_span const& span, index_t key_head,
                     T const* q, T const* k, T const* v, T const* out, T const* log_normalizer,
                     T const* g, T* dq, T* dk, T* dv) {
    index_t const dim = shape.head_dim, q_columns = shape.query_columns();
    index_t const kv_columns = shape.key_columns();
    T const scale = T(1) / math::sqrt(static_cast<T>(dim));
    index_t const key_offset = span.first_key * kv_columns + key_head * dim;
    T* key_panels = scratch<T, 2>(packed_size<T>(dim, span.keys));
    fill_panels<T>({k + key_offset, 1, kv_columns}, dim, span.keys, key_panels);
    T* value_panels = scratch<T, 4>(packed_size<T>(dim, span.keys));
    fill_panels<T>({v + key_offset, 1, kv_columns}, dim, span.keys, value_panels);
    T* p = scratch<T, 3>(query_block * span.keys);
    T* dp = scratch<T, 5>(query_block * span.keys);
    for (index_t h = key_head * shape.group(); h < (key_head + 1) * shape.group(); ++h)
        for (index_t i0 = 0; i0 < span.queries; i0 += query_block) {
            index_t const rows = std::min(query_block, span.queries - i0);
            index_t const row0 = span.first_query + i0, offset = row0 * q_columns + h * dim;
            index_t const seen = span.visible(i0 + rows - 1), stride = span.keys;
            multiply_packed<T>({q + offset, q_columns, 1}, rows, dim, key_panels, seen, p, stride,
                               false);
            multiply_packed<T>({g + offset, q_columns, 1}, rows, dim, value_panels, seen, dp,
                               stride, false);
            for (index_t i = 0; i < rows; ++i) {
                index_t const visible = span.visible(i0 + i);
                pack<T> const log_sum(-log_normalizer[(row0 + i) * shape.heads + h]);
                pack<T> const mean(
                    dot_row(g + offset + i * q_columns, out + offset + i * q_columns, dim));
                T* pi = p + i * stride;
                T* di = dp + i * stride;
                for_each_pack<T>(visible, [&](index_t j, int count) {
                    pack<T> const probability =
                        math::exp(math::fma(load_pack(pi + j, count), pack<T>(scale), log_sum));
                    store_pack(probability, pi + j, count);
                    store_pack(probability * (load_pack(di + j, count) - mean) * pack<T>(scale),
                               di + j, count);
                });
                std::fill(pi + visible, pi + seen, T(0));
                std::fill(di + visible, di + seen, T(0));
            }
            matrix_view<T> const scores{dp, stride, 1}, probabilities{p, stride, 1};
            multiply<T>(scores, {k + key_offset, kv_columns, 1}, rows, dim, seen, dq + offset,
                        q_columns, false);
            multiply<T>(scores.transposed(), {q + offset, q_columns, 1}, seen, dim, rows,
                        dk + key_offset, kv_columns, true);
            multiply<T>(probabilities.transposed(), {g + offset, q_columns, 1}, seen, dim, rows,
                        dv + key_offset, kv_columns, true);
        }
}

}  // namespace grove::inline GROVE_ISA::detail
