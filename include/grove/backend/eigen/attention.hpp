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

/// Rows that are worked on together; their scores stay in the cache.
inline constexpr index_t query_block = 32;

/// Rows that read one key head together: queries of one head, or, where the sequence has a single
/// query, the heads of the group, so that the keys are read once for all of them.
struct query_rows {
    index_t count, query, head;  // the first row
    bool heads_together;
    attention_shape const& shape;
    attention_span const& span;

    index_t query_offset() const {
        return (span.first_query + query) * shape.query_columns() + head * shape.head_dim;
    }
    index_t query_stride() const { return heads_together ? shape.head_dim : shape.query_columns(); }
    index_t output_offset() const {
        return (span.first_query + query) * shape.output_columns() + head * shape.value_width();
    }
    index_t output_stride() const {
        return heads_together ? shape.value_width() : shape.output_columns();
    }
    index_t normalizer(index_t i) const {
        return (span.first_query + query) * shape.heads + head +
               i * (heads_together ? 1 : shape.heads);
    }
    /// Keys that row i sees.
    index_t visible(index_t i) const { return span.visible(heads_together ? 0 : query + i); }
    index_t visible() const { return visible(count - 1); }
};

/// Calls body(query_rows) for all rows of a sequence that read `key_head`.
template <class Body>
void each_query_rows(attention_shape const& shape, attention_span const& span, index_t key_head,
                     Body&& body) {
    bool const together = span.queries == 1;
    index_t const first = key_head * shape.group(), end = first + shape.group();
    for (index_t h = first; h < end; h += together ? query_block : 1)
        for (index_t i = 0; i < span.queries; i += query_block) {
            index_t const count = std::min(query_block, together ? end - h : span.queries - i);
            body(query_rows{count, i, h, together, shape, span});
        }
}

/// All heads that share one key head, for one sequence. Writes out [tokens, heads · value_width]
/// and log_normalizer [tokens, heads] (log Σ e^score) for these rows.
template <class T>
void attend(attention_shape const& shape, attention_span const& span, index_t key_head, T const* q,
            T const* k, T const* v, T* out, T* log_normalizer) {
    index_t const dim = shape.head_dim, width = shape.value_width();
    T const scale = shape.score_factor<T>();
    T const* keys = k + span.first_key * shape.key_columns() + key_head * dim;
    T const* values = v + span.first_key * shape.value_columns() + key_head * shape.value_step();
    T* panels = scratch<T, 2>(packed_size<T>(dim, span.keys));
    fill_panels<T>({keys, 1, shape.key_columns()}, dim, span.keys, panels);
    T* scores = scratch<T, 3>(query_block * span.keys);
    each_query_rows(shape, span, key_head, [&](query_rows const& rows) {
        index_t const seen_by_all = rows.visible(), stride = rows.output_stride();
        multiply_packed<T>({q + rows.query_offset(), rows.query_stride(), 1}, rows.count, dim,
                           panels, seen_by_all, scores, span.keys, false);
        T* target = out + rows.output_offset();
        T sums[query_block];
        for (index_t i = 0; i < rows.count; ++i) {
            T* row = scores + i * span.keys;
            index_t const seen = rows.visible(i);
            auto const [top, sum] = exponentiate_row(row, seen, scale);
            std::fill(row + seen, row + seen_by_all, T(0));
            sums[i] = sum;
            log_normalizer[rows.normalizer(i)] = top + math::log(sum);
        }
        multiply<T>({scores, span.keys, 1}, {values, shape.value_columns(), 1}, rows.count, width,
                    seen_by_all, target, stride, false);
        for (index_t i = 0; i < rows.count; ++i) {
            T* row = target + i * stride;
            pack<T> const inverse(T(1) / sums[i]);
            for_each_pack<T>(width, [&](index_t j, int count) {
                store_pack(load_pack(row + j, count) * inverse, row + j, count);
            });
        }
    });
}

/// Gradients of `attend`. dk and dv rows of this key head are accumulated over its query heads and
/// must be zero before; dq rows are written.
template <class T>
void attend_backward(attention_shape const& shape, attention_span const& span, index_t key_head,
                     T const* q, T const* k, T const* v, T const* out, T const* log_normalizer,
                     T const* g, T* dq, T* dk, T* dv) {
    index_t const dim = shape.head_dim, width = shape.value_width(), stride = span.keys;
    index_t const k_columns = shape.key_columns(), v_columns = shape.value_columns();
    T const scale = shape.score_factor<T>();
    index_t const k_offset = span.first_key * k_columns + key_head * dim;
    index_t const v_offset = span.first_key * v_columns + key_head * shape.value_step();
    T* key_panels = scratch<T, 2>(packed_size<T>(dim, span.keys));
    fill_panels<T>({k + k_offset, 1, k_columns}, dim, span.keys, key_panels);
    T* value_panels = scratch<T, 4>(packed_size<T>(width, span.keys));
    fill_panels<T>({v + v_offset, 1, v_columns}, width, span.keys, value_panels);
    T* p = scratch<T, 3>(query_block * span.keys);
    T* dp = scratch<T, 5>(query_block * span.keys);
    each_query_rows(shape, span, key_head, [&](query_rows const& rows) {
        index_t const seen = rows.visible(), count = rows.count;
        matrix_view<T> const queries{q + rows.query_offset(), rows.query_stride(), 1};
        matrix_view<T> const gradient{g + rows.output_offset(), rows.output_stride(), 1};
        multiply_packed<T>(queries, count, dim, key_panels, seen, p, stride, false);
        multiply_packed<T>(gradient, count, width, value_panels, seen, dp, stride, false);
        for (index_t i = 0; i < count; ++i) {
            index_t const visible = rows.visible(i);
            index_t const row = rows.output_offset() + i * rows.output_stride();
            pack<T> const log_sum(-log_normalizer[rows.normalizer(i)]);
            pack<T> const mean(dot_row(g + row, out + row, width));
            T* pi = p + i * stride;
            T* di = dp + i * stride;
            for_each_pack<T>(visible, [&](index_t j, int lanes) {
                pack<T> const probability =
                    math::exp(math::fma(load_pack(pi + j, lanes), pack<T>(scale), log_sum));
                store_pack(probability, pi + j, lanes);
                store_pack(probability * (load_pack(di + j, lanes) - mean) * pack<T>(scale), di + j,
                           lanes);
            });
            std::fill(pi + visible, pi + seen, T(0));
            std::fill(di + visible, di + seen, T(0));
        }
        matrix_view<T> const scores{dp, stride, 1}, probabilities{p, stride, 1};
        multiply<T>(scores, {k + k_offset, k_columns, 1}, count, dim, seen,
                    dq + rows.query_offset(), rows.query_stride(), false);
        multiply<T>(scores.transposed(), queries, seen, dim, count, dk + k_offset, k_columns, true);
        multiply<T>(probabilities.transposed(), gradient, seen, width, count, dv + v_offset,
                    v_columns, true);
    });
}

}  // namespace grove::inline GROVE_ISA::detail
