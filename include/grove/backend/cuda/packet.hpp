// SPDX-License-Identifier: Apache-2.0
/// @file
/// Sixteen bytes of a row at a time, sums of warps and blocks, and arithmetic that is rounded as it
/// is written. Which thread takes which numbers of a row depends on its length alone: rows that are
/// not aligned are read one by one, in the same order.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "grove/core/math.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// What one thread loads or stores at once.
template <class T>
struct alignas(16) packet {
    static constexpr int size = 16 / static_cast<int>(sizeof(T));
    T at[size];
};

/// Packets of a row; the last may be partly filled.
template <class T>
__host__ __device__ index_t packets_of(index_t columns) {
    return (columns + packet<T>::size - 1) / packet<T>::size;
}

/// Whether all rows of `columns` numbers behind these addresses start at a multiple of 16 bytes.
template <class T>
bool rows_are_aligned(index_t columns, std::initializer_list<T const*> addresses) {
    std::uintptr_t bits = static_cast<std::uintptr_t>(columns) * sizeof(T);
    for (T const* address : addresses) bits |= reinterpret_cast<std::uintptr_t>(address);
    return bits % 16 == 0;
}

template <class T>
__device__ bool is_aligned(T const* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

/// Numbers [first, first + size) of a row; `rest` where it has ended.
template <class T>
__device__ packet<T> load_packet(T const* row, index_t first, index_t columns, bool aligned,
                                 T rest = T(0)) {
    if (aligned) return *reinterpret_cast<packet<T> const*>(row + first);
    packet<T> y;
#pragma unroll
    for (int i = 0; i < packet<T>::size; ++i) y.at[i] = first + i < columns ? row[first + i] : rest;
    return y;
}
template <class T>
__device__ void store_packet(packet<T> const& x, T* row, index_t first, index_t columns,
                             bool aligned) {
    if (aligned) {
        *reinterpret_cast<packet<T>*>(row + first) = x;
        return;
    }
#pragma unroll
    for (int i = 0; i < packet<T>::size; ++i)
        if (first + i < columns) row[first + i] = x.at[i];
}
/// The same where no more than the address is known.
template <class T>
__device__ void write_packet(packet<T> const& x, T* row, index_t first, index_t columns) {
    store_packet(x, row, first, columns, first + packet<T>::size <= columns && is_aligned(row));
}
/// body(first) for the packets `lane`, `lane` + lanes, … of a row.
template <class T, class Body>
__device__ void each_packet(index_t columns, int lane, int lanes, Body&& body) {
    for (index_t j = index_t{lane} * packet<T>::size; j < columns;
         j += index_t{lanes} * packet<T>::size)
        body(j);
}

/// Σ over the lanes of a warp, in every lane.
template <class T>
__device__ T warp_sum(T x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0U, x, step);
    return x;
}

// Never contracted with what is around them: the same bits in every kernel.
__device__ inline float add_rounded(float a, float b) { return __fadd_rn(a, b); }
__device__ inline double add_rounded(double a, double b) { return __dadd_rn(a, b); }
__device__ inline float multiply_rounded(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double multiply_rounded(double a, double b) { return __dmul_rn(a, b); }

}  // namespace grove::inline GROVE_ISA::detail
