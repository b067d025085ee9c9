// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gradients of keys and values where the query heads of a group are worked on apart.
#pragma once

#include "grove/backend/cuda/attention_layout.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Gradients [group, keys] of keys and of values, by each query head of a group; or [keys], where
/// one after the other adds to them.
struct head_partials {
    float *dk = nullptr, *dv = nullptr;
    index_t keys = 0, values = 0;  ///< numbers of one query head; 0 where they add up

    __host__ __device__ bool are_apart() const { return keys != 0; }
};

/// Adds what the query heads of a group give, in their order, and rounds the sum to T: a block for
/// each tile of keys.
template <class T>
struct head_sums {
    static constexpr int threads = 256;
    attention_extents e;
    attention_tiling tiling;
    head_partials partials;
    T *dk, *dv;

    index_t blocks() const { return tiling.tiles * e.key_heads; }
    __device__ void operator()(index_t block) const {
        auto const tile = tiling.find(e, block % tiling.tiles);
        index_t const key_head = block / tiling.tiles;
        auto const add = [&](T* y, float const* parts, index_t apart, int width, auto place) {
            for (int i = static_cast<int>(threadIdx.x); i < tile.rows * width; i += threads) {
                index_t const at = place(tile.first + i / width) + i % width;
                float sum = parts[at];
                for (int head = 1; head < e.group; ++head)
                    sum = add_rounded(sum, parts[head * apart + at]);
                y[at] = rounded_to<T>(sum);
            }
        };
        add(dk, partials.dk, partials.keys, e.dim,
            [&](index_t j) { return e.key(tile.span, key_head, j); });
        add(dv, partials.dv, partials.values, e.width,
            [&](index_t j) { return e.value(tile.span, key_head, j); });
    }
};

}  // namespace grove::inline GROVE_ISA::detail
