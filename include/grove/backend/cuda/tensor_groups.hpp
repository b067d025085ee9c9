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
    using element = typename Plan::left_stage::element;
    grouped_shape g;
    element const *x, *w;
    row_groups groups;
    output<float> y;

    __host__ __device__ index_t across() const { return (g.n + Plan::columns - 1) / Plan::columns; }
    index_t blocks() const { return groups.tiles_at_most(Plan::rows) * across(); }
    __device__ void operator()(index_t block) const {
        constexpr bool along = Plan::right_stage::along;
        auto const [group, item] = groups.tile(block / across(), Plan::rows);
        if (group < 0) return;
        index_t const row = groups.begin(group) + item * Plan::rows;
        index_t const rows = groups.end(group) - row;
        index_t const column = block % across() * Plan::columns;
        tile_operand<element> const left{x + row * g.k, g.k, rows},
            right{w + group * g.k * g.n + column * (along ? g.k : 1), along ? g.k : g.n,
                  g.n - column};
        multiply_tile<Plan>(left, right, static_cast<int>(g.k),
                            {y, row * g.n + column, g.n, rows, g.n - column});
    }
};

/// W[e] = X[e]ᵀ · Y[e], stored [m, n]: a block for each tile of each group.
template <class Plan>
struct tensor_outer_blocks {
    static constexpr int threads = Plan::threads;
    using element = typename Plan::left_stage::element;
    index_t m, n;
    element const *x, *y;
    row_groups groups;
    output<float> w;

    __host__ __device__ index_t down() const { return (m + Plan::rows - 1) / Plan::rows; }
    __host__ __device__ index_t across() const { return (n + Plan::columns - 1) / Plan::columns; }
    index_t blocks() const { return groups.groups * down() * across(); }
    __device__ void operator()(index_t block) const {
        index_t const e = block / (down() * across()), first = groups.begin(e);
        index_t const row = block / across() % down() * Plan::rows;
        index_t const column = block % across() * Plan::columns;
        tile_operand<element> const left{x + first * m + row, m, m - row},
            right{y + first * n + column, n, n - column};
        multiply_tile<Plan>(left, right, static_cast<int>(groups.size(e)),
                            {w, e * m * n + row * n + column, n, m - row, n - column});
    }
};

/// Tiles for few rows in a group, for more, and for many.
template <class Numbers>
struct group_tiles {
    static constexpr tensor_extents few{16, 64, 16, 16, 32, 4, 0}, more{64, 64, 32, 32, 32, 4, 0},
        many{128, 128, 64, 32, 32, 3, 0};
};
template <>
struct group_tiles<bf16_numbers> {
    static constexpr tensor_extents few{16, 64, 16, 16, 64, 6, 0}, more{64, 64, 32, 32, 64, 4, 0},
        many{128, 128, 64, 64, 64, 3, 0};
};

template <class Numbers>
void multiply_groups(thrust_cuda const& system, grouped_shape const& g, input<float> x,
                     input<float> w, std::int32_t const* offsets, output<float> y) {
    using element = typename Numbers::element;
    using tiles_of = group_tiles<Numbers>;
    auto const with = [&]<tensor_extents E, bool TransposeB>() {
        using plan = tensor_tile_plan<Numbers, E, true, TransposeB>;
        row_groups const groups{offsets, g.rows, g.groups};
        tensor_grouped_blocks<plan> const tiles{g, numbers_of<element>(x), numbers_of<element>(w),
                                                groups, y};
        system.each_block(tiles.blocks(), tiles, stage_bytes<plan>());
    };
    auto const choose = [&]<bool TransposeB>() {
        if (g.rows <= 16 * g.groups)
            with.template operator()<tiles_of::few, TransposeB>();
        else if (g.rows <= 96 * g.groups || g.n <= tiles_of::many.columns / 2)
            with.template operator()<tiles_of::more, TransposeB>();
        else
            with.template operator()<tiles_of::many, TransposeB>();
    };
    if (g.transpose_b)
        choose.template operator()<true>();
    else
        choose.template operator()<false>();
}
template <class Numbers>
void multiply_outer(thrust_cuda const& system, grouped_shape const& g, input<float> x,
                    input<float> y, std::int32_t const* offsets, output<float> w) {
    using element = typename Numbers::element;
    using tiles_of = group_tiles<Numbers>;
    auto const left = numbers_of<element>(g.transpose_b ? y : x),
               right = numbers_of<element>(g.transpose_b ? x : y);
    index_t const m = g.transpose_b ? g.n : g.k, n = g.transpose_b ? g.k : g.n;
    auto const with = [&]<tensor_extents E>() {
        using plan = tensor_tile_plan<Numbers, E, false, false>;
        row_groups const groups{offsets, g.rows, g.groups};
        tensor_outer_blocks<plan> const tiles{m, n, left, right, groups, w};
        system.each_block(tiles.blocks(), tiles, stage_bytes<plan>());
    };
    if (m <= tiles_of::many.rows / 2 || n <= tiles_of::many.columns / 2)
        with.template operator()<tiles_of::more>();
    else
        with.template operator()<tiles_of::many>();
}

/// False, and nothing done, where products do not take tensor cores. T is float: a program without
/// experts compiles none of it.
template <class T>
bool multiply_groups(product_precision precision, thrust_cuda const& system, grouped_shape const& g,
                     input<T> x, input<T> w, std::int32_t const* offsets, output<T> y) {
    return with_numbers(
        precision, [&]<class Numbers>() { multiply_groups<Numbers>(system, g, x, w, offsets, y); });
}
template <class T>
bool multiply_outer(product_precision precision, thrust_cuda const& system, grouped_shape const& g,
                    input<T> x, input<T> y, std::int32_t const* offsets, output<T> w) {
    return with_numbers(
        precision, [&]<class Numbers>() { multiply_outer<Numbers>(system, g, x, y, offsets, w); });
}

}  // namespace grove::inline GROVE_ISA::detail
