// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of products whose operands are panels in shared memory: what the attention kernels are
/// made of. Every element is one chain of fused multiply-adds in ascending order of the inner
/// index, for every plan; zeros behind the end of a panel's rows leave the chain as it is.
#pragma once

#include <cuda_pipeline.h>

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/packet.hpp"

namespace grove::inline GROVE_ISA::detail {

/// The block's dynamic shared memory.
template <class T>
__device__ T* dynamic_memory() {
    extern __shared__ __align__(16) unsigned char memory[];
    return reinterpret_cast<T*>(memory);
}

/// Keys, or rows of queries, that are walked together.
inline constexpr int tile_columns = 64;

/// How a block's threads share a tile of `rows` by `columns`: `Lanes` threads of one warp for a
/// row, of which each has the columns lane, lane + Lanes, …; each thread has `Share` such rows.
template <class T, int Share, int Lanes, int Threads>
struct tile_plan {
    using value_type = T;
    static constexpr int share = Share, lanes = Lanes, threads = Threads;
    static constexpr int columns = tile_columns;
    static constexpr int own = columns / Lanes;    ///< columns of a thread
    static constexpr int teams = Threads / Lanes;  ///< rows between a thread's rows
    static constexpr int rows = teams * Share;
    static constexpr int vector = packet<T>::size;
    static constexpr int depth = 16 * vector;      ///< of a panel: 256 bytes a row
    static constexpr int stride = depth + vector;  ///< another bank for each row
    static constexpr int weight_stride = columns + vector;
    static constexpr int pieces = depth / (Lanes * vector);

    /// Panels of `depth` that a row of `width` numbers fills.
    static constexpr __host__ __device__ int panels(int width) {
        return (width + depth - 1) / depth;
    }
    static constexpr __host__ __device__ int wide_stride(int width) {
        return panels(width) * depth + vector;
    }
    static __device__ int lane() { return static_cast<int>(threadIdx.x) % lanes; }
    /// The tile's row that is this thread's i-th.
    static __device__ int row(int i) { return static_cast<int>(threadIdx.x) / lanes + i * teams; }
    /// The first column of this thread's packet `piece` of a panel.
    static __device__ int column(int piece) { return (piece * lanes + lane()) * vector; }
};

/// Rows in global memory, `step` apart; or else members of groups that are `step` apart, from
/// member `phase` of the first group on.
template <class T>
struct row_source {
    T const* data;
    index_t step;
    quick_divisor group = {1, 1, 0};
    unsigned phase = 0;
    index_t member_step = 0;

    __device__ bool is_even() const { return group.divisor == 1; }
    __device__ T const* row(int r) const {
        if (is_even()) return data + r * step;
        unsigned const at = phase + static_cast<unsigned>(r), whole = group.quotient(at);
        return data + whole * step + (at - whole * group.divisor) * member_step;
    }
};

/// Starts a copy of 16 bytes to shared memory, or writes zeros.
template <class T>
__device__ void start_copy(T* target, T const* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<unsigned>(__cvta_generic_to_shared(target))),
                 "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
}
/// Writes `Count` numbers to shared memory, of which `exist`, and zeros behind them. A copy that is
/// started has at least four bytes.
template <int Count, class T>
__device__ void copy_numbers(T* target, T const* from, int exist) {
#pragma unroll 1
    for (int i = 0; i < Count; ++i)
        if (i >= exist)
            target[i] = T(0);
        else if constexpr (sizeof(T) >= 4)
            __pipeline_memcpy_async(target + i, from + i, sizeof(T));
        else
            target[i] = from[i];
}
/// Starts to copy columns [first, first + depth) of `count` rows into a panel of `Rows`; zeros
/// beyond the `width` columns that there are, and in the other rows.
template <class Plan, int Rows, class T>
__device__ void fetch_panel(T* panel, int stride, int count, int first, int width, bool aligned,
                            row_source<T> const& source) {
    constexpr int vector = Plan::vector, packets = Plan::depth / vector;
    constexpr int together = Plan::threads / packets;  // rows
    int const at = static_cast<int>(threadIdx.x) % packets * vector;
    int const left = width - first - at, row = static_cast<int>(threadIdx.x) / packets;
    T* target = panel + row * stride + at;
    if (aligned && source.is_even()) {  // as mostly: no address is computed from scratch
        bool const inside = left > 0;
        T const* from = source.data + row * source.step + (inside ? first + at : 0);
#pragma unroll
        for (int r = 0; r < Rows; r += together) {
            bool const exists = inside && row + r < count;
            if (Rows % together == 0 || row + r < Rows)
                start_copy(target, exists ? from : source.data, exists);
            target += together * stride;
            from += together * source.step;
        }
        return;
    }
    for (int r = row; r < Rows; r += together, target += together * stride) {
        T const* const from = source.row(r < count ? r : 0) + first + at;
        if (aligned)
            start_copy(target, r < count && left > 0 ? from : source.data, r < count && left > 0);
        else
            copy_numbers<vector>(target, from, r < count ? left : 0);
    }
}

