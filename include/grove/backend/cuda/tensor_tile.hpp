// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of products on tensor cores. Every element is one chain of mma instructions in ascending
/// order of the inner index, 8 (TF32) or 16 (bf16) of it at a time, whatever the tile: so a row has
/// the same bits in every tile and among any number of rows. Operands of TF32 are floats in memory
/// and are rounded on their way to the tensor core; those of bf16 are bf16 in memory.
#pragma once

#include <cstdint>
#include <type_traits>

#include "grove/backend/cuda/mma.hpp"
#include "grove/backend/cuda/staged_tile.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A fragment is what the lanes of a warp hold of strips of eight rows of A, or columns of B, in
/// two halves of the inner index each: lane 4 g + t has row (column) g. An instruction takes the
/// strips of A side by side, and of B the halves: so that is their order in registers.
template <int Strips, bool OfB>
struct fragment_order {
    static constexpr int size = 2 * Strips;

    static constexpr __host__ __device__ int place(int strip, int half) {
        return OfB ? 2 * strip + half : strip + Strips * half;
    }
    /// The strip and half of which this lane says a line to load_matrices.
    static __device__ int strip() { return OfB ? matrix() / 2 : matrix() % Strips; }
    static __device__ int half() { return OfB ? matrix() % 2 : matrix() / Strips; }

private:
    static __device__ int matrix() { return static_cast<int>(threadIdx.x) % 32 / 8 % size; }
};

/// Matrices of eight lines of 16 bytes each in shared memory, of which each eight lanes in turn
/// say one's lines: y[i] of lane 4 g + t has the 4 bytes t of line g of the i-th, or, transposed,
/// the numbers of 2 bytes g of its lines 2 t and 2 t + 1.
template <bool Transposed, int Count>
__device__ void load_matrices(std::uint32_t (&y)[Count], void const* line) {
    static_assert(Count == 2 || Count == 4);
    auto const from = static_cast<unsigned>(__cvta_generic_to_shared(line));
    if constexpr (Count == 4 && Transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                     : "r"(from)
                     : "memory");
    else if constexpr (Count == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                     : "r"(from)
                     : "memory");
    else if constexpr (Transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(y[0]), "=r"(y[1])
                     : "r"(from)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(y[0]), "=r"(y[1])
                     : "r"(from)
                     : "memory");
}
/// A fragment of a stage whose lines run along the inner index: two packets of it.
template <class Order, class Stage>
__device__ void load_along(std::uint32_t (&y)[Order::size], typename Stage::element const* stage,
                           int first, int t) {
    constexpr int vector = packet<typename Stage::element>::size;
    int const line = first + 8 * Order::strip() + static_cast<int>(threadIdx.x) % 8;
    load_matrices<false>(y, stage + line * Stage::stride + t + vector * Order::half());
}

struct tf32_numbers {
    using element = float;
    /// Of the inner index in an instruction; numbers behind a line, along and across it, for which
    /// the lanes of a fragment hit 32 banks.
    static constexpr int inner = 8, pad_along = 4, pad_across = 8;

    /// Lane 4 g + t takes t and t + 4 of the inner index.
    template <class Order, class Stage>
    static __device__ void load(std::uint32_t (&y)[Order::size], float const* stage, int first,
                                int t) {
        if constexpr (Stage::along) {
            load_along<Order, Stage>(y, stage, first, t);
        } else {
            int const lane = static_cast<int>(threadIdx.x) % 32;
            float const* const from = stage + (t + lane % 4) * Stage::stride + first + lane / 4;
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int s = 0; s < Order::size / 2; ++s)
                    y[Order::place(s, half)] =
                        __float_as_uint(from[4 * half * Stage::stride + 8 * s]);
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
    using element = bf16;
    static constexpr int inner = 16, pad_along = 8, pad_across = 8;

    /// Lane 4 g + t takes the pairs from 2 t and from 2 t + 8 of the inner index on.
    template <class Order, class Stage>
    static __device__ void load(std::uint32_t (&y)[Order::size], bf16 const* stage, int first,
                                int t) {
        if constexpr (Stage::along) {
            load_along<Order, Stage>(y, stage, first, t);
        } else {
            int const line = t + 8 * Order::half() + static_cast<int>(threadIdx.x) % 8;
            load_matrices<true>(y, stage + line * Stage::stride + first + 8 * Order::strip());
        }
    }
    static __device__ void multiply(mma_sum& sum, std::uint32_t const (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
        mma_bf16(sum, a[0], a[1], a[2], a[3], b0, b1);
    }
};

/// body.operator()<Numbers>() for those of a precision; false, and nothing done, where products do
/// not take tensor cores.
template <class Body>
bool with_numbers(product_precision precision, Body const& body) {
    if (precision == product_precision::tf32) body.template operator()<tf32_numbers>();
    if (precision == product_precision::bf16) body.template operator()<bf16_numbers>();
    return precision != product_precision::float32;
}

/// Two results side by side.
__device__ inline void store_pair(float* to, float first, float second) {
    *reinterpret_cast<float2*>(to) = {first, second};
}
__device__ inline void store_pair(bf16* to, float first, float second) {
    *reinterpret_cast<std::uint32_t*>(to) = round_to_bf16(first, second);
}
/// x[i] of the lane j of each four becomes x[j] of the lane i.
__device__ inline void transpose_in_fours(std::uint32_t (&x)[4]) {
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2) {
        bool const upper = (static_cast<int>(threadIdx.x) & bit) != 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if ((i & bit) != 0) continue;
            auto const got = __shfl_xor_sync(~0U, upper ? x[i] : x[i | bit], bit);
            (upper ? x[i] : x[i | bit]) = got;
        }
    }
}

