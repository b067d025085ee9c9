// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of attention's products on tensor cores, whose right operands are panels of floats in
/// shared memory. Operands are rounded on their way into a product. Rows of a panel are an odd
/// number of packets apart, by which no load below meets a bank twice.
#pragma once

#include <type_traits>

#include "grove/backend/cuda/panel.hpp"
#include "grove/backend/cuda/tensor_step.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block of `Warps`, each with `Share` times 16 rows, for heads of up to `Depth` columns. The
/// tile's rows stay in registers where `Holds`, else in shared memory.
template <product_precision Precision, int Depth, int Warps, int Share, bool Holds>
struct tensor_plan {
    using value_type = float;
    using step = tensor_step<Precision>;
    static constexpr bool holds = Holds;
    static constexpr int share = Share, threads = 32 * Warps;
    static constexpr int rows_of_warp = 16 * Share, rows = Warps * rows_of_warp;
    static constexpr int columns = tile_columns, vector = packet<float>::size;
    static constexpr int depth = Depth, stride = Depth + vector;
    static constexpr int steps = Depth / 16;  ///< along a head, and packets of a thread across it

    static __device__ int lane() { return static_cast<int>(threadIdx.x) % 4; }
    static __device__ int line() { return static_cast<int>(threadIdx.x) % 32 / 4; }
    static __device__ int first_row() { return static_cast<int>(threadIdx.x) / 32 * rows_of_warp; }
    /// The tile's row that is this thread's: `half` 0 or 1 of its m-th 16 rows.
    static __device__ int row(int m, int half) { return first_row() + 16 * m + 8 * half + line(); }
    /// Whether heads of `width` columns have numbers in this step; two steps take turns in 32.
    static __device__ bool has_step(int s, int width) { return s / 2 * 32 < width; }
    /// The packet that this thread gives to a step along a head.
    static __device__ int inner(int s) { return s / 2 * 32 + 8 * lane() + s % 2 * 4; }
    /// The packet across a head that two results side by side have for this thread.
    static __device__ int outer(int piece) { return 16 * piece + 4 * lane(); }
};

/// This thread's share of two results side by side, in the order of their columns.
__device__ inline packet<float> side_by_side(mma_sum const& even, mma_sum const& odd, int half) {
    return {{even[2 * half], odd[2 * half], even[2 * half + 1], odd[2 * half + 1]}};
}

/// Left operands of a warp's rows, in registers.
template <class Plan>
struct held_rows {
    typename Plan::step::left at[Plan::share][Plan::steps];

    static constexpr int size = 0;  ///< elements of shared memory
    __device__ void fetch(float*, row_source<float> const& source, int count, int width,
                          bool aligned) {
        auto const read = [&](int r, int first) {
            return r < count && first < width ? load_packet(source.row(r), first, width, aligned)
                                              : packet<float>{};
        };
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int s = 0; s < Plan::steps; ++s)
                at[m][s] = Plan::step::left_of(read(Plan::row(m, 0), Plan::inner(s)),
                                               read(Plan::row(m, 1), Plan::inner(s)));
    }
    __device__ typename Plan::step::left get(int m, int s) const { return at[m][s]; }
};
/// The same in shared memory: where registers do not suffice.
template <class Plan>
struct stored_rows {
    float const* memory;

    static constexpr int size = Plan::rows * Plan::stride;
    __device__ void fetch(float* to, row_source<float> const& source, int count, int width,
                          bool aligned) {
        memory = to;
        fetch_panel<Plan, Plan::rows>(to, Plan::stride, count, 0, width, aligned, source);
    }
    __device__ typename Plan::step::left get(int m, int s) const {
        auto const read = [&](int half) {
            return *reinterpret_cast<packet<float> const*>(
                memory + Plan::row(m, half) * Plan::stride + Plan::inner(s));
        };
        return Plan::step::left_of(read(0), read(1));
    }
};

template <class Plan>
using tile_rows = std::conditional_t<Plan::holds, held_rows<Plan>, stored_rows<Plan>>;

/// sum += left · rightᵀ over `width` columns of both; right has 8 · Tiles rows.
template <class Plan, int Tiles, class Left>
__device__ void add_tensor_dots(mma_sum (&sum)[Plan::share][Tiles], Left const& left,
                                float const* right, int width) {
    float const* const of_line = right + Plan::line() * Plan::stride;
#pragma unroll
    for (int s = 0; s < Plan::steps; ++s) {
        if (!Plan::has_step(s, width)) break;
        typename Plan::step::left x[Plan::share];
#pragma unroll
        for (int m = 0; m < Plan::share; ++m) x[m] = left.get(m, s);
#pragma unroll
        for (int j = 0; j < Tiles; ++j) {
            auto const read = *reinterpret_cast<packet<float> const*>(
                of_line + 8 * j * Plan::stride + Plan::inner(s));
            auto const y = Plan::step::right_of(read.at[0], read.at[1], read.at[2], read.at[3]);
#pragma unroll
            for (int m = 0; m < Plan::share; ++m) Plan::step::add(sum[m][j], x[m], y);
        }
    }
}

/// Results of 16 columns as the left operand of a step.
template <class Plan>
__device__ typename Plan::step::left as_left(mma_sum const& first, mma_sum const& second) {
    return Plan::step::left_of({{first[0], first[1], second[0], second[1]}},
                               {{first[2], first[3], second[2], second[3]}});
}
/// sum[m] += left[m] · 16 columns of 16 rows of a panel, from row 16 · s and column 16 · `piece`
/// on.
template <class Plan>
__device__ void add_tensor_weighted(mma_sum (&sum)[Plan::share][2],
                                    typename Plan::step::left const (&left)[Plan::share],
                                    float const* panel, int s, int piece, int stride) {
    float const* const at =
        panel + (16 * s + 2 * Plan::lane()) * stride + 16 * piece + 2 * Plan::line();
    auto const read = [&](int row) { return *reinterpret_cast<float2 const*>(at + row * stride); };
    float2 const a = read(0), b = read(1), c = read(8), d = read(9);
    auto const even = Plan::step::right_of(a.x, b.x, c.x, d.x);
    auto const odd = Plan::step::right_of(a.y, b.y, c.y, d.y);
#pragma unroll
    for (int m = 0; m < Plan::share; ++m) {
        Plan::step::add(sum[m][0], left[m], even);
        Plan::step::add(sum[m][1], left[m], odd);
    }
}

/// `Walked` rows of two panels, with what is known of rows of queries, arrive together.
template <class Plan, int Walked>
struct tensor_stage {
    using value_type = float;
    static constexpr int stride = Plan::stride;
    static constexpr int panel = Walked * stride;
    static constexpr int columns = 2 * Walked + (3 * Walked + stride - 1) / stride;
};

/// log₂ e, by which a score's factor and shift are those of 2^x.
inline constexpr float binary_logarithm = 1.44269504088896340736F;
/// 2^x within two units in the last place; one instruction.
__device__ inline float binary_exponential(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

}  // namespace grove::inline GROVE_ISA::detail