/// `Panels` in turn: one is worked on while the others are on their way.
template <class Plan, int Panels = 2>
class panel_ring {
    using T = typename Plan::value_type;
    static constexpr int panel = Plan::columns * Plan::stride;

public:
    static constexpr int size = Panels * panel;

    __device__ explicit panel_ring(T* memory) : memory_(memory) {}

    /// Where the next panel goes; end its copies, also where there are none any more, with
    /// `started`.
    __device__ T* next() { return memory_ + arriving_ * panel; }
    __device__ void started() {
        __pipeline_commit();
        arriving_ = arriving_ + 1 == Panels ? 0 : arriving_ + 1;
    }
    /// Waits for the first of `Panels` - 1 that were started; every thread has then left the panel
    /// before.
    __device__ T const* turn() {
        __pipeline_wait_prior(Panels - 2);
        __syncthreads();
        T const* const arrived = memory_ + current_ * panel;
        current_ = current_ + 1 == Panels ? 0 : current_ + 1;
        return arrived;
    }

private:
    T* memory_;
    int arriving_ = 0, current_ = 0;
};

/// sum += left · rightᵀ over `length` columns of both.
template <class Plan, class T>
__device__ void add_dots(T (&sum)[Plan::share][Plan::own], T const* left, int left_stride,
                         T const* right, int length) {
    constexpr int vector = Plan::vector;
    T const* const a = left + Plan::row(0) * left_stride;
    T const* const b = right + Plan::lane() * Plan::stride;
#pragma unroll 2
    for (int d = 0; d < length; d += vector) {
        packet<T> x[Plan::share];
#pragma unroll
        for (int i = 0; i < Plan::share; ++i)
            x[i] = *reinterpret_cast<packet<T> const*>(a + i * Plan::teams * left_stride + d);
#pragma unroll
        for (int j = 0; j < Plan::own; ++j) {
            auto const y =
                *reinterpret_cast<packet<T> const*>(b + j * Plan::lanes * Plan::stride + d);
#pragma unroll
            for (int t = 0; t < vector; ++t)
#pragma unroll
                for (int i = 0; i < Plan::share; ++i)
                    sum[i][j] = math::fma(x[i].at[t], y.at[t], sum[i][j]);
        }
    }
}

/// sum += weights[rows, columns] · right.
template <class Plan, class T>
__device__ void add_weighted(packet<T> (&sum)[Plan::share][Plan::pieces], T const* weights,
                             T const* right) {
    constexpr int vector = Plan::vector;
    T const* const w = weights + Plan::row(0) * Plan::weight_stride;
    T const* const b = right + Plan::column(0);
#pragma unroll 2
    for (int j = 0; j < Plan::columns; j += vector) {
        packet<T> x[Plan::share];
#pragma unroll
        for (int i = 0; i < Plan::share; ++i)
            x[i] =
                *reinterpret_cast<packet<T> const*>(w + i * Plan::teams * Plan::weight_stride + j);
#pragma unroll
        for (int t = 0; t < vector; ++t)
#pragma unroll
            for (int p = 0; p < Plan::pieces; ++p) {
                auto const y = *reinterpret_cast<packet<T> const*>(b + (j + t) * Plan::stride +
                                                                   p * Plan::lanes * vector);
#pragma unroll
                for (int i = 0; i < Plan::share; ++i)
#pragma unroll
                    for (int v = 0; v < vector; ++v)
                        sum[i][p].at[v] = math::fma(x[i].at[t], y.at[v], sum[i][p].at[v]);
            }
    }
}
/// Sums [rows, width] that a tile collects: in registers where they fit into `Panels` panels, in
/// shared memory where that is 0.
template <class Plan, int Panels>
class tile_sums {
    using T = typename Plan::value_type;

public:
    using part = packet<T>[Plan::share][Plan::pieces];

