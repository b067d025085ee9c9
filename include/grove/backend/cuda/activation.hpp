// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gated activations and rotary embeddings by rows, with their gradients.
#pragma once

#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each row and each run of 4096 bytes of it, a packet a thread.
template <class T>
struct row_runs {
    static constexpr int threads = 256;
    static constexpr index_t length = threads * packet<T>::size;
    index_t rows, columns;

    index_t blocks() const { return rows * runs(); }
    __host__ __device__ index_t runs() const { return (columns + length - 1) / length; }
    __device__ index_t row(index_t block) const { return block / runs(); }
    __device__ index_t column(index_t block) const {
        return block % runs() * length + index_t{threadIdx.x} * packet<T>::size;
    }
};

/// y = silu(gate) · up of rows [gate, up].
template <class T>
struct swiglu_runs : row_runs<T> {
    input<T> x;
    bool aligned;
    output<T> y;

    __device__ void operator()(index_t block) const {
        index_t const columns = this->columns, i = this->row(block), j = this->column(block);
        if (j >= columns) return;
        auto const from = x.from(i * 2 * columns);
        auto a = from.load(j, columns, aligned);
        auto const u = from.from(columns).load(j, columns, aligned);
        for (int t = 0; t < packet<T>::size; ++t)
            a.at[t] = a.at[t] * math::sigmoid(a.at[t]) * u.at[t];
        y.from(i * columns).store(a, j, columns, aligned);
    }
};
/// Its gradient, laid out as x.
template <class T>
struct swiglu_gradient_runs : row_runs<T> {
    input<T> g, x;
    bool aligned;
    output<T> dx;

    __device__ void operator()(index_t block) const {
        index_t const columns = this->columns, i = this->row(block), j = this->column(block);
        if (j >= columns) return;
        auto const from = x.from(i * 2 * columns);
        auto a = from.load(j, columns, aligned);
        auto u = from.from(columns).load(j, columns, aligned);
        auto const gi = g.from(i * columns).load(j, columns, aligned);
        for (int t = 0; t < packet<T>::size; ++t) {
            T const s = math::sigmoid(a.at[t]), silu = a.at[t] * s;
            a.at[t] = gi.at[t] * u.at[t] * (s + silu * (T(1) - s));
            u.at[t] = gi.at[t] * silu;
        }
        auto const to = dx.from(i * 2 * columns);
        to.store(a, j, columns, aligned);
        to.from(columns).store(u, j, columns, aligned);
    }
};

/// Rotates each head of a token by its position, a block a token; zeros where there is no such
/// position.
template <class T>
struct rope_rows {
    static constexpr int threads = 128;
    input<T> x;
    T const* table;
    std::int32_t const* positions;
    index_t table_rows;
    int heads, dim;
    bool halves;
    T sign;  ///< of the sines
    fault_report report;
    output<T> y;

    __device__ void operator()(index_t token) const {
        index_t const position = positions[token];
        bool const exists = position >= 0 && position < table_rows;
        if (!exists && threadIdx.x == 0) report.index(position, table_rows, token);
        int const half = dim / 2;
        T const* const cosine = table + position * dim;
        auto const from = x.from(token * heads * dim);
        auto const to = y.from(token * heads * dim);
        for (int pair = static_cast<int>(threadIdx.x); pair < heads * half; pair += threads) {
            int const head = pair / half, j = pair % half;
            int const a = head * dim + (halves ? j : 2 * j), b = a + (halves ? half : 1);
            T const c = exists ? cosine[j] : T(0), s = exists ? cosine[half + j] * sign : T(0);
            T const left = from[a], right = from[b];
            to.set(a, left * c - right * s);
            to.set(b, right * c + left * s);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
