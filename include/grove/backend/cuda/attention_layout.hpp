// SPDX-License-Identifier: Apache-2.0
/// @file
/// Extents of an attention and its packed sequences, as kernels see them.
///
/// The query heads that share a key head are worked on together: a sequence has `queries · group`
/// rows for each key head, row r being member r % group of token r / group.
#pragma once

#include <cstdint>
#include <type_traits>

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/cuda/panel.hpp"
#include "grove/backend/cuda/rows.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA::detail {

/// What products of T are summed in.
template <class T>
using sum_type = std::conditional_t<std::is_same_v<T, bf16>, float, T>;
/// A sum as T holds it.
template <class T>
__device__ T rounded_to(sum_type<T> x) {
    if constexpr (std::is_same_v<T, bf16>)
        return __float2bfloat16_rn(x);
    else
        return x;
}

/// Rows of one sequence; its last query sees all of its keys, the one before one less.
struct key_span {
    index_t sequence, first_query, queries, first_key, keys;

    /// Keys that query i sees.
    __device__ index_t visible(index_t i) const { return keys - queries + i + 1; }
};

/// Extents, and offsets on the device. What they say is clamped to the memory that there is.
struct attention_extents {
    int dim, width, group;
    quick_divisor of_group;
    bool values_in_keys;  ///< the keys' first columns
    index_t heads, key_heads, query_columns, key_columns, value_columns, value_step, output_columns;
    index_t tokens, key_rows, sequences;
    std::int32_t const *offsets, *key_first, *key_counts;
    fault_report report;

    static attention_extents of(attention_shape const& shape) {
        attention_extents e{};
        e.dim = static_cast<int>(shape.head_dim);
        e.width = static_cast<int>(shape.value_width());
        e.group = static_cast<int>(shape.group());
        e.of_group = quick_divisor::by(shape.group());
        e.values_in_keys = shape.values_in_keys;
        e.heads = shape.heads;
        e.key_heads = shape.key_value_heads;
        e.query_columns = shape.query_columns();
        e.key_columns = shape.key_columns();
        e.value_columns = shape.value_columns();
        e.value_step = shape.value_step();
        e.output_columns = shape.output_columns();
        return e;
    }

    __device__ index_t first_query(index_t s) const { return clamp_row(offsets[s], tokens); }
    __device__ index_t queries(index_t s) const {
        index_t const begin = first_query(s), end = first_query(s + 1);
        return end > begin ? end - begin : 0;
    }
    __device__ index_t keys(index_t s) const {
        return clamp_row(key_counts[s], key_rows - clamp_row(key_first[s], key_rows));
    }
    __device__ key_span span(index_t s) const {
        return {s, first_query(s), queries(s), clamp_row(key_first[s], key_rows), keys(s)};
    }
    /// The rows of the sequence that a token belongs to.
    __device__ key_span owner(index_t token) const {
        if (token < sequences) {  // as in decoding: it need not be searched for
            auto const own = span(token);
            if (own.first_query == token && own.queries == 1) return own;
        }
        index_t const s = count_below(offsets + 1, sequences, token, true);
        return span(s < sequences ? s : sequences - 1);
    }
    /// Reports what is wrong; by the threads of one block.
    __device__ void check() const {
        offset_fault const fault{offsets, sequences, tokens};
        for (index_t s = threadIdx.x; s <= sequences; s += blockDim.x) {
            if (fault(s)) report.offsets(tokens);
            if (s == sequences) continue;
            index_t const first = key_first[s], count = key_counts[s];
            if (first < 0 || count < 0 || first + count > key_rows)
                report.index(first < 0 || count < 0 ? first : first + count - 1, key_rows, s);
            else if (count < queries(s))
                report.index(count - queries(s), key_rows, s);
        }
    }

    /// The token of row r, counted from its sequence's first; rows are fewer than 2³¹.
    __device__ unsigned member_token(index_t r) const {
        return of_group.quotient(static_cast<unsigned>(r));
    }

