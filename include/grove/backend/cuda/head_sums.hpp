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
/// some rows of each tile of keys.
template <class T>
struct head_sums {
    static constexpr int threads = 256, rows_of_block = 8;
    attention_extents e;
    attention_tiling tiling;
    head_partials partials;
    T *dk, *dv;
    int tile_rows;  ///< of the tiling

    __host__ __device__ index_t parts() const {
        return (tile_rows + rows_of_block - 1) / rows_of_block;
    }
    index_t blocks() const { return tiling.tiles * e.key_heads * parts(); }
    __device__ void operator()(index_t block) const {
        int const first = static_cast<int>(block % parts()) * rows_of_block;
        block /= parts();
        auto const tile = tiling.find(e, block % tiling.tiles);
        index_t const key_head = block / tiling.tiles;
        int const rows = min(tile.rows - first, rows_of_block);
        auto const add = [&](T* y, float const* parts, index_t apart, int width, auto place) {
            int const packets = (width + packet<float>::size - 1) / packet<float>::size;
            for (int i = static_cast<int>(threadIdx.x); i < rows * packets; i += threads) {
                index_t const row = place(tile.first + first + i / packets);
                add_heads(written(y).from(row), parts + row, apart,
                          i % packets * packet<float>::size, width);
            }
        };
        add(dk, partials.dk, partials.keys, e.dim,
            [&](index_t j) { return e.key(tile.span, key_head, j); });
        add(dv, partials.dv, partials.values, e.width,
            [&](index_t j) { return e.value(tile.span, key_head, j); });
    }

private:
    __device__ static output<float> written(float* y) { return {y, nullptr}; }
    __device__ static output<float> written(bf16* y) { return {nullptr, y}; }
    __device__ void add_heads(output<float> const& y, float const* parts, index_t apart, int first,
                              int width) const {
        bool const aligned = width % packet<float>::size == 0 && apart % packet<float>::size == 0;
        auto sum = load_packet(parts, first, width, aligned && is_aligned(parts));
#pragma unroll 4
        for (int head = 1; head < e.group; ++head) {
            float const* const next = parts + head * apart;
            auto const x = load_packet(next, first, width, aligned && is_aligned(next));
            for (int i = 0; i < packet<float>::size; ++i)
                sum.at[i] = add_rounded(sum.at[i], x.at[i]);
        }
        y.store(sum, first, width, false);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
