// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gated activations and rotary embeddings by rows, with their gradients.
#pragma once

#include "grove/backend/cuda/divisor.hpp"
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
        auto const gate = from.fetch(j, columns, aligned),
                   up = from.from(columns).fetch(j, columns, aligned);
        auto a = x.value(gate, aligned);
        auto const u = x.value(up, aligned);
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

/// The pair (left, right) turned by an angle: rounded alike in both kernels below.
template <class T>
__device__ void turn(T& left, T& right, T cosine, T sine) {
    T const x = left;
    left = math::fma(x, cosine, -multiply_rounded(right, sine));
    right = math::fma(right, cosine, multiply_rounded(x, sine));
}

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
        T const* const cosine = cosines(token, threadIdx.x == 0);
        int const half = dim / 2;
        auto const from = x.from(token * heads * dim);
        auto const to = y.from(token * heads * dim);
        for (int pair = static_cast<int>(threadIdx.x); pair < heads * half; pair += threads) {
            int const head = pair / half, j = pair % half;
            int const a = head * dim + (halves ? j : 2 * j), b = a + (halves ? half : 1);
            T left = from[a], right = from[b];
            turn(left, right, cosine == nullptr ? T(0) : cosine[j],
                 cosine == nullptr ? T(0) : cosine[half + j] * sign);
            to.set(a, left);
            to.set(b, right);
        }
    }
    /// The token's row of the table; null, and reported by one thread, where there is none.
    __device__ T const* cosines(index_t token, bool reports) const {
        index_t const position = positions[token];
        if (position >= 0 && position < table_rows) return table + position * dim;
        if (reports) report.index(position, table_rows, token);
        return nullptr;
    }
};
/// The same, a packet of pairs a thread: for heads of which the halves are whole packets.
template <class T>
struct rope_packets {
    static constexpr int size = packet<T>::size;
    rope_rows<T> rows;
    quick_divisor of_token, of_head;  ///< packets of pairs

    static bool fits(rope_rows<T> const& rows, index_t tokens) {
        return rows.dim % (2 * size) == 0 && all_rows_aligned(rows.dim, rows.x, rows.y) &&
               rows_are_aligned(rows.dim, {rows.table}) &&
               tokens * rows.heads * rows.dim < most_places;
    }
    static rope_packets of(rope_rows<T> const& rows) {
        index_t const of_head = rows.dim / 2 / size;
        return {rows, quick_divisor::by(rows.heads * of_head), quick_divisor::by(of_head)};
    }
    index_t places(index_t tokens) const { return tokens * of_token.divisor; }

    __device__ void operator()(index_t at) const {
        std::uint32_t const token = of_token.quotient(static_cast<std::uint32_t>(at));
        std::uint32_t const in_token = static_cast<std::uint32_t>(at) - token * of_token.divisor;
        std::uint32_t const head = of_head.quotient(in_token);
        int const j = static_cast<int>(in_token - head * of_head.divisor) * size;
        int const half = rows.dim / 2;
        index_t const first = (index_t{token} * rows.heads + head) * rows.dim;
        auto const from = rows.x.from(first);
        auto const to = rows.y.from(first);
        int const a = rows.halves ? j : 2 * j, b = rows.halves ? j + half : 2 * j + size;
        auto left = from.load(a, rows.dim, true), right = from.load(b, rows.dim, true);
        packet<T> cosine{}, sine{};
        if (T const* const known = rows.cosines(token, in_token == 0); known != nullptr) {
            cosine = load_packet(known, j, half, true);
            sine = load_packet(known + half, j, half, true);
        }
#pragma unroll
        for (int t = 0; t < size; ++t) {
            auto& pair = t < size / 2 ? left : right;  // of neighbours
            T& x = rows.halves ? left.at[t] : pair.at[2 * t % size];
            T& y = rows.halves ? right.at[t] : pair.at[2 * t % size + 1];
            turn(x, y, cosine.at[t], sine.at[t] * rows.sign);
        }
        to.store(left, a, rows.dim, true);
        to.store(right, b, rows.dim, true);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