    static constexpr __host__ __device__ bool fits(int width) {
        return Panels == 0 || width <= Panels * Plan::depth;
    }
    /// Elements of shared memory.
    static constexpr __host__ __device__ int size(int width) {
        return Panels == 0 ? Plan::rows * Plan::wide_stride(width) : 0;
    }
    __device__ tile_sums(T* memory, int width) : memory_(memory), width_(width) {
        if constexpr (Panels == 0) {
            for (int first = 0; first < width; first += Plan::depth)
                each(first, [](packet<T>& kept, int, int) { kept = {}; });
        }
    }
    /// body(part of this thread, its first panel's column) for each panel.
    template <class Body>
    __device__ void visit(Body&& body) {
        if constexpr (Panels == 0) {
            for (int first = 0; first < width_; first += Plan::depth) {
                part mine;
                each(first, [&](packet<T>& kept, int i, int p) { mine[i][p] = kept; });
                body(mine, first);
                each(first, [&](packet<T>& kept, int i, int p) { kept = mine[i][p]; });
            }
        } else {
#pragma unroll
            for (int panel = 0; panel < Panels; ++panel)
                if (panel * Plan::depth < width_) body(mine_[panel], panel * Plan::depth);
        }
    }

private:
    template <class Body>
    __device__ void each(int first, Body&& body) {
        int const stride = Plan::wide_stride(width_);
#pragma unroll
        for (int i = 0; i < Plan::share; ++i)
#pragma unroll
            for (int p = 0; p < Plan::pieces; ++p)
                body(*reinterpret_cast<packet<T>*>(memory_ + Plan::row(i) * stride + first +
                                                   Plan::column(p)),
                     i, p);
    }

    T* memory_;
    int width_;
    packet<T> mine_[Panels > 0 ? Panels : 1][Plan::share][Plan::pieces] = {};
};

/// Puts the thread's share of a tile where the warp that reads its rows finds it.
template <class Plan, class T>
__device__ void store_weights(T const (&x)[Plan::share][Plan::own], T* weights) {
    __syncwarp();  // the tile before has been read
#pragma unroll
    for (int i = 0; i < Plan::share; ++i)
#pragma unroll
        for (int j = 0; j < Plan::own; ++j)
            weights[Plan::row(i) * Plan::weight_stride + Plan::lane() + j * Plan::lanes] = x[i][j];
    __syncwarp();
}

/// Σ of a row of the tile: the same tree for every plan, halving the columns' distance from 32.
template <class Plan, class T>
__device__ T row_sum(T (&x)[Plan::own]) {
#pragma unroll
    for (int half = Plan::own / 2; half > 0; half /= 2)
#pragma unroll
        for (int j = 0; j < half; ++j) x[j] = add_rounded(x[j], x[j + half]);
#pragma unroll
    for (int step = Plan::lanes / 2; step > 0; step /= 2)
        x[0] = add_rounded(x[0], __shfl_xor_sync(~0U, x[0], step));
    return x[0];
}
template <class Plan, class T>
__device__ T row_max(T x) {
#pragma unroll
    for (int step = Plan::lanes / 2; step > 0; step /= 2)
        x = math::max(x, __shfl_xor_sync(~0U, x, step));
    return x;
}

}  // namespace grove::inline GROVE_ISA::detail
