// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of attention's products on tensor cores, whose right operands are panels in shared memory,
/// as they lie in global memory: floats for TF32, else bf16. Sums are float, and are rounded to
/// what operands are only where they are written.
#pragma once

#include <type_traits>

#include "grove/backend/cuda/attention_layout.hpp"
#include "grove/backend/cuda/panel.hpp"
#include "grove/backend/cuda/tensor_step.hpp"

namespace grove::inline GROVE_ISA::detail {

/// How many blocks with so many bytes of shared memory a processor has room for.
constexpr int blocks_with(std::size_t bytes) {
    return static_cast<int>((std::size_t{228} << 10) / (bytes + 1024));
}

/// A block of `Warps` for heads of up to `Depth` columns. `Across` of them have the same `Share`
/// times 16 rows: each some keys of a block's scores, and some columns of its weighted values. The
/// tile's rows stay in registers where `Holds`, else in shared memory.
template <product_precision Precision, int Depth, int Warps, int Share, bool Holds, int Across = 1>
struct tensor_plan {
    using step = tensor_step<Precision>;
    using element = typename step::element;
    using value_type = element;
    static constexpr bool holds = Holds;
    static constexpr int share = Share, across = Across, threads = 32 * Warps;
    static constexpr int rows_of_warp = 16 * Share, rows = Warps / Across * rows_of_warp;
    static constexpr int columns = tile_columns, vector = packet<element>::size;
    static constexpr int depth = Depth, stride = Depth + vector;
    static constexpr int steps = Depth / 16;       ///< along a head
    static constexpr int pieces = steps / Across;  ///< of 16 columns across a head, of a warp

    static __device__ int lane() { return mma_lane(); }
    static __device__ int line() { return mma_line(); }
    static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
    static __device__ int part() { return warp() % Across; }
    static __device__ int first_row() { return warp() / Across * rows_of_warp; }
    /// The tile's row that is this thread's: `half` 0 or 1 of its m-th 16 rows.
    static __device__ int row(int m, int half) { return first_row() + 16 * m + 8 * half + line(); }
    static __device__ int piece(int i) { return i * Across + part(); }
    /// The first of the warp's keys in a block's scores.
    static __device__ int first_key() { return columns / Across * part(); }
    /// Whether this thread writes what is known of a row.
    static __device__ bool leads() { return lane() == 0 && part() == 0; }
    /// Whether heads of `width` columns have numbers in this step.
    static __device__ bool has_step(int s, int width) {
        return 16 * s / step::unit * step::unit < width;
    }
};

/// Left operands of a warp's rows, in registers.
template <class Plan>
struct held_rows {
    using element = typename Plan::element;
    typename Plan::step::left at[Plan::share][Plan::steps];

    static constexpr int size = 0;  ///< elements of shared memory
    __device__ void fetch(element*, row_source<element> const& source, int count, int width,
                          bool aligned) {
        auto const row = [&](int m, int half) {
            int const r = Plan::row(m, half);
            return r < count ? source.row(r) : nullptr;
        };
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int s = 0; s < Plan::steps; ++s)
                at[m][s] = Plan::step::left_from(row(m, 0), row(m, 1), s, width, aligned);
    }
    __device__ typename Plan::step::left get(int m, int s) const { return at[m][s]; }
};
/// The same in shared memory: where registers do not suffice.
template <class Plan>
struct stored_rows {
    using element = typename Plan::element;
    element const* memory;

    static constexpr int size = Plan::rows * Plan::stride;
    __device__ void fetch(element* to, row_source<element> const& source, int count, int width,
                          bool aligned) {
        memory = to;
        fetch_panel<Plan, Plan::rows>(to, Plan::stride, count, 0, width, aligned, source);
    }
    __device__ typename Plan::step::left get(int m, int s) const {
        auto const* const rows = memory + (Plan::first_row() + 16 * m) * Plan::stride;
        return Plan::step::left_at(rows, Plan::stride, s);
    }
};

template <class Plan>
using tile_rows = std::conditional_t<Plan::holds, held_rows<Plan>, stored_rows<Plan>>;

