// SPDX-License-Identifier: Apache-2.0
/// @file
/// Kernels over rows and indices. What one computes for a row depends on that row alone: the order
/// of a sum is a function of its length. None touches memory outside its operands, whatever the
/// indices say; the first bad one is reported.
#pragma once

#include <cstdint>
#include <limits>

#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/thrust/element.hpp"

namespace grove::inline GROVE_ISA::detail {

/// `rows` at most, 0 at least.
__device__ inline index_t clamp_row(index_t row, index_t rows) {
    return row < 0 ? 0 : row > rows ? rows : row;
}
/// How many of the ascending `keys` are < `key`, or ≤ it where `inclusive`.
__device__ inline index_t count_below(std::int32_t const* keys, index_t size, index_t key,
                                      bool inclusive) {
    index_t low = 0, high = size;
    while (low < high) {
        index_t const middle = (low + high) / 2;
        if (keys[middle] < key || (inclusive && keys[middle] == key))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/// The group of an item, and its number in there; group −1 where there is no such item.
struct group_item {
    index_t group = -1, item = 0;
};
/// The `index`-th of all items, of which group e has count(e). Called by all lanes of a warp, of
/// which each counts one group at a time.
template <class Count>
__device__ group_item nth_item(index_t index, index_t groups, Count const& count) {
    int const lane = static_cast<int>(threadIdx.x) % 32;
    index_t before = 0;
    for (index_t base = 0; base < groups; base += 32) {
        index_t const own = base + lane < groups ? count(base + lane) : 0;
        index_t total = own;
        for (int step = 1; step < 32; step *= 2) {
            index_t const other = __shfl_up_sync(~0U, total, step);
            if (lane >= step) total += other;
        }
        index_t const item = index - (before + total - own);
        if (unsigned const found = __ballot_sync(~0U, item >= 0 && item < own); found != 0) {
            int const finder = __ffs(static_cast<int>(found)) - 1;
            return {base + finder, __shfl_sync(~0U, item, finder)};
        }
        before += __shfl_sync(~0U, total, 31);
    }
    return {};
}

/// Reports the offsets of which place `s` breaks the order.
struct check_offset {
    offset_fault fault;
    fault_report report;
    __device__ void operator()(index_t s) const {
        if (fault(s)) report.offsets(fault.rows);
    }
};
struct check_index {
    index_fault fault;
    fault_report report;
    __device__ void operator()(index_t i) const {
        if (fault(i)) report.index(fault.index[i], fault.limit, i);
    }
};

/// Element of y[i] = x[index[i]]; 0 where there is no such row.
template <class T>
struct gather_element {
    input<T> x;
    index_t columns;
    index_fault fault;
    fault_report report;
    output<T> y;
    __device__ void operator()(index_t at) const {
        index_t const i = at / columns, j = at % columns;
        if (fault(i)) {
            if (j == 0) report.index(fault.index[i], fault.limit, i);
            y.set(at, T(0));
        } else {
            y.set(at, x[fault.index[i] * columns + j]);
        }
    }
};
/// Element of y[index[i]] = x[i].
template <class T>
struct write_element {
    input<T> x;
    index_t columns;
    index_fault fault;
    fault_report report;
    output<T> y;
    __device__ void operator()(index_t at) const {
        index_t const i = at / columns, j = at % columns;
        if (!fault(i))
            y.set(fault.index[i] * columns + j, x[at]);
        else if (j == 0)
            report.index(fault.index[i], fault.limit, i);
    }
};
/// Element of the segment's row, for each row that its offsets give it.
template <class T>
struct repeat_element {
    input<T> x;
    index_t columns;
    std::int32_t const* offsets;
    index_t segments;
    output<T> y;
    __device__ void operator()(index_t at) const {
        index_t const s = count_below(offsets + 1, segments, at / columns, true);
        y.set(at, s < segments ? x[s * columns + at % columns] : T(0));
    }
};
/// Where the keys of each segment start among the ascending ones.
struct start_element {
    std::int32_t const* keys;
    index_t size;
    std::int32_t* y;
    __device__ void operator()(index_t s) const {
        y[s] = static_cast<std::int32_t>(count_below(keys, size, s, false));
    }
};

/// A sum of rows runs in 32 chains, of which chain c takes the rows c, c + 32, … in order; then the
/// chains are added in order. A thread for each chain thus gives the bits of one thread alone.
inline constexpr int sum_chains = 32;

/// Sums of rows order[p] (or p) over p in [offsets[s], offsets[s + 1]).
template <class T>
struct row_sums {
    input<T> x;
    index_t columns, rows;
    std::int32_t const *offsets, *order;
    T* y;

    __device__ index_t begin(index_t s) const { return clamp_row(offsets[s], rows); }
    __device__ T chain(index_t s, index_t j, int c) const {
        T sum = T(0);
        index_t const end = begin(s + 1);
        for (index_t p = begin(s) + c; p < end; p += sum_chains)
            sum += x[(order == nullptr ? p : order[p]) * columns + j];
        return sum;
    }
};
/// A thread an element: for segments of few rows.
template <class T>
struct short_sum {
    row_sums<T> sums;
    __device__ void operator()(index_t at) const {
        index_t const s = at / sums.columns, j = at % sums.columns;
        index_t const rows = sums.begin(s + 1) - sums.begin(s);
        T sum = T(0);
        for (int c = 0; c < sum_chains && c < rows; ++c) sum += sums.chain(s, j, c);
        sums.y[at] = sum;
    }
};
/// A block for 32 columns of a segment, a thread a chain: for segments of many rows.
template <class T>
struct tall_sum {
    static constexpr int threads = 32 * sum_chains;
    row_sums<T> sums;
    __device__ void operator()(index_t block) const {
        __shared__ T partial[sum_chains][33];
        index_t const tiles = (sums.columns + 31) / 32, s = block / tiles;
        int const lane = static_cast<int>(threadIdx.x) % 32, c = static_cast<int>(threadIdx.x) / 32;
        index_t const j = block % tiles * 32 + lane;
        partial[c][lane] = j < sums.columns ? sums.chain(s, j, c) : T(0);
        __syncthreads();
        if (c > 0 || j >= sums.columns) return;
        T sum = T(0);
        for (int k = 0; k < sum_chains; ++k) sum += partial[k][lane];
        sums.y[s * sums.columns + j] = sum;
    }
};

/// Sum or maximum of each run of `length` numbers of each row: y[rows, runs]. Lane t of a block
/// takes the numbers t, t + Threads, … in order; lanes join pairwise.
template <class T, int Threads>
struct reduced_runs {
    static constexpr int threads = Threads;
    reduction how;
    input<T> x;
    index_t columns, length, runs;
    T* y;

    __device__ T join(T a, T b) const { return how == reduction::sum ? a + b : math::max(a, b); }
    __device__ void operator()(index_t block) const {
        index_t const first = block % runs * length, last = first + length;
        auto const row = x.from(block / runs * columns);
        T result = how == reduction::sum ? T(0) : -std::numeric_limits<T>::infinity();
        for (index_t j = first + threadIdx.x; j < last && j < columns; j += Threads)
            result = join(result, row[j]);
        for (int step = 16; step > 0; step /= 2)
            result = join(result, __shfl_xor_sync(~0U, result, step));
        if constexpr (Threads > 32) {
            __shared__ T of_warp[Threads / 32];
            if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = result;
            __syncthreads();
            result = of_warp[0];
            for (int warp = 1; warp < Threads / 32; ++warp) result = join(result, of_warp[warp]);
        }
        if (threadIdx.x == 0) y[block] = result;
    }
};

/// The k largest numbers of a row by k passes of one warp; equal ones in order of their columns,
/// NaN behind all others.
template <class T>
struct leading_columns {
    static constexpr int threads = 32;
    static constexpr index_t most = 32;  ///< passes that still beat a sort
    T const* x;
    index_t columns, k;
    std::int32_t* y;

    /// Whether number a of column i comes before number b of column j; column −1 is behind all.
    __device__ static bool before(T a, index_t i, T b, index_t j) {
        if (i < 0 || j < 0) return j < 0 && i >= 0;
        bool const a_valid = a == a, b_valid = b == b;
        if (a_valid != b_valid) return a_valid;
        if (a_valid && a != b) return a > b;
        return i < j;
    }
    __device__ void operator()(index_t row) const {
        T const* const numbers = x + row * columns;
        index_t last = -1;
        for (index_t t = 0; t < k; ++t) {
            T best = T(0);
            index_t place = -1;
            for (index_t j = threadIdx.x; j < columns; j += threads)
                if ((last < 0 || before(numbers[last], last, numbers[j], j)) &&
                    before(numbers[j], j, best, place)) {
                    best = numbers[j];
                    place = j;
                }
            for (int step = 16; step > 0; step /= 2) {
                T const other = __shfl_xor_sync(~0U, best, step);
                index_t const at = __shfl_xor_sync(~0U, place, step);
                if (before(other, at, best, place)) {
                    best = other;
                    place = at;
                }
            }
            last = place;
            if (threadIdx.x == 0) y[row * k + t] = static_cast<std::int32_t>(place);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