    // Addresses, of row r of a key head's rows in a sequence, and of a key.
    __device__ index_t token(key_span const& s, index_t r) const {
        return s.first_query + member_token(r);
    }
    __device__ index_t head(index_t key_head, index_t r) const {
        return key_head * group + (r - index_t{member_token(r)} * group);
    }
    __device__ index_t query(key_span const& s, index_t key_head, index_t r) const {
        return token(s, r) * query_columns + head(key_head, r) * dim;
    }
    __device__ index_t output(key_span const& s, index_t key_head, index_t r) const {
        return token(s, r) * output_columns + head(key_head, r) * width;
    }
    __device__ index_t normalizer(key_span const& s, index_t key_head, index_t r) const {
        return token(s, r) * heads + head(key_head, r);
    }
    __device__ index_t key(key_span const& s, index_t key_head, index_t j) const {
        return (s.first_key + j) * key_columns + key_head * dim;
    }
    __device__ index_t value(key_span const& s, index_t key_head, index_t j) const {
        return (s.first_key + j) * value_columns + key_head * value_step;
    }

    // Where rows [first, first + count) of queries and gradients lie, and keys and values.
    template <class T>
    __device__ row_source<T> queries_at(T const* q, key_span const& s, index_t key_head,
                                        index_t first, int count) const {
        return members_at(q + key_head * group * dim, s, first, count, query_columns, dim);
    }
    template <class T>
    __device__ row_source<T> outputs_at(T const* g, key_span const& s, index_t key_head,
                                        index_t first, int count) const {
        return members_at(g + key_head * group * width, s, first, count, output_columns, width);
    }
    template <class T>
    __device__ row_source<T> keys_at(T const* k, key_span const& s, index_t key_head,
                                     index_t first) const {
        return {k + key(s, key_head, first), key_columns};
    }
    template <class T>
    __device__ row_source<T> values_at(T const* v, key_span const& s, index_t key_head,
                                       index_t first) const {
        return {v + value(s, key_head, first), value_columns};
    }

private:
    template <class T>
    __device__ row_source<T> members_at(T const* x, key_span const& s, index_t first, int count,
                                        index_t columns, int size) const {
        index_t const member = first - index_t{member_token(first)} * group;
        T const* const of_token = x + token(s, first) * columns;
        if (group == 1) return {of_token, columns};
        bool const in_a_row = member + count <= group || columns == index_t{group} * size;
        if (in_a_row) return {of_token + member * size, size};
        return {of_token, columns, of_group, static_cast<unsigned>(member), size};
    }
};

/// Rows [first, first + rows) of a sequence for one key head; none where `rows` is 0.
struct attention_tile {
    key_span span;
    index_t first;
    int rows;
};

/// Which rows each block takes. The host knows how many tiles there are at most.
struct attention_tiling {
    enum class unit { token, queries, keys };
    unit of;
    quick_divisor rows;
    index_t tiles;

    /// Tiles that end with their token where `by_token`, else with their sequence.
    static attention_tiling of_queries(attention_extents const& e, int rows, bool by_token) {
        auto const of_rows = quick_divisor::by(rows);
        if (by_token) return {unit::token, of_rows, e.tokens * ((e.group + rows - 1) / rows)};
        index_t const whole = e.tokens * e.group / rows;
        return {unit::queries, of_rows, whole + (e.sequences < e.tokens ? e.sequences : e.tokens)};
    }
    static attention_tiling of_keys(attention_extents const& e, int rows) {
        index_t const whole = e.key_rows / rows;
        return {unit::keys, quick_divisor::by(rows),
                whole + (e.sequences < e.key_rows ? e.sequences : e.key_rows)};
    }

    /// By all lanes of a warp.
    __device__ attention_tile find(attention_extents const& e, index_t tile) const {
        auto const parts_of = [&](index_t count) {
            return rows.quotient(static_cast<unsigned>(count) + rows.divisor - 1);
        };
        index_t const most = rows.divisor;
        if (of == unit::token) {
            auto const parts = parts_of(e.group);
            auto const token = static_cast<unsigned>(tile) / parts;
            auto const span = e.owner(token);
            index_t const from = (tile - index_t{token} * parts) * most;
            index_t const left = e.group - from;
            return {span, (token - span.first_query) * e.group + from,
                    static_cast<int>(left < most ? left : most)};
        }
        auto const extent = [&](index_t s) {
            return of == unit::keys ? e.keys(s) : e.queries(s) * e.group;
        };
        auto const found =
            nth_item(tile, e.sequences, [&](index_t s) { return index_t{parts_of(extent(s))}; });
        if (found.group < 0) return {};
        index_t const first = found.item * most, left = extent(found.group) - first;
        return {e.span(found.group), first, static_cast<int>(left < most ? left : most)};
    }
};

}  // namespace grove::inline GROVE_ISA::detail