/// body(i) for the first of `Count` steps, as long as there(i). Mostly all are there: then nothing
/// lies between them by which one would wait for another.
template <int Count, class There, class Body>
__device__ void each_step(There const& there, Body const& body) {
    if (there(Count - 1)) {
#pragma unroll
        for (int i = 0; i < Count; ++i) body(i);
        return;
    }
#pragma unroll
    for (int i = 0; i < Count - 1; ++i) {
        if (!there(i)) break;
        body(i);
    }
}

/// sum += left · rightᵀ over `width` columns of both; right has 8 · Tiles rows.
template <class Plan, int Tiles, class Left>
__device__ void add_tensor_dots(mma_sum (&sum)[Plan::share][Tiles], Left const& left,
                                typename Plan::element const* right, int width) {
    using step = typename Plan::step;
    static_assert(Tiles % 2 == 0);
    auto const there = [&](int s) { return Plan::has_step(s, width); };
    each_step<Plan::steps>(there, [&](int s) {
        typename step::left x[Plan::share];
#pragma unroll
        for (int m = 0; m < Plan::share; ++m) x[m] = left.get(m, s);
#pragma unroll
        for (int j = 0; j < Tiles; j += 2) {
            typename step::right y[2];
            step::load_along(y, right + 8 * j * Plan::stride, Plan::stride, s);
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int m = 0; m < Plan::share; ++m) step::add(sum[m][j + i], x[m], y[i]);
        }
    });
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
                                    typename Plan::element const* panel, int s, int piece,
                                    int stride) {
    using step = typename Plan::step;
    typename step::right y[2];
    step::load_across(y, panel + 16 * s * stride + 16 * piece, stride);
#pragma unroll
    for (int m = 0; m < Plan::share; ++m)
#pragma unroll
        for (int i = 0; i < 2; ++i) step::add(sum[m][i], left[m], y[i]);
}

/// `Run` numbers of a row that are read or written at once.
template <class T, int Run>
struct alignas(Run * sizeof(T)) number_run {
    T at[Run];

    __device__ static bool is_whole(T const* row, int first, int width) {
        return first + Run <= width &&
               reinterpret_cast<std::uintptr_t>(row + first) % sizeof(number_run) == 0;
    }
};
/// Writes a thread's share of two results, of columns 16 · `piece` on.
template <class Plan, class T>
__device__ void write_share(packet<float> const& x, T* row, int piece, int width) {
    constexpr int run = Plan::step::run;
#pragma unroll
    for (int i = 0; i < packet<float>::size; i += run) {
        int const first = 16 * piece + Plan::step::outer(i);
        number_run<T, run> y;
#pragma unroll
        for (int v = 0; v < run; ++v) y.at[v] = rounded_to<T>(x.at[i + v]);
        if (y.is_whole(row, first, width)) {
            *reinterpret_cast<number_run<T, run>*>(row + first) = y;
            continue;
        }
#pragma unroll
        for (int v = 0; v < run; ++v)
            if (first + v < width) row[first + v] = y.at[v];
    }
}
/// Reads what `write_share` has written; zeros beyond `width`.
template <class Plan>
__device__ packet<float> read_share(float const* row, int piece, int width) {
    constexpr int run = Plan::step::run;
    packet<float> x;
#pragma unroll
    for (int i = 0; i < packet<float>::size; i += run) {
        using floats = number_run<float, run>;
        int const first = 16 * piece + Plan::step::outer(i);
        floats y = {};
        if (floats::is_whole(row, first, width))
            y = *reinterpret_cast<floats const*>(row + first);
        else
#pragma unroll
            for (int v = 0; v < run; ++v)
                if (first + v < width) y.at[v] = row[first + v];
#pragma unroll
        for (int v = 0; v < run; ++v) x.at[i + v] = y.at[v];
    }
    return x;
}

/// `Walked` rows of two panels, with what is known of rows of queries, arrive together.
template <class Plan, int Walked>
struct tensor_stage {
    using value_type = typename Plan::element;
    static constexpr int stride = Plan::stride;
    static constexpr int panel = Walked * stride;
    /// Three floats of each row, behind the panels.
    static constexpr int known = 3 * Walked * static_cast<int>(sizeof(float) / sizeof(value_type));
    static constexpr int columns = 2 * Walked + (known + stride - 1) / stride;
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
