// SPDX-License-Identifier: Apache-2.0
/// @file
/// Root-mean-square norms by rows, a warp a row, and their gradients.
#pragma once

#include "grove/backend/cuda/numbers.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A warp for each row.
struct warp_rows {
    static constexpr int threads = 128, rows_of_block = threads / 32;
    index_t rows;

    index_t blocks() const { return (rows + rows_of_block - 1) / rows_of_block; }
    __device__ static index_t row(index_t block) {
        return block * rows_of_block + threadIdx.x / 32;
    }
    __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
};

/// y = x · w · r, r = 1 / √(mean x² + ε); x is what `added` is added to before, where there is
/// that.
template <class T>
struct norm_rows : warp_rows {
    input<T> x, w;
    index_t columns;
    T epsilon;
    bool aligned;
    output<T> y;
    T* inverse;
    input<T> old = {}, added = {};  ///< x = old + added is written first
    output<T> sum = {};             ///< to where x is

    __device__ void operator()(index_t block) const {
        index_t const i = row(block);
        if (i >= rows) return;
        auto const from = x.from(i * columns);
        if (added.full != nullptr || added.half != nullptr) add(i * columns);
        T squares = T(0);
        each_packet<T>(columns, lane(), 32, [&](index_t j) {
            auto const a = from.load(j, columns, aligned);
            for (T number : a.at) squares = math::fma(number, number, squares);
        });
        T const r = T(1) / math::sqrt(warp_sum(squares) / static_cast<T>(columns) + epsilon);
        if (lane() == 0) inverse[i] = r;
        each_packet<T>(columns, lane(), 32, [&](index_t j) {
            auto a = from.load(j, columns, aligned);
            auto const b = w.load(j, columns, aligned);
            for (int t = 0; t < packet<T>::size; ++t) a.at[t] = a.at[t] * r * b.at[t];
            y.from(i * columns).store(a, j, columns, aligned);
        });
    }

private:
    __device__ void add(index_t first) const {
        each_packet<T>(columns, lane(), 32, [&](index_t j) {
            auto const fetched = old.from(first).fetch(j, columns, aligned),
                       more = added.from(first).fetch(j, columns, aligned);
            auto a = old.value(fetched, aligned);
            auto const b = added.value(more, aligned);
            for (int t = 0; t < packet<T>::size; ++t) a.at[t] = add_rounded(a.at[t], b.at[t]);
            sum.from(first).store(a, j, columns, aligned);
        });
    }
};

/// dx = (g · w − x · r² · mean(g · w · x)) · r, and the gradient of x itself where there is one.
template <class T>
struct norm_gradient_rows : warp_rows {
    input<T> g, x, w;
    T const* inverse;
    index_t columns;
    bool aligned;
    output<T> dx;
    input<T> of_sum = {};  ///< x's own gradient
    bf16* copy = nullptr;  ///< of dx, rounded

    __device__ bool has_own() const { return of_sum.full != nullptr || of_sum.half != nullptr; }

    __device__ void operator()(index_t block) const {
        index_t const i = row(block);
        if (i >= rows) return;
        auto const gi = g.from(i * columns), xi = x.from(i * columns);
        T dot = T(0);
        each_packet<T>(columns, lane(), 32, [&](index_t j) {
            auto const a = gi.load(j, columns, aligned);
            auto const b = w.load(j, columns, aligned);
            auto const c = xi.load(j, columns, aligned);
            for (int t = 0; t < packet<T>::size; ++t)
                dot = math::fma(a.at[t] * b.at[t], c.at[t], dot);
        });
        T const r = inverse[i], pull = warp_sum(dot) * r * r / static_cast<T>(columns);
        each_packet<T>(columns, lane(), 32, [&](index_t j) {
            auto a = gi.load(j, columns, aligned);
            auto const b = w.load(j, columns, aligned);
            auto const c = xi.load(j, columns, aligned);
            for (int t = 0; t < packet<T>::size; ++t)
                a.at[t] = (a.at[t] * b.at[t] - c.at[t] * pull) * r;
            if (has_own()) {
                auto const own = of_sum.from(i * columns).load(j, columns, aligned);
                for (int t = 0; t < packet<T>::size; ++t) a.at[t] = add_rounded(a.at[t], own.at[t]);
            }
            store(a, i, j);
        });
    }
    __device__ void store(packet<T> const& a, index_t i, index_t j) const {
        dx.from(i * columns).store(a, j, columns, aligned);
        if (copy != nullptr)
            output<T>{nullptr, copy}.from(i * columns).store(a, j, columns, aligned);
    }
};

/// Rows whose share of a weight's gradient is summed by one block.
inline constexpr index_t rows_of_strip = 16;
inline index_t norm_strips(index_t rows) { return (rows + rows_of_strip - 1) / rows_of_strip; }

/// The same for the rows of a strip, and Σ g · x · r over them by columns: [strips, columns]. A
/// warp's row, of up to `Columns` numbers, stays in its registers.
template <class T, int Columns>
struct norm_gradient_block {
    static constexpr int threads = warp_rows::threads, warps = threads / 32;
    static constexpr int size = packet<T>::size, packets = Columns / 32 / size;  ///< of a lane
    using part = packet<T>[packets];
    norm_gradient_rows<T> rows;
    T* y;

