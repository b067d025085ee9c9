// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of few rows, C = A · B or A · Bᵀ: tiles so small that they fill the device where an
/// inner index that must not be split leaves cuBLASLt's few. In float32 every element is the chain
/// of fused multiply-adds of tile.hpp, on tensor cores the chain of tensor_tile.hpp.
#pragma once

#include <array>
#include <span>

#include "grove/backend/cuda/lt.hpp"
#include "grove/backend/cuda/system.hpp"
#include "grove/backend/cuda/tensor_tile.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::detail {

/// What a thread holds of one line.
template <int Size>
struct alignas(Size * sizeof(float)) line_part {
    float at[Size];
};

/// The sums of one thread: every teams-th row of a tile, and columns side by side where they are in
/// memory, else every lanes-th.
template <class Plan>
class chain_sums {
    static constexpr int vector = 4, down = Plan::own_rows, across = Plan::own_columns;
    using left_stage = typename Plan::left_stage;
    using right_stage = typename Plan::right_stage;

public:
    /// `rest` of the inner index are left.
    __device__ void add(float const* left, float const* right, int rest) {
        if (rest >= Plan::depth) {
#pragma unroll 4
            for (int t = 0; t < Plan::depth; t += vector) add_step(left, right, t, vector);
        } else {
#pragma unroll 1
            for (int t = 0; t < rest; t += vector) add_step(left, right, t, rest - t);
        }
    }
    __device__ void store(tile_result const& y) const {
#pragma unroll
        for (int i = 0; i < down; ++i)
#pragma unroll
            for (int j = 0; j < across; ++j)
                if (row(i) < y.rows && column(j) < y.columns)
                    y.data.set(y.first + row(i) * y.step + column(j), sum_[i][j]);
    }

private:
    static __device__ int row(int i) {
        return static_cast<int>(threadIdx.x) / Plan::lanes + i * Plan::teams;
    }
    static __device__ int column(int j) {
        int const lane = static_cast<int>(threadIdx.x) % Plan::lanes;
        return right_stage::along ? lane + j * Plan::lanes : lane * across + j;
    }
    /// `count` of the next four of the inner index: not one more, since 0 · 0 turns a sum of −0
    /// into 0.
    __device__ void add_step(float const* left, float const* right, int t, int count) {
        packet<float> x[down];
        float y[vector][across];
#pragma unroll
        for (int i = 0; i < down; ++i)
            x[i] = *reinterpret_cast<packet<float> const*>(left + row(i) * left_stage::stride + t);
        if constexpr (right_stage::along) {
#pragma unroll
            for (int j = 0; j < across; ++j) {
                auto const line = *reinterpret_cast<packet<float> const*>(
                    right + column(j) * right_stage::stride + t);
#pragma unroll
                for (int u = 0; u < vector; ++u) y[u][j] = line.at[u];
            }
        } else {
#pragma unroll
            for (int u = 0; u < vector; ++u) {
                auto const line = *reinterpret_cast<line_part<across> const*>(
                    right + (t + u) * right_stage::stride + column(0));
#pragma unroll
                for (int j = 0; j < across; ++j) y[u][j] = line.at[j];
            }
        }
#pragma unroll
        for (int u = 0; u < vector; ++u)
            if (u < count)
#pragma unroll
                for (int i = 0; i < down; ++i)
#pragma unroll
                    for (int j = 0; j < across; ++j)
                        sum_[i][j] = math::fma(x[i].at[u], y[u][j], sum_[i][j]);
    }

    float sum_[down][across] = {};
};

/// Extents of a tile, of what each thread has of it, of a stage; how many stages; how many threads
/// copy beside those that add, or 0 where these copy.
struct chain_extents {
    int rows, columns, own_rows, own_columns, depth, stages, copiers;
};

template <chain_extents E, bool RightAlong>
struct chain_plan {
    static constexpr int rows = E.rows, columns = E.columns, own_rows = E.own_rows,
                         own_columns = E.own_columns, depth = E.depth, stages = E.stages;
    static constexpr int lanes = columns / own_columns, teams = rows / own_rows;
    static constexpr int summers = lanes * teams;
    static constexpr int threads = summers + E.copiers,
                         copiers = E.copiers > 0 ? E.copiers : summers;
    using left_stage = operand_stage<float, rows, depth, true, 4>;
    using right_stage = operand_stage<float, columns, depth, RightAlong, 4>;
    using sums = chain_sums<chain_plan>;
};