/// The part of a tile that one warp sums.
template <class Plan>
class tensor_sums {
    using numbers = typename Plan::numbers;
    using element = typename numbers::element;
    static constexpr int down = Plan::warp_rows / 16, across = Plan::warp_columns / 8;
    static constexpr int strips = across % 2 == 0 ? 2 : 1;
    static constexpr int warps_across = Plan::columns / Plan::warp_columns;
    using order_of_a = fragment_order<2, false>;
    using order_of_b = fragment_order<strips, true>;

public:
    /// `rest` of the inner index are left.
    __device__ void add(element const* left, element const* right, int rest) {
        if (rest >= Plan::depth) {
#pragma unroll
            for (int t = 0; t < Plan::depth; t += numbers::inner) add_step(left, right, t);
        } else {
#pragma unroll 1
            for (int t = 0; t < rest; t += numbers::inner) add_step(left, right, t);
        }
    }
    __device__ void store(tile_result const& y) const {
        if (y.data.half == nullptr) return store_pairs(y, y.data.full + y.first);
        bf16* const half = y.data.half + y.first;
        if constexpr (std::is_same_v<element, bf16> && across % 4 == 0) {
            if (is_aligned(half) && (y.step | y.columns) % packet<bf16>::size == 0)
                return store_packets(y, half);
        }
        store_pairs(y, half);
    }

private:
    __device__ void add_step(element const* left, element const* right, int t) {
        std::uint32_t a[down][4];
#pragma unroll
        for (int i = 0; i < down; ++i)
            numbers::template load<order_of_a, typename Plan::left_stage>(a[i], left, row_ + 16 * i,
                                                                          t);
#pragma unroll
        for (int j = 0; j < across; j += strips) {
            std::uint32_t b[order_of_b::size];
            numbers::template load<order_of_b, typename Plan::right_stage>(b, right,
                                                                           column_ + 8 * j, t);
#pragma unroll
            for (int s = 0; s < strips; ++s)
#pragma unroll
                for (int i = 0; i < down; ++i)
                    numbers::multiply(sum_[i][j + s], a[i], b[2 * s], b[2 * s + 1]);
        }
    }

    /// The tile's row of this thread's share of 8 rows; the first column of 8 columns.
    __device__ int row(int i) const {
        return row_ + 8 * i + static_cast<int>(threadIdx.x) % 32 / 4;
    }
    __device__ int column(int j) const { return column_ + 8 * j; }

    template <class T>
    __device__ void store_pairs(tile_result const& y, T* data) const {
        bool const whole =
            y.step % 2 == 0 && reinterpret_cast<std::uintptr_t>(data) % (2 * sizeof(T)) == 0;
#pragma unroll
        for (int i = 0; i < 2 * down; ++i) {
            if (row(i) >= y.rows) continue;
#pragma unroll
            for (int j = 0; j < across; ++j) {
                int const first = column(j) + static_cast<int>(threadIdx.x) % 4 * 2;
                T* const to = data + row(i) * y.step + first;
                float const* const pair = sum_[i / 2][j] + i % 2 * 2;
                if (whole && first + 1 < y.columns) {
                    store_pair(to, pair[0], pair[1]);
                } else {
                    if (first < y.columns) to[0] = static_cast<T>(pair[0]);
                    if (first + 1 < y.columns) to[1] = static_cast<T>(pair[1]);
                }
            }
        }
    }
    /// Rounded, 16 bytes a lane: four lanes have 32 columns of a row.
    __device__ void store_packets(tile_result const& y, bf16* data) const {
#pragma unroll
        for (int i = 0; i < 2 * down; ++i)
#pragma unroll
            for (int j = 0; j < across; j += 4) {
                std::uint32_t x[4];
#pragma unroll
                for (int s = 0; s < 4; ++s) {
                    float const* const pair = sum_[i / 2][j + s] + i % 2 * 2;
                    x[s] = round_to_bf16(pair[0], pair[1]);
                }
                transpose_in_fours(x);
                int const first = column(j) + static_cast<int>(threadIdx.x) % 4 * 8;
                if (row(i) < y.rows && first < y.columns)
                    *reinterpret_cast<uint4*>(data + row(i) * y.step + first) = {x[0], x[1], x[2],
                                                                                 x[3]};
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
    using stage = operand_stage<typename Numbers::element, Extent, depth, Along,
                                Along ? Numbers::pad_along : Numbers::pad_across>;
    using left_stage = stage<rows, LeftAlong>;
    using right_stage = stage<columns, RightAlong>;
    using sums = tensor_sums<tensor_tile_plan>;
};

}  // namespace grove::inline GROVE_ISA::detail
