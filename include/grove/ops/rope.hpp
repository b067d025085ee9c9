// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rotary position embedding (Su et al. 2021), half-rotated pairs as in Llama.
#pragma once

#include <cmath>

#include "grove/backend/refinement.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"

namespace grove::inline GROVE_ISA {

/// cos(p θ^(−2j/dim)) beside sin(…) for positions p < count and pairs j < dim / 2: [count, dim].
/// Computed in double.
template <class T, class B>
tensor<B, T> rope_table(B& backend, index_t count, index_t dim, double theta = 10000.0) {
    require<configuration_error>(dim > 0 && dim % 2 == 0, "rope_table",
                                 "expected an even head dimension, got ", dim);
    std::vector<T> table(static_cast<std::size_t>(count * dim));
    for (index_t p = 0; p < count; ++p)
        for (index_t j = 0; j < dim / 2; ++j) {
            double const angle =
                static_cast<double>(p) *
                std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(dim));
            table[static_cast<std::size_t>(p * dim + j)] = static_cast<T>(std::cos(angle));
            table[static_cast<std::size_t>(p * dim + dim / 2 + j)] =
                static_cast<T>(std::sin(angle));
        }
    return from_host(backend, {count, dim}, table);
}

/// `rope` composed from primitives.
template <class B, class T>
tensor<B, T> rope_composite(tensor<B, T> const& x, tensor<B, T> const& table,
                            index_tensor<B> const& positions, index_t heads) {
    index_t const tokens = positions.size(), dim = table.columns(), half = dim / 2;
    auto const angles = gather_rows(table, positions);
    std::vector<tensor<B, T>> rotated;
    for (index_t h = 0; h < heads; ++h) {
        auto const a = slice_columns(x, h * dim, half), b = slice_columns(x, h * dim + half, half);
        auto const c = slice_columns(angles, 0, half), s = slice_columns(angles, half, half);
        rotated.push_back(a * c - b * s);
        rotated.push_back(b * c + a * s);
    }
    return concatenate_columns(rotated).reshape({tokens, heads * dim});
}

/// Rotates each head of x [tokens, heads · dim] by its token's position; `table` from rope_table,
/// which must reach beyond the largest position (value_error otherwise).
template <class B, class T>
tensor<B, T> rope(tensor<B, T> const& x, tensor<B, T> const& table,
                  index_tensor<B> const& positions, index_t heads) {
    index_t const dim = table.columns();
    require<shape_error>(x.rows() == positions.size() && x.columns() == heads * dim, "rope",
                         "expected [", positions.size(), ", ", heads * dim, "], got ", x.extents());
    if constexpr (has_rope<B, T>) {
        return {x.backend(),
                x.backend().rope(x.buffer(), table.buffer(), positions.buffer(), heads, dim, false),
                x.extents()};
    } else {
        return rope_composite(x, table, positions, heads);
    }
}

}  // namespace grove::inline GROVE_ISA
