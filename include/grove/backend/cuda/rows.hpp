// SPDX-License-Identifier: Apache-2.0
/// @file
/// Kernels over rows and indices. What one computes for a row depends on that row alone: the order
/// of a sum is a function of its length. None touches memory outside its operands, whatever the
/// indices say; the first bad one is reported.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/launch.hpp"
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
/// which each counts as many groups side by side.
template <class Count>
__device__ group_item nth_item(index_t index, index_t groups, Count const& count) {
    int const lane = static_cast<int>(threadIdx.x) % 32;
    index_t const share = (groups + 31) / 32, first = lane * share;
    index_t const end = first + share < groups ? first + share : groups;
    index_t own = 0;
    for (index_t e = first; e < end; e += 4)
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // none waits for the one before
            index_t const size = count(e + i < end ? e + i : e);
            if (e + i < end) own += size;
        }
    index_t total = own;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        index_t const other = __shfl_up_sync(~0U, total, step);
        if (lane >= step) total += other;
    }
    index_t item = index - (total - own);
    unsigned const found = __ballot_sync(~0U, item >= 0 && item < own);
    if (found == 0) return {};
    int const finder = __ffs(static_cast<int>(found)) - 1;
    item = __shfl_sync(~0U, item, finder);
    index_t group = finder * share;
    while (share > 1) {
        index_t const size = count(group);
        if (item < size) break;
        item -= size;
        ++group;
    }
    return {group, item};
}

/// Reports the offsets of which place `s` breaks the order.
struct check_offset {
    offset_fault fault;
    fault_report report;
    __device__ void operator()(index_t s) const {
        if (fault(s)) report.offsets(fault.rows);
    }
};
/// Keys to be sorted, with their numbers. A bad one is reported, and behind all others.
struct row_key {
    index_fault fault;
    fault_report report;
    std::int32_t *keys, *order;
    __device__ void operator()(index_t i) const {
        bool const bad = fault(i);
        if (bad) report.index(fault.index[i], fault.limit, i);
        keys[i] = bad ? static_cast<std::int32_t>(fault.limit) : fault.index[i];
        order[i] = static_cast<std::int32_t>(i);
    }
};

/// Rows that are moved by packets, a thread each.
template <class T>
struct moved_rows {
    input<T> x;
    output<T> y;
    index_t columns = 0;
    std::uint32_t packets = 0;  ///< of a row
    bool aligned = false;

    static moved_rows of(input<T> const& x, output<T> const& y, index_t columns) {
        return {x, y, columns, static_cast<std::uint32_t>(packets_of<T>(columns)),
                all_rows_aligned(columns, x, y)};
    }
    /// A packet of y's row j: that of x's row i, or zeros for i = −1.
    __device__ void move(index_t i, index_t j, std::uint32_t number) const {
        index_t const at = index_t{number} * packet<T>::size;
        auto const moved = i < 0 ? packet<T>{} : x.from(i * columns).load(at, columns, aligned);
        y.from(j * columns).store(moved, at, columns, aligned);
    }
};

/// y[i] = x[index[i]]; 0 where there is no such row.
template <class T>
struct gathered_packet {
    moved_rows<T> rows;
    index_fault fault;
    fault_report report;
    std::uint32_t packets() const { return rows.packets; }
    __device__ void operator()(index_t i, std::uint32_t number) const {
        bool const is_bad = fault(i);
        if (is_bad && number == 0) report.index(fault.index[i], fault.limit, i);
        rows.move(is_bad ? -1 : fault.index[i], i, number);
    }
};
/// y[index[i]] = x[i], for two pairs of x and y, of which the second may have no columns.
template <class T>
struct written_packet {
    moved_rows<T> rows, more;
    index_fault fault;
    fault_report report;
    std::uint32_t packets() const { return rows.packets + more.packets; }
    __device__ void operator()(index_t i, std::uint32_t number) const {
        if (fault(i)) {
            if (number == 0) report.index(fault.index[i], fault.limit, i);
        } else if (number < rows.packets) {
            rows.move(i, fault.index[i], number);
        } else {
            more.move(i, fault.index[i], number - rows.packets);
        }
    }
};
/// Calls body(i, number) for the packets of rows `first`, `first` + 1, …
template <class Body>
struct each_row_packet {
    Body body;
    index_t first;
    quick_divisor packets;
    __device__ void operator()(index_t at) const {
        auto const place = static_cast<std::uint32_t>(at), row = packets.quotient(place);
        body(first + row, place - row * packets.divisor);
    }
};
/// Queues body(i, number) for every packet of each of `rows` rows.
template <class Body>
void queue_row_packets(index_t rows, Body const& body, cudaStream_t stream) {
    index_t const packets = body.packets();
    if (packets == 0) return;
    index_t const most = (most_places - 1) / packets;  // rows of a launch
    for (index_t first = 0; first < rows; first += most)
        queue_places(std::min(most, rows - first) * packets,
                     each_row_packet<Body>{body, first, quick_divisor::by(packets)}, stream);
}
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