    __device__ void operator()(index_t strip) const {
        __shared__ __align__(16) T sums[warps][Columns];
        int const warp = static_cast<int>(threadIdx.x) / 32;
        index_t const first = strip * rows_of_strip;
        each([&](int, index_t j) { at(sums[warp], j) = {}; });
        for (index_t i = first + warp; i < first + rows_of_strip && i < rows.rows; i += warps)
            add_row(i, sums[warp]);
        __syncthreads();
        for (index_t j = threadIdx.x; j < rows.columns; j += threads) {
            T all = sums[0][j];
            for (int w = 1; w < warps; ++w) all += sums[w][j];
            y[strip * rows.columns + j] = all;
        }
    }

private:
    template <class Body>
    __device__ void each(Body&& body) const {
#pragma unroll
        for (int p = 0; p < packets; ++p) {
            index_t const j = (index_t{p} * 32 + warp_rows::lane()) * size;
            if (j < rows.columns) body(p, j);
        }
    }
    __device__ static packet<T>& at(T* sums, index_t j) {
        return *reinterpret_cast<packet<T>*>(sums + j);
    }
    /// dx of row i; its g · x · r are added to `sums`.
    __device__ void add_row(index_t i, T* sums) const {
        auto const fetch = [&](uint4 (&to)[packets], input<T> const& from) {
            each([&](int p, index_t j) { to[p] = from.fetch(j, rows.columns, rows.aligned); });
        };
        uint4 fetched[packets], fetched_x[packets];
        part a;
        T dot = T(0);
        index_t const start = i * rows.columns;
        auto const g = rows.g.from(start), xs = rows.x.from(start);
        T const r = rows.inverse[i];
        fetch(fetched, g), fetch(fetched_x, xs);
        each([&](int p, index_t j) {
            a[p] = g.value(fetched[p], rows.aligned);
            auto const x = xs.value(fetched_x[p], rows.aligned);
            auto const w = rows.w.load(j, rows.columns, rows.aligned);
            auto sum = at(sums, j);
            for (int t = 0; t < size; ++t) {
                sum.at[t] = math::fma(a[p].at[t] * r, x.at[t], sum.at[t]);
                a[p].at[t] *= w.at[t];
                dot = math::fma(a[p].at[t], x.at[t], dot);
            }
            at(sums, j) = sum;
        });
        T const pull = warp_sum(dot) * r * r / static_cast<T>(rows.columns);
        auto const owns = rows.of_sum.from(start);
        if (rows.has_own()) fetch(fetched, owns);
        each([&](int p, index_t j) {
            auto const x = xs.value(fetched_x[p], rows.aligned);
            for (int t = 0; t < size; ++t) a[p].at[t] = (a[p].at[t] - x.at[t] * pull) * r;
            if (rows.has_own()) {
                auto const own = owns.value(fetched[p], rows.aligned);
                for (int t = 0; t < size; ++t) a[p].at[t] = add_rounded(a[p].at[t], own.at[t]);
            }
            rows.store(a[p], i, j);
        });
    }
};

/// Σ g · x · r over each strip of rows, by columns: [strips, columns].
template <class T>
struct norm_weight_strips {
    static constexpr int threads = 64;
    static constexpr index_t length = threads * packet<T>::size;
    input<T> g, x;
    T const* inverse;
    index_t rows, columns;
    bool aligned;
    T* y;

    __host__ __device__ index_t tiles() const { return (columns + length - 1) / length; }
    index_t blocks() const { return norm_strips(rows) * tiles(); }

    __device__ void operator()(index_t block) const {
        index_t const strip = block / tiles();
        index_t const j = block % tiles() * length + threadIdx.x * packet<T>::size;
        if (j >= columns) return;
        index_t const first = strip * rows_of_strip, last = first + rows_of_strip;
        packet<T> sum{};
#pragma unroll 8
        for (index_t i = first; i < (last < rows ? last : rows); ++i) {
            auto const a = g.from(i * columns).load(j, columns, aligned);
            auto const b = x.from(i * columns).load(j, columns, aligned);
            T const r = inverse[i];
            for (int t = 0; t < packet<T>::size; ++t)
                sum.at[t] = math::fma(a.at[t] * r, b.at[t], sum.at[t]);
        }
        store_packet(sum, y + strip * columns, j, columns, aligned);
    }
};
/// Σ over the strips: of those 0, 16, …, of those 1, 17, …, and over these, in order.
template <class T>
struct strip_sums {
    static constexpr int lanes = 32, chains = 16, threads = lanes * chains;
    T const* x;
    index_t strips, columns;
    T* y;

    index_t blocks() const { return (columns + lanes - 1) / lanes; }
    __device__ void operator()(index_t block) const {
        __shared__ T partial[chains][lanes];
        int const lane = static_cast<int>(threadIdx.x) % lanes, chain = threadIdx.x / lanes;
        index_t const j = block * lanes + lane;
        T sum = T(0);
#pragma unroll 4
        for (index_t s = chain; s < strips && j < columns; s += chains) sum += x[s * columns + j];
        partial[chain][lane] = sum;
        __syncthreads();
        if (chain > 0 || j >= columns) return;
        for (int c = 1; c < chains; ++c) sum += partial[c][lane];
        y[j] = sum;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
