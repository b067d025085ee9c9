// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of products on tensor cores. Every element is one chain of mma instructions in ascending
/// order of the inner index, 8 (TF32) or 16 (bf16) of it at a time, whatever the tile: so a row has
/// the same bits in every tile and among any number of rows. Operands are floats in memory and are
/// rounded on their way to the tensor core.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/mma.hpp"
#include "grove/backend/cuda/staged_tile.hpp"

namespace grove::inline GROVE_ISA::detail {

// A fragment is what the lanes of a warp hold of a strip of eight rows or columns: lane 4 g + t has
// row (column) g. Two strips, y[strip + Strips · half], are the 16 rows of an A.

struct tf32_numbers {
    /// Of the inner index in an instruction; numbers behind a line, along and across it, for which
    /// the lanes of a fragment hit 32 banks.
    static constexpr int inner = 8, pad_along = 4, pad_across = 8;

    /// Lane 4 g + t takes t and t + 4 of the inner index.
    template <class Stage, int Strips>
    static __device__ void load(std::uint32_t (&y)[2 * Strips], float const* stage, int first,
                                int t) {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        if constexpr (Stage::along) {
            // Each eight lanes say where the eight rows of four numbers of one matrix are.
            int const row = lane % (8 * Strips), half = lane / (8 * Strips) % 2;
            auto const address = static_cast<unsigned>(
                __cvta_generic_to_shared(stage + (first + row) * Stage::stride + t + 4 * half));
            if constexpr (Strips == 2)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                             : "r"(address)
                             : "memory");
            else
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                             : "=r"(y[0]), "=r"(y[1])
                             : "r"(address)
                             : "memory");
        } else {
            float const* const from = stage + (t + lane % 4) * Stage::stride + first + lane / 4;
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int s = 0; s < Strips; ++s)
                    y[s + Strips * half] = __float_as_uint(from[4 * half * Stage::stride + 8 * s]);
        }
#pragma unroll
        for (auto& number : y) number = round_to_tf32(__uint_as_float(number));
    }
    /// sum += A · B: 16 rows by 8 columns.
    static __device__ void multiply(mma_sum& sum, std::uint32_t const (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
        mma_tf32(sum, a[0], a[1], a[2], a[3], b0, b1);
    }
};

struct bf16_numbers {
    static constexpr int inner = 16, pad_along = 8, pad_across = 4;

    /// Lane 4 g + t takes the pairs from 2 t and from 2 t + 8 of the inner index on.
    template <class Stage, int Strips>
    static __device__ void load(std::uint32_t (&y)[2 * Strips], float const* stage, int first,
                                int t) {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        int const inner_step = Stage::along ? 1 : Stage::stride;
        int const outer_step = Stage::along ? Stage::stride : 1;
        float const* const from =
            stage + (t + lane % 4 * 2) * inner_step + (first + lane / 4) * outer_step;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int s = 0; s < Strips; ++s) {
                float const* const pair = from + 8 * half * inner_step + 8 * s * outer_step;
                if constexpr (Stage::along) {
                    auto const both = *reinterpret_cast<float2 const*>(pair);
                    y[s + Strips * half] = round_to_bf16(both.x, both.y);
                } else {
                    y[s + Strips * half] = round_to_bf16(pair[0], pair[Stage::stride]);
                }
            }
    }
    static __device__ void multiply(mma_sum& sum, std::uint32_t const (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
        mma_bf16(sum, a[0], a[1], a[2], a[3], b0, b1);
    }
};

/// The part of a tile that one warp sums.
template <class Plan>
class tensor_sums {
    using numbers = typename Plan::numbers;
    static constexpr int down = Plan::warp_rows / 16, across = Plan::warp_columns / 8;
    static constexpr int strips = across % 2 == 0 ? 2 : 1;
    static constexpr int warps_across = Plan::columns / Plan::warp_columns;

public:
    /// `rest` of the inner index are left.
    __device__ void add(float const* left, float const* right, int rest) {
        if (rest >= Plan::depth) {
#pragma unroll
            for (int t = 0; t < Plan::depth; t += numbers::inner) add_step(left, right, t);
        } else {
#pragma unroll 1
            for (int t = 0; t < rest; t += numbers::inner) add_step(left, right, t);
        }
    }
    __device__ void store(tile_result const& y) const {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        bool const in_pairs =
            y.step % 2 == 0 && reinterpret_cast<std::uintptr_t>(y.data) % sizeof(float2) == 0;
#pragma unroll
        for (int i = 0; i < 2 * down; ++i) {
            int const row = row_ + 8 * i + lane / 4;
            if (row >= y.rows) continue;
#pragma unroll
            for (int j = 0; j < across; ++j) {
                int const column = column_ + 8 * j + lane % 4 * 2;
                float* const to = y.data + row * y.step + column;
                float const* const pair = sum_[i / 2][j] + i % 2 * 2;
                if (in_pairs && column + 1 < y.columns) {
                    *reinterpret_cast<float2*>(to) = {pair[0], pair[1]};
                } else {
                    if (column < y.columns) to[0] = pair[0];
                    if (column + 1 < y.columns) to[1] = pair[1];
                }
            }
        }
    }

private:
    __device__ void add_step(float const* left, float const* right, int t) {
        std::uint32_t a[down][4];
#pragma unroll
        for (int i = 0; i < down; ++i)
            numbers::template load<typename Plan::left_stage, 2>(a[i], left, row_ + 16 * i, t);
#pragma unroll
        for (int j = 0; j < across; j += strips) {
            std::uint32_t b[2 * strips];
            numbers::template load<typename Plan::right_stage, strips>(b, right, column_ + 8 * j,
                                                                       t);
#pragma unroll
            for (int s = 0; s < strips; ++s)
#pragma unroll
                for (int i = 0; i < down; ++i)
                    numbers::multiply(sum_[i][j + s], a[i], b[s], b[s + strips]);
        }
    }

    int row_ = static_cast<int>(threadIdx.x) / 32 / warps_across * Plan::warp_rows;
    int column_ = static_cast<int>(threadIdx.x) / 32 % warps_across * Plan::warp_columns;
    mma_sum sum_[down][across] = {};
};

/// Extents of a tile, of the parts of its warps, of a stage; how many stages; how many threads copy
/// beside those that add, or 0 where these copy.
struct tensor_extents {
    int rows, columns, warp_rows, warp_columns, depth, stages, copiers;
};

/// How a block multiplies a tile: lines of A and B run along the inner index or across it.
template <class Numbers, tensor_extents E, bool LeftAlong, bool RightAlong>
struct tensor_tile_plan {
    using numbers = Numbers;
    static constexpr int rows = E.rows, columns = E.columns, warp_rows = E.warp_rows,
                         warp_columns = E.warp_columns, depth = E.depth, stages = E.stages;
    static constexpr int summers = 32 * (rows / warp_rows) * (columns / warp_columns);
    static constexpr int threads = summers + E.copiers,
                         copiers = E.copiers > 0 ? E.copiers : summers;
    template <int Extent, bool Along>
    using stage =
        operand_stage<Extent, depth, Along, Along ? Numbers::pad_along : Numbers::pad_across>;
    using left_stage = stage<rows, LeftAlong>;
    using right_stage = stage<columns, RightAlong>;
    using sums = tensor_sums<tensor_tile_plan>;
};

}  // namespace grove::inline GROVE_ISA::detail
