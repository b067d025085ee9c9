// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of groups on tensor cores, whose extents only the device knows. A tile's extents follow
/// from what the host knows, and change no bit.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/few_rows.hpp"
#include "grove/backend/cuda/tile.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Rows of each group times its matrix: a block for each tile, as grouped_blocks.
template <class Plan>
struct tensor_grouped_blocks {
    static constexpr int threads = Plan::threads;
    grouped_shape g;
    float const *x, *w;
    row_groups groups;
    float* y;

    __host__ __device__ index_t across() const { return (g.n + Plan::columns - 1) / Plan::columns; }
    index_t blocks() const { return groups.tiles_at_most(Plan::rows) * across(); }
    __device__ void operator()(index_t block) const {
        constexpr bool along = Plan::right_stage::along;
        auto const [group, item] = groups.tile(block / across(), Plan::rows);
        if (group < 0) return;
        index_t const row = groups.begin(group) + item * Plan::rows;
        index_t const rows = groups.end(group) - row;
        index_t const column = block % across() * Plan::columns;
        multiply_tile<Plan>(
            {x + row * g.k, g.k, rows},
            {w + group * g.k * g.n + column * (along ? g.k : 1), along ? g.k : g.n, g.n - column},
            static_cast<int>(g.k), {y + row * g.n + column, g.n, rows, g.n - column});
    }
};

/// W[e] = X[e]ᵀ · Y[e], stored [m, n]: a block for each tile of each group.
template <class Plan>
struct tensor_outer_blocks {
    static constexpr int threads = Plan::threads;
    index_t m, n;
    float const *x, *y;
    row_groups groups;
    float* w;

    __host__ __device__ index_t down() const { return (m + Plan::rows - 1) / Plan::rows; }
    __host__ __device__ index_t across() const { return (n + Plan::columns - 1) / Plan::columns; }
    index_t blocks() const { return groups.groups * down() * across(); }
    __device__ void operator()(index_t block) const {
        index_t const e = block / (down() * across()), first = groups.begin(e);
        index_t const row = block / across() % down() * Plan::rows;
        index_t const column = block % across() * Plan::columns;
        multiply_tile<Plan>({x + first * m + row, m, m - row},
                            {y + first * n + column, n, n - column},
                            static_cast<int>(groups.size(e)),
                            {w + e * m * n + row * n + column, n, m - row, n - column});
    }
};

/// Tiles for few rows in a group, for more, and for many.
inline constexpr tensor_extents tensor_tile_of_few{16, 64, 16, 16, 32, 4, 0},
    tensor_tile_of_more{64, 64, 32, 32, 32, 4, 0}, tensor_tile_of_many{128, 128, 64, 32, 32, 3, 0};

template <class Numbers>
void multiply_groups(thrust_cuda const& system, grouped_shape const& g, float const* x,
                     float const* w, std::int32_t const* offsets, float* y) {
    auto const with = [&]<tensor_extents E, bool TransposeB>() {
        using plan = tensor_tile_plan<Numbers, E, true, TransposeB>;
        tensor_grouped_blocks<plan> const tiles{g, x, w, {offsets, g.rows, g.groups}, y};
        system.each_block(tiles.blocks(), tiles, stage_bytes<plan>());
    };
    auto const choose = [&]<bool TransposeB>() {
        if (g.rows <= 16 * g.groups)
            with.template operator()<tensor_tile_of_few, TransposeB>();
        else if (g.rows <= 96 * g.groups)
            with.template operator()<tensor_tile_of_more, TransposeB>();
        else
            with.template operator()<tensor_tile_of_many, TransposeB>();
    };
    if (g.transpose_b)
        choose.template operator()<true>();
    else
        choose.template operator()<false>();
}
template <class Numbers>
void multiply_outer(thrust_cuda const& system, grouped_shape const& g, float const* x,
                    float const* y, std::int32_t const* offsets, float* w) {
    auto const with = [&]<tensor_extents E>() {
        using plan = tensor_tile_plan<Numbers, E, false, false>;
        row_groups const groups{offsets, g.rows, g.groups};
        tensor_outer_blocks<plan> const tiles =
            g.transpose_b ? tensor_outer_blocks<plan>{g.n, g.k, y, x, groups, w}
                          : tensor_outer_blocks<plan>{g.k, g.n, x, y, groups, w};
        system.each_block(tiles.blocks(), tiles, stage_bytes<plan>());
    };
    if (g.k <= 64 || g.n <= 64)
        with.template operator()<tensor_tile_of_more>();
    else
        with.template operator()<tensor_tile_of_many>();
}

/// False, and nothing done, where products do not take tensor cores.
inline bool multiply_groups(product_precision precision, thrust_cuda const& system,
                            grouped_shape const& g, float const* x, float const* w,
                            std::int32_t const* offsets, float* y) {
    if (precision == product_precision::tf32)
        multiply_groups<tf32_numbers>(system, g, x, w, offsets, y);
    else if (precision == product_precision::bf16)
        multiply_groups<bf16_numbers>(system, g, x, w, offsets, y);
    return precision != product_precision::float32;
}
inline bool multiply_outer(product_precision precision, thrust_cuda const& system,
                           grouped_shape const& g, float const* x, float const* y,
                           std::int32_t const* offsets, float* w) {
    if (precision == product_precision::tf32)
        multiply_outer<tf32_numbers>(system, g, x, y, offsets, w);
    else if (precision == product_precision::bf16)
        multiply_outer<bf16_numbers>(system, g, x, y, offsets, w);
    return precision != product_precision::float32;
}

}  // namespace grove::inline GROVE_ISA::detail
