// SPDX-License-Identifier: Apache-2.0
/// @file
/// Numbers in device memory as kernels read and write them: as they are, or rounded to bf16. What
/// is computed from them is computed in T either way.
#pragma once

#include <cuda_bf16.h>

#include "grove/backend/cuda/packet.hpp"

namespace grove::inline GROVE_ISA::detail {

/// The nearest bf16, ties to even.
using bf16 = __nv_bfloat16;

/// As many bf16 as a packet of T has numbers.
template <class T>
struct alignas(2 * packet<T>::size) bf16_packet {
    bf16 at[packet<T>::size];
};

/// Numbers to read, of which one address is null.
template <class T>
struct input {
    T const* full = nullptr;
    bf16 const* half = nullptr;

    __host__ __device__ bool exists() const { return full != nullptr || half != nullptr; }
    /// The numbers from this one on.
    __host__ __device__ input from(index_t place) const {
        return half != nullptr ? input{nullptr, half + place} : input{full + place, nullptr};
    }
    __device__ T operator[](index_t i) const {
        return half != nullptr ? static_cast<T>(__bfloat162float(half[i])) : full[i];
    }
    /// Numbers [first, first + packet<T>::size) of a row that starts here; `rest` where it has
    /// ended.
    __device__ packet<T> load(index_t first, index_t columns, bool aligned, T rest = T(0)) const {
        return value(fetch(first, columns, aligned, rest), aligned);
    }
    /// The same in two steps, so that several are under way at once: what lies in memory, and the
    /// numbers.
    __device__ uint4 fetch(index_t first, index_t columns, bool aligned, T rest = T(0)) const {
        if (aligned && half == nullptr) return *reinterpret_cast<uint4 const*>(full + first);
        uint4 y{};
        if (aligned) {
            auto const x = *reinterpret_cast<bf16_packet<T> const*>(half + first);
            *reinterpret_cast<bf16_packet<T>*>(&y) = x;
        } else {
            auto& x = reinterpret_cast<packet<T>&>(y);
#pragma unroll
            for (int i = 0; i < packet<T>::size; ++i)
                x.at[i] = first + i < columns ? (*this)[first + i] : rest;
        }
        return y;
    }
    __device__ packet<T> value(uint4 const& fetched, bool aligned) const {
        if (!aligned || half == nullptr) return reinterpret_cast<packet<T> const&>(fetched);
        auto const& x = reinterpret_cast<bf16_packet<T> const&>(fetched);
        packet<T> y;
#pragma unroll
        for (int i = 0; i < packet<T>::size; ++i)
            y.at[i] = static_cast<T>(__bfloat162float(x.at[i]));
        return y;
    }
    /// Whether `columns` numbers a row can be loaded as packets.
    bool rows_are_aligned(index_t columns) const {
        auto const bits = half != nullptr ? reinterpret_cast<std::uintptr_t>(half) / sizeof(bf16)
                                          : reinterpret_cast<std::uintptr_t>(full) / sizeof(T);
        return (bits | static_cast<std::uintptr_t>(columns)) % packet<T>::size == 0;
    }
};

/// Numbers to write, of which one address is null.
template <class T>
struct output {
    T* full = nullptr;
    bf16* half = nullptr;

    __host__ __device__ output from(index_t place) const {
        return half != nullptr ? output{nullptr, half + place} : output{full + place, nullptr};
    }
    /// The number that reading gives again.
    __device__ T kept(T x) const {
        return half == nullptr
                   ? x
                   : static_cast<T>(__bfloat162float(__float2bfloat16_rn(static_cast<float>(x))));
    }
    __device__ void set(index_t i, T x) const {
        if (half != nullptr)
            half[i] = __float2bfloat16_rn(static_cast<float>(x));
        else
            full[i] = x;
    }
    __device__ void store(packet<T> const& x, index_t first, index_t columns, bool aligned) const {
        if (half == nullptr) return store_packet(x, full, first, columns, aligned);
        bf16_packet<T> y;
#pragma unroll
        for (int i = 0; i < packet<T>::size; ++i)
            y.at[i] = __float2bfloat16_rn(static_cast<float>(x.at[i]));
        if (aligned) {
            *reinterpret_cast<bf16_packet<T>*>(half + first) = y;
            return;
        }
#pragma unroll
        for (int i = 0; i < packet<T>::size; ++i)
            if (first + i < columns) half[first + i] = y.at[i];
    }
    bool rows_are_aligned(index_t columns) const {
        return input<T>{full, half}.rows_are_aligned(columns);
    }
};

/// Whether all of these have rows that can be read or written as packets.
template <class... Numbers>
bool all_rows_aligned(index_t columns, Numbers const&... numbers) {
    return (numbers.rows_are_aligned(columns) && ...);
}

}  // namespace grove::inline GROVE_ISA::detail
