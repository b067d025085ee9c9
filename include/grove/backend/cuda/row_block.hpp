// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a block of threads finds out about a row: sums, and where a running sum passes a bound.
/// The order of every sum is a function of the row's length.
#pragma once

#include "grove/backend/cuda/packet.hpp"
#include "grove/core/math.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A row of `columns` places. Every thread of the block must call, with the same arguments; every
/// thread gets the same result. Sums are made of 16 parts of 32 lanes each, and a block of fewer
/// warps computes its parts one by one: the same bits.
template <int Threads>
struct row_block {
    static constexpr int threads = Threads, warps = threads / 32;
    static constexpr int parts = 16, lanes = 32 * parts;
    static constexpr int at_once = 8;  ///< values in flight: a row is bound by latency
    static_assert(parts % warps == 0);
    index_t columns;

    __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
    __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
    /// A part's share of the columns where it takes consecutive ones.
    __device__ index_t share() const { return (columns + lanes - 1) / lanes * 32; }

    /// Σ over the columns of what add(sums, f(i), i) adds to each of `Count` sums.
    template <int Count, class F, class Add>
    __device__ void sums(double (&y)[Count], F const& f, Add const& add) const {
        __shared__ double of_part[Count][parts];
        for (int part = warp(); part < parts; part += warps) {
            double own[Count] = {};
            each(32 * part + lane(), columns, lanes, f,
                 [&](auto const& value, index_t i) { add(own, value, i); });
            for (int k = 0; k < Count; ++k) {
                own[k] = warp_sum(own[k]);
                if (lane() == 0) of_part[k][part] = own[k];
            }
        }
        __syncthreads();
        for (int k = 0; k < Count; ++k) {
            y[k] = 0;
            for (int part = 0; part < parts; ++part) y[k] += of_part[k][part];
        }
        __syncthreads();
    }
    /// Calls take(f(i)) for i = begin, begin + step, … below `end`, in this order.
    template <class F, class Take>
    __device__ static void each(index_t begin, index_t end, int step, F const& f,
                                Take const& take) {
        for (; begin + (at_once - 1) * step < end; begin += at_once * step) {
            decltype(f(begin)) y[at_once];
#pragma unroll
            for (int k = 0; k < at_once; ++k) y[k] = f(begin + k * step);
#pragma unroll
            for (int k = 0; k < at_once; ++k) take(y[k], begin + k * step);
        }
        for (; begin < end; begin += step) take(f(begin), begin);
    }
    /// Σ f(i) over the columns.
    template <class F>
    __device__ double total(F const& f) const {
        double y[1];
        sums(y, f, [](double(&sum)[1], double value, index_t) { sum[0] += value; });
        return y[0];
    }
    /// The first column i at which f(0) + … + f(i) exceeds target(Σ f); by rounding alone there may
    /// be none, then the last with f > 0. All f ≥ 0, not all 0.
    template <class F, class Target>
    __device__ index_t first_beyond(F const& f, Target const& target) const {
        __shared__ double of_part[parts];
        __shared__ index_t found;
        auto const begin = [&](int part) { return part * share(); };
        auto const end = [&](int part) { return math::min(begin(part) + share(), columns); };
        for (int part = warp(); part < parts; part += warps) {
            double const own = warp_total(f, begin(part), end(part));
            if (lane() == 0) of_part[part] = own;
        }
        __syncthreads();
        double all = 0;
        for (double part : of_part) all += part;
        double const bound = target(all);
        double before = 0, at = 0;
        int owner = -1;  // the first part that reaches beyond, else the last that holds anything
        for (int part = 0; part < parts && !(owner >= 0 && before > bound); ++part) {
            if (of_part[part] > 0) {
                owner = part;
                at = before;
            }
            before += of_part[part];
        }
        if (owner >= 0 && warp() == owner % warps)
            search(f, bound, begin(owner), end(owner), at, found);
        __syncthreads();
        index_t const y = found;
        __syncthreads();
        return y;
    }

private:
    /// Σ f over [begin, end), in every lane of a warp.
    template <class F>
    __device__ static double warp_total(F const& f, index_t begin, index_t end) {
        double y = 0;
        each(begin + lane(), end, 32, f, [&](double value, index_t) { y += value; });
        return warp_sum(y);
    }
    /// By one warp: first the stretch in which the sum passes the bound, then the column.
    template <class F>
    __device__ static void search(F const& f, double bound, index_t begin, index_t end, double sum,
                                  index_t& found) {
        constexpr index_t stretch = 32 * at_once;
        index_t from = begin;  // of the last stretch that holds anything
        double before = sum;
        for (index_t i = begin; i < end; i += stretch) {
            double const own = warp_total(f, i, math::min(i + stretch, end));
            if (own > 0) {
                from = i;
                before = sum;
            }
            sum += own;
            if (own > 0 && sum > bound) break;
        }
        index_t last = from;
        for (index_t i = from; i < math::min(from + stretch, end); i += 32) {
            double const own = i + lane() < end ? f(i + lane()) : 0.0;
            double until = own;
            for (int step = 1; step < 32; step *= 2) {
                double const left = __shfl_up_sync(~0U, until, step);
                if (lane() >= step) until = left + until;
            }
            unsigned const some = __ballot_sync(~0U, own > 0);
            unsigned const beyond = __ballot_sync(~0U, own > 0 && before + until > bound);
            if (some != 0) last = i + 31 - __clz(static_cast<int>(some));
            if (beyond != 0) {
                last = i + __ffs(static_cast<int>(beyond)) - 1;
                break;
            }
            before += __shfl_sync(~0U, until, 31);
        }
        if (lane() == 0) found = last;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
