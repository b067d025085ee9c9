// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gated activations by rows, with their gradients.
#pragma once

#include "grove/backend/cuda/numbers.hpp"

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

/// y = silu(gate) · up of rows [gate, up]; a block for two rows, of which all is under way at once.
template <class T>
struct swiglu_runs : row_runs<T> {
    static constexpr int at_once = 2;
    input<T> x;
    bool aligned;
    output<T> y;

    index_t blocks() const { return (this->rows + at_once - 1) / at_once * this->runs(); }
    __device__ void operator()(index_t block) const {
        index_t const columns = this->columns, j = this->column(block);
        index_t const first = this->row(block) * at_once;
        if (j >= columns) return;
        uint4 gate[at_once], up[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            if (first + k >= this->rows) break;
            auto const from = x.from((first + k) * 2 * columns);
            gate[k] = from.fetch(j, columns, aligned);
            up[k] = from.from(columns).fetch(j, columns, aligned);
        }
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            if (first + k >= this->rows) return;
            auto a = x.value(gate[k], aligned);
            auto const u = x.value(up[k], aligned);
            for (int t = 0; t < packet<T>::size; ++t)
                a.at[t] = a.at[t] * math::sigmoid(a.at[t]) * u.at[t];
            y.from((first + k) * columns).store(a, j, columns, aligned);
        }
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
        auto const gate = from.fetch(j, columns, aligned),
                   up = from.from(columns).fetch(j, columns, aligned),
                   slope = g.from(i * columns).fetch(j, columns, aligned);
        auto a = x.value(gate, aligned), u = x.value(up, aligned);
        auto const gi = g.value(slope, aligned);
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

}  // namespace grove::inline GROVE_ISA::detail
