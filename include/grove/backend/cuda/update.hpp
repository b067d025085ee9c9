// SPDX-License-Identifier: Apache-2.0
/// @file
/// Work over arrays of many sizes in one launch: a table on the device says which is which.
#pragma once

#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/cuda/rows.hpp"
#include "grove/core/law.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Numbers of an array that one block works on.
inline constexpr index_t run_length = 8192;

inline index_t runs_of(index_t size) { return (size + run_length - 1) / run_length; }

/// Where the runs of an array begin among those of all.
struct array_runs {
    index_t first_run, size;
};

/// The array of a run: the last whose runs begin at it or before. Empty ones have none.
template <class Slot>
__device__ Slot const& array_of(Slot const* slots, index_t count, index_t run) {
    index_t low = 0, high = count;
    while (high - low > 1) {
        index_t const middle = (low + high) / 2;
        (slots[middle].runs.first_run <= run ? low : high) = middle;
    }
    return slots[low];
}

/// Four arrays of one size, of which a law (w, g, m, v) → (w, m, v) replaces all but g.
template <class T, class Law>
struct update_slot {
    array_runs runs;
    Law law;
    T const *w, *g, *m, *v;
    T *next_w, *next_m, *next_v;
    bf16* next_half = nullptr;  ///< of w, rounded; none where nobody reads it
};
/// `clip` makes a factor of all gradients of their norm. Nothing changes where the norm is not
/// finite, or where a kernel before this one met a fault.
template <class T, class Law, class Clip>
struct update_runs {
    static constexpr int threads = 256;
    update_slot<T, Law> const* slots;
    index_t count;
    double const* norm;
    Clip clip;
    int const* faults;

    __device__ void operator()(index_t run) const {
        auto const slot = array_of(slots, count, run);
        T const scale = static_cast<T>(clip(*norm));
        bool const moves = isfinite(*norm) && *faults == 0;
        index_t const first = (run - slot.runs.first_run) * run_length;
        index_t const last = first + run_length,
                      end = last < slot.runs.size ? last : slot.runs.size;
        for (index_t i = first + threadIdx.x * packet<T>::size; i < end;
             i += threads * packet<T>::size)
            update(slot, i, end, i + packet<T>::size <= end, scale, moves);
    }

private:
    /// Arrays begin where memory was allocated, at multiples of 16 bytes, or are read one by one.
    __device__ static void update(update_slot<T, Law> const& slot, index_t i, index_t end,
                                  bool whole, T scale, bool moves) {
        auto const load = [&](T const* x) {
            return load_packet(x, i, end, whole && is_aligned(x));
        };
        auto w = load(slot.w), m = load(slot.m), v = load(slot.v);
        auto const g = load(slot.g);
        for (int t = 0; moves && t < packet<T>::size; ++t) {
            auto const next = slot.law(w.at[t], g.at[t] * scale, m.at[t], v.at[t]);
            w.at[t] = next.value[0];
            m.at[t] = next.value[1];
            v.at[t] = next.value[2];
        }
        auto const store = [&](packet<T> const& x, T* to) {
            store_packet(x, to, i, end, whole && is_aligned(to));
        };
        store(w, slot.next_w);
        if (slot.next_half != nullptr) output<T>{nullptr, slot.next_half}.store(w, i, end, whole);
        store(m, slot.next_m);
        store(v, slot.next_v);
    }
};

/// Σ over the lanes of all warps, in thread 0; by a whole block of `Threads`.
template <int Threads>
__device__ double block_sum(double sum) {
    __shared__ double of_warp[Threads / 32];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < Threads / 32; ++w) sum += of_warp[w];
    return sum;
}
/// Σ g² of each run of each array, in double: a fixed tree.
template <class Slot>
struct square_runs {
    static constexpr int threads = 256;
    Slot const* slots;
    index_t count;
    double* y;

    __device__ void operator()(index_t run) const {
        auto const& slot = array_of(slots, count, run);
        index_t const first = (run - slot.runs.first_run) * run_length;
        index_t const last = first + run_length,
                      end = last < slot.runs.size ? last : slot.runs.size;
        double sum = 0;
#pragma unroll 4
        for (index_t i = first + threadIdx.x; i < end; i += threads) {
            auto const x = static_cast<double>(slot.g[i]);
            sum = math::fma(x, x, sum);
        }
        sum = block_sum<threads>(sum);
        if (threadIdx.x == 0) y[run] = sum;
    }
};
/// √Σ of the runs' sums, by one block.
struct square_total {
    static constexpr int threads = 1024;
    double const* sums;
    index_t count;
    double* y;

    __device__ void operator()(index_t) const {
        double sum = 0;
        for (index_t i = threadIdx.x; i < count; i += threads) sum += sums[i];
        sum = block_sum<threads>(sum);
        if (threadIdx.x == 0) *y = math::sqrt(sum);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