/// A block for each tile. Tiles of the same columns follow each other, so that B is read once.
template <class Plan>
struct few_row_blocks {
    static constexpr int threads = Plan::threads;
    using element = typename Plan::left_stage::element;
    product_shape p;
    element const *a, *b;
    output<float> c;

    __host__ __device__ index_t down() const { return (p.m + Plan::rows - 1) / Plan::rows; }
    index_t blocks() const { return down() * ((p.n + Plan::columns - 1) / Plan::columns); }
    __device__ void operator()(index_t block) const {
        constexpr bool along = Plan::right_stage::along;
        index_t const row = block % down() * Plan::rows, column = block / down() * Plan::columns;
        tile_operand<element> const left{a + row * p.k, p.k, p.m - row},
            right{b + column * (along ? p.k : 1), along ? p.k : p.n, p.n - column};
        multiply_tile<Plan>(left, right, static_cast<int>(p.k),
                            {c, row * p.n + column, p.n, p.m - row, p.n - column});
    }
};

/// Queues C = A · op(B), of which the extents fit 32 bits.
using few_row_product = void (*)(thrust_cuda const&, product_shape const&, input<float> a,
                                 input<float> b, output<float> c);
template <class Plan>
void multiply_few_rows(thrust_cuda const& system, product_shape const& p, input<float> a,
                       input<float> b, output<float> c) {
    using element = typename Plan::left_stage::element;
    few_row_blocks<Plan> const tiles{p, numbers_of<element>(a), numbers_of<element>(b), c};
    system.each_block(tiles.blocks(), tiles, stage_bytes<Plan>());
}

template <bool TransposeB>
inline constexpr std::array<few_row_product, 4> chains_of_few_rows{
    multiply_few_rows<chain_plan<chain_extents{8, 16, 1, 2, 64, 8, 64}, TransposeB>>,
    multiply_few_rows<chain_plan<chain_extents{16, 32, 2, 2, 64, 4, 64}, TransposeB>>,
    multiply_few_rows<chain_plan<chain_extents{32, 32, 4, 2, 64, 4, 64}, TransposeB>>,
    multiply_few_rows<chain_plan<chain_extents{64, 32, 4, 4, 32, 4, 0}, TransposeB>>};
template <class Numbers, tensor_extents E, bool TransposeB>
inline constexpr few_row_product tensor_product =
    multiply_few_rows<tensor_tile_plan<Numbers, E, true, TransposeB>>;
template <bool TransposeB>
inline constexpr std::array<few_row_product, 4> tf32_products_of_few_rows{
    tensor_product<tf32_numbers, tensor_extents{16, 16, 16, 8, 64, 8, 64}, TransposeB>,
    tensor_product<tf32_numbers, tensor_extents{16, 32, 16, 8, 64, 4, 128}, TransposeB>,
    tensor_product<tf32_numbers, tensor_extents{32, 32, 16, 16, 64, 4, 128}, TransposeB>,
    tensor_product<tf32_numbers, tensor_extents{64, 64, 32, 32, 32, 4, 0}, TransposeB>};
/// Stages twice as deep, in the same bytes.
template <bool TransposeB>
inline constexpr std::array<few_row_product, 5> bf16_products_of_few_rows{
    tensor_product<bf16_numbers, tensor_extents{16, 16, 16, 8, 128, 8, 64}, TransposeB>,
    tensor_product<bf16_numbers, tensor_extents{16, 32, 16, 8, 128, 6, 128}, TransposeB>,
    tensor_product<bf16_numbers, tensor_extents{16, 64, 16, 16, 64, 8, 128}, TransposeB>,
    tensor_product<bf16_numbers, tensor_extents{32, 32, 16, 16, 128, 4, 128}, TransposeB>,
    tensor_product<bf16_numbers, tensor_extents{64, 64, 32, 32, 64, 4, 0}, TransposeB>};

/// All that may be tried for a product; they have the same bits. A template, so that a program may
/// compile the kernels in one unit: products are of floats.
template <class T = float>
std::span<few_row_product const> products_of_few_rows(product_precision precision,
                                                      product_shape const& p) {
    constexpr index_t most = 512;  // beyond, larger tiles fill the device
    if (p.transpose_a || p.batch > 1 || p.m > most) return {};
    auto const with = [&]<bool TransposeB>() -> std::span<few_row_product const> {
        if (precision == product_precision::float32) return chains_of_few_rows<TransposeB>;
        if (precision == product_precision::tf32) return tf32_products_of_few_rows<TransposeB>;
        return bf16_products_of_few_rows<TransposeB>;
    };
    return p.transpose_b ? with.template operator()<true>() : with.template operator()<false>();
}

}  // namespace grove::inline GROVE_ISA::detail
