// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rotary position embedding (Su et al. 2021).
#pragma once

#include <cmath>
#include <optional>

#include "grove/backend/refinement.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/rope_scaling.hpp"

namespace grove::inline GROVE_ISA {

/// Cosines beside sines of p · frequencyⱼ, times the amplitude, for positions p < count and pairs
/// j < dim / 2: [count, dim]. Computed in double.
template <class T, class B>
tensor<B, T> rope_table(B& backend, index_t count, rope_frequencies const& frequencies) {
    std::size_t const half = frequencies.per_position.size();
    std::vector<T> table(static_cast<std::size_t>(count) * 2 * half);
    for (std::size_t p = 0; p < static_cast<std::size_t>(count); ++p)
        for (std::size_t j = 0; j < half; ++j) {
            double const angle = static_cast<double>(p) * frequencies.per_position[j];
            table[2 * half * p + j] = static_cast<T>(frequencies.amplitude * std::cos(angle));
            table[2 * half * p + half + j] =
                static_cast<T>(frequencies.amplitude * std::sin(angle));
        }
    return from_host(backend, {count, static_cast<index_t>(2 * half)}, table);
}
/// The same for the standard frequencies θ^(−2j/dim).
template <class T, class B>
tensor<B, T> rope_table(B& backend, index_t count, index_t dim, double theta = 10000.0) {
    return rope_table<T>(backend, count, rope_frequencies_of({}, dim, theta, count));
}

/// `rope` composed from primitives.
template <class B, class T>
tensor<B, T> rope_composite(tensor<B, T> const& x, tensor<B, T> const& table,
                            index_tensor<B> const& positions, index_t heads,
                            rope_pairs pairs = rope_pairs::halves) {
    index_t const tokens = positions.size(), dim = table.columns(), half = dim / 2;
    auto const angles = gather_rows(table, positions);
    auto const c = slice_columns(angles, 0, half), s = slice_columns(angles, half, half);
    bool const halves = pairs == rope_pairs::halves;
    // Column i of member 0 or 1 of the pairs of head h lies at h · dim + member · to + i · step.
    index_t const step = halves ? 1 : 2, to = halves ? half : 1;
    auto const view = [&](index_t h, index_t member) {
        return strided_view{h * dim + member * to, {tokens, half}, {heads * dim, step}};
    };
    B& backend = x.backend();
    std::optional<tensor<B, T>> y;
    auto const place = [&](tensor<B, T> const& part, index_t h, index_t member) {
        tensor<B, T> const whole{backend,
                                 backend.strided_place(part.buffer(), view(h, member), x.size()),
                                 {tokens, heads * dim}};
        y = y ? *y + whole : whole;
    };
    for (index_t h = 0; h < heads; ++h) {
        auto const part = [&](index_t member) {
            return tensor<B, T>{
                backend, backend.strided_read(x.buffer(), view(h, member)), {tokens, half}};
        };
        auto const a = part(0), b = part(1);
        place(a * c - b * s, h, 0);
        place(b * c + a * s, h, 1);
    }
    return *y;
}

/// Rotates each head of x [tokens, heads · dim] by its token's position; `table` from rope_table,
/// which must reach beyond the largest position (value_error otherwise).
template <class B, class T>
tensor<B, T> rope(tensor<B, T> const& x, tensor<B, T> const& table,
                  index_tensor<B> const& positions, index_t heads,
                  rope_pairs pairs = rope_pairs::halves) {
    index_t const dim = table.columns();
    require<shape_error>(heads > 0 && x.rows() == positions.size() && x.columns() == heads * dim,
                         "rope", "expected [", positions.size(), ", ", heads * dim, "], got ",
                         x.extents());
    if constexpr (has_rope<B, T>) {
        return {x.backend(),
                x.backend().rope(x.buffer(), table.buffer(), positions.buffer(), heads, dim, pairs,
                                 false),
                x.extents()};
    } else {
        return rope_composite(x, table, positions, heads, pairs);
    }
}

/// {queries, keys, values} that lie side by side in x [tokens, query + 2 · key columns]; queries
/// and keys rotated as by `rope`. Throws as that does.
template <class B, class T>
std::array<tensor<B, T>, 3> rope_split(tensor<B, T> const& x, tensor<B, T> const& table,
                                       index_tensor<B> const& positions,
                                       attention_shape const& shape,
                                       rope_pairs pairs = rope_pairs::halves) {
    index_t const tokens = positions.size(), queries = shape.query_columns(),
                  keys = shape.key_columns();
    require<shape_error>(shape.head_dim == table.columns() &&
                             x.extents() == grove::shape{tokens, queries + 2 * keys},
                         "rope_split", "expected [", tokens, ", ", queries + 2 * keys,
                         "] for heads of ", table.columns(), " columns, got ", x.extents());
    if constexpr (has_rope_split<B, T>) {
        auto const y =
            x.backend().rope_split(x.buffer(), table.buffer(), positions.buffer(), shape, pairs);
        auto const part = [&](std::size_t i, index_t columns) {
            return tensor<B, T>{x.backend(), y[i], {tokens, columns}};
        };
        return {part(0, queries), part(1, keys), part(2, keys)};
    } else {
        auto const [q, k, v] = split_columns(x, std::array{queries, keys, keys});
        return {rope(q, table, positions, shape.heads, pairs),
                rope(k, table, positions, shape.key_value_heads, pairs), v};
    }
}

}  // namespace grove::inline GROVE_ISA