/// A sum of rows runs in 128 chains, of which chain c takes the rows c, c + 128, … in order; then
/// the chains are added in order. A thread for each chain thus gives the bits of one thread alone.
inline constexpr int sum_chains = 128;

/// Sums of rows order[p] (or p) over p in [offsets[s], offsets[s + 1]); without offsets, over all.
template <class T>
struct row_sums {
    static constexpr int size = packet<T>::size;
    input<T> x;
    index_t columns, rows;
    std::int32_t const *offsets, *order;
    bool aligned;
    T* y;

    __device__ index_t begin(index_t s) const {
        if (offsets == nullptr) return s == 0 ? 0 : rows;
        return clamp_row(offsets[s], rows);
    }
    /// body(k, packet at column j of row p + k · step) for k < Count, which are all under way at
    /// once; none from `end` on.
    template <int Count, class Body>
    __device__ void each_row(index_t p, int step, index_t end, index_t j, Body&& body) const {
        std::int32_t row[Count];  // as `order` holds them
        uint4 fetched[Count];
#pragma unroll
        for (int k = 0; k < Count; ++k, p += step)
            row[k] = p >= end ? -1 : order == nullptr ? static_cast<std::int32_t>(p) : order[p];
#pragma unroll
        for (int k = 0; k < Count; ++k)
            if (row[k] >= 0) fetched[k] = x.from(row[k] * columns).fetch(j, columns, aligned);
#pragma unroll
        for (int k = 0; k < Count; ++k)
            if (row[k] >= 0) body(k, x.value(fetched[k], aligned));
    }
    __device__ static void add(packet<T>& sum, packet<T> const& x) {
#pragma unroll
        for (int t = 0; t < size; ++t) sum.at[t] += x.at[t];
    }
};
/// A thread a packet, with so many chains at once: for segments of few rows.
template <class T, int AtOnce>
struct short_sum {
    static_assert(sum_chains % AtOnce == 0);
    row_sums<T> sums;

    index_t places(index_t segments) const { return segments * packets_of<T>(sums.columns); }
    __device__ void operator()(index_t at) const {
        index_t const packets = packets_of<T>(sums.columns), s = at / packets;
        index_t const j = at % packets * sums.size;
        index_t const begin = sums.begin(s), end = sums.begin(s + 1);
        packet<T> sum{};
        for (index_t c = 0; c < sum_chains && begin + c < end; c += AtOnce) {
            packet<T> chains[AtOnce] = {};
            for (index_t p = begin + c; p < end; p += sum_chains)
                sums.template each_row<AtOnce>(
                    p, 1, end, j, [&](int k, packet<T> const& x) { sums.add(chains[k], x); });
#pragma unroll
            for (int k = 0; k < AtOnce; ++k) sums.add(sum, chains[k]);
        }
        store_packet(sum, sums.y + s * sums.columns, j, sums.columns, sums.aligned);
    }
};
/// A block for four packets of columns of a segment, a thread a chain: for segments of many rows.
template <class T>
struct tall_sum {
    static constexpr int lanes = 4, threads = lanes * sum_chains;
    static constexpr int width = lanes * packet<T>::size;  ///< columns
    row_sums<T> sums;

    __host__ __device__ index_t tiles() const { return (sums.columns + width - 1) / width; }
    index_t blocks(index_t segments) const { return segments * tiles(); }
    __device__ void operator()(index_t block) const {
        constexpr int at_once = 8;
        __shared__ __align__(16) packet<T> partial[sum_chains][lanes];
        index_t const s = block / tiles(), first = block % tiles() * width;
        int const thread = static_cast<int>(threadIdx.x);
        int const lane = thread % lanes, chain = thread / lanes;
        index_t const j = first + lane * sums.size;
        index_t const end = j < sums.columns ? sums.begin(s + 1) : 0;
        packet<T> sum{};
        for (index_t p = sums.begin(s) + chain; p < end; p += at_once * sum_chains)
            sums.template each_row<at_once>(p, sum_chains, end, j,
                                            [&](int, packet<T> const& x) { sums.add(sum, x); });
        partial[chain][lane] = sum;
        __syncthreads();
        if (thread >= width || first + thread >= sums.columns) return;
        T all = T(0);
#pragma unroll 16
        for (int c = 0; c < sum_chains; ++c)
            all += partial[c][thread / sums.size].at[thread % sums.size];
        sums.y[s * sums.columns + first + thread] = all;
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
