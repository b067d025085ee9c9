// SPDX-License-Identifier: Apache-2.0
/// @file
/// Root-mean-square norms by rows, a warp a row, and their gradients.
#pragma once

#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/cuda/system.hpp"

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
    input<T> old, added = {};  ///< x = old + added is written first; without added, old is x
    output<T> sum = {};        ///< to where x is

    __device__ void operator()(index_t block) const {
        index_t const i = row(block);
        if (i >= rows) return;
        auto const from = x.from(i * columns);
        if (added.exists()) add(i * columns);
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

/// A warp's row of up to `Columns` numbers in its registers.
template <class T, int Columns>
struct held_row {
    static constexpr int size = packet<T>::size, packets = Columns / 32 / size;  ///< of a lane

    /// body(p, j) for a lane's p-th packet, which begins at column j.
    template <class Body>
    __device__ static void each(index_t columns, Body&& body) {
#pragma unroll
        for (int p = 0; p < packets; ++p) {
            index_t const j = (index_t{p} * 32 + warp_rows::lane()) * size;
            if (j < columns) body(p, j);
        }
    }
    __device__ static void fetch(uint4 (&to)[packets], input<T> const& from, index_t columns,
                                 bool aligned) {
        each(columns, [&](int p, index_t j) { to[p] = from.fetch(j, columns, aligned); });
    }
};

/// norm_rows of rows that are held: all is read at once, and once. The same bits.
template <class T, int Columns>
struct norm_held_rows : held_row<T, Columns> {
    using held = held_row<T, Columns>;
    static constexpr int threads = warp_rows::threads;
    norm_rows<T> rows;

    explicit norm_held_rows(norm_rows<T> const& all) : rows(all) {}
    index_t blocks() const { return rows.blocks(); }

    __device__ void operator()(index_t block) const {
        index_t const i = rows.row(block), columns = rows.columns, first = i * columns;
        if (i >= rows.rows) return;
        bool const aligned = rows.aligned, adds = rows.added.exists();
        auto const from = rows.old.from(first), more = rows.added.from(first);
        uint4 fetched[held::packets], fetched_more[held::packets], fetched_w[held::packets];
        held::fetch(fetched, from, columns, aligned);
        if (adds) held::fetch(fetched_more, more, columns, aligned);
        held::fetch(fetched_w, rows.w, columns, aligned);
        packet<T> x[held::packets];
        T squares = T(0);
        held::each(columns, [&](int p, index_t j) {
            x[p] = from.value(fetched[p], aligned);
            if (adds) {
                auto const b = more.value(fetched_more[p], aligned);
                for (int t = 0; t < held::size; ++t) x[p].at[t] = add_rounded(x[p].at[t], b.at[t]);
                rows.sum.from(first).store(x[p], j, columns, aligned);
                for (T& number : x[p].at) number = rows.sum.kept(number);
            }
            for (T number : x[p].at) squares = math::fma(number, number, squares);
        });
        T const r = T(1) / math::sqrt(warp_sum(squares) / static_cast<T>(columns) + rows.epsilon);
        if (rows.lane() == 0) rows.inverse[i] = r;
        held::each(columns, [&](int p, index_t j) {
            auto const b = rows.w.value(fetched_w[p], aligned);
            for (int t = 0; t < held::size; ++t) x[p].at[t] = x[p].at[t] * r * b.at[t];
            rows.y.from(first).store(x[p], j, columns, aligned);
        });
    }
};

/// Queues a norm, by rows that are held where they are short enough.
template <class T>
void launch_norm(thrust_cuda const& system, norm_rows<T> const& norm) {
    auto const launch = [&](auto const& kernel) { system.each_block(kernel.blocks(), kernel); };
    if (norm.columns <= 256)
        launch(norm_held_rows<T, 256>(norm));
    else if (norm.columns <= 1024)
        launch(norm_held_rows<T, 1024>(norm));
    else
        launch(norm);
}

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
            if (of_sum.exists()) {
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
struct norm_gradient_block : held_row<T, Columns> {
    using held = held_row<T, Columns>;
    using held::size, held::packets;
    static constexpr int threads = warp_rows::threads, warps = threads / 32;
    using part = packet<T>[packets];
    norm_gradient_rows<T> rows;
    T* y;

    norm_gradient_block(norm_gradient_rows<T> const& all, T* to) : rows(all), y(to) {}
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
        held::each(rows.columns, body);
    }
    __device__ static packet<T>& at(T* sums, index_t j) {
        return *reinterpret_cast<packet<T>*>(sums + j);
    }
    /// dx of row i; its g · x · r are added to `sums`.
    __device__ void add_row(index_t i, T* sums) const {
        auto const fetch = [&](uint4(&to)[packets], input<T> const& from) {
            held::fetch(to, from, rows.columns, rows.aligned);
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
        if (rows.of_sum.exists()) fetch(fetched, owns);
        each([&](int p, index_t j) {
            auto const x = xs.value(fetched_x[p], rows.aligned);
            for (int t = 0; t < size; ++t) a[p].at[t] = (a[p].at[t] - x.at[t] * pull) * r;
            if (rows.of_sum.exists()) {
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

}  // namespace grove::inline GROVE_ISA::detail
