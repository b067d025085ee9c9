// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a block of threads finds out about a row: sums, and where a running sum passes a bound.
/// The order of every sum is a function of the row's length.
#pragma once

#include "grove/backend/cuda/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A row of `columns` places. Every thread of the block must call, with the same arguments; every
/// thread gets the same result.
struct row_block {
    static constexpr int threads = 512, warps = threads / 32;
    index_t columns;

    __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
    __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
    /// A warp's share of the columns, consecutive ones.
    __device__ index_t share() const { return (columns + threads - 1) / threads * 32; }

    /// Σ values over the threads, for each of `Count` values.
    template <int Count>
    __device__ static void sum(double (&values)[Count]) {
        __shared__ double of_warp[Count][warps];
        for (int k = 0; k < Count; ++k) {
            for (int step = 16; step > 0; step /= 2)
                values[k] += __shfl_xor_sync(~0U, values[k], step);
            if (lane() == 0) of_warp[k][warp()] = values[k];
        }
        __syncthreads();
        for (int k = 0; k < Count; ++k) {
            values[k] = 0;
            for (int w = 0; w < warps; ++w) values[k] += of_warp[k][w];
        }
        __syncthreads();
    }
    /// Σ f(i) over the columns.
    template <class F>
    __device__ double total(F const& f) const {
        double y[1] = {0};
        for (index_t i = threadIdx.x; i < columns; i += threads) y[0] += f(i);
        sum(y);
        return y[0];
    }
    /// The first column i at which f(0) + … + f(i) exceeds `target`; by rounding alone there may be
    /// none, then the last with f > 0. All f ≥ 0, not all 0.
    template <class F>
    __device__ index_t first_beyond(F const& f, double target) const {
        __shared__ double of_warp[warps];
        __shared__ index_t found;
        index_t const begin = warp() * share();
        double own = 0;
        for (index_t i = begin + lane(); i < begin + share(); i += 32)
            own += i < columns ? f(i) : 0.0;
        for (int step = 16; step > 0; step /= 2) own += __shfl_xor_sync(~0U, own, step);
        if (lane() == 0) of_warp[warp()] = own;
        __syncthreads();
        double before = 0, at = 0;
        int owner = -1;  // the first warp that reaches beyond, else the last that holds anything
        for (int w = 0; w < warps && !(owner >= 0 && before > target); ++w) {
            if (of_warp[w] > 0) {
                owner = w;
                at = before;
            }
            before += of_warp[w];
        }
        if (warp() == owner) search(f, target, begin, at, found);
        __syncthreads();
        index_t const y = found;
        __syncthreads();
        return y;
    }

private:
    template <class F>
    __device__ void search(F const& f, double target, index_t begin, double sum,
                           index_t& found) const {
        index_t last = begin;
        for (index_t i = begin; i < begin + share(); i += 32) {
            double const own = i + lane() < columns ? f(i + lane()) : 0.0;
            double until = own;
            for (int step = 1; step < 32; step *= 2) {
                double const left = __shfl_up_sync(~0U, until, step);
                if (lane() >= step) until = left + until;
            }
            unsigned const some = __ballot_sync(~0U, own > 0);
            unsigned const beyond = __ballot_sync(~0U, own > 0 && sum + until > target);
            if (some != 0) last = i + 31 - __clz(static_cast<int>(some));
            if (beyond != 0) {
                last = i + __ffs(static_cast<int>(beyond)) - 1;
                break;
            }
            sum += __shfl_sync(~0U, until, 31);
        }
        if (lane() == 0) found = last;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
