// SPDX-License-Identifier: Apache-2.0
/// @file
/// Everything a law and whoever calls it on arrays need: math, packs, dual numbers, and the loops.
#pragma once

#include "grove/core/dual.hpp"
#include "grove/core/math.hpp"
#include "grove/core/pack.hpp"

namespace grove::inline GROVE_ISA {

/// Calls `body(pack_loader)` over [0, size) in whole packs and one padded tail: `body(i, count)`
/// where `count` is `pack<T>::size` except in the tail. The tail goes through the same
/// instructions.
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_pack(std::ptrdiff_t size, Body&& body) {
    constexpr std::ptrdiff_t width = pack<T>::size;
    std::ptrdiff_t i = 0;
    for (; i + width <= size; i += width) body(i, static_cast<int>(width));
    if (i < size) body(i, static_cast<int>(size - i));
}

/// `count` numbers from `source` as a pack; whole packs take the fast path.
template <class T>
pack<T> load_pack(T const* source, int count, T fill = T(0)) {
    return count == pack<T>::size ? pack<T>::load(source) : pack<T>::load(source, count, fill);
}
template <class T>
void store_pack(pack<T> value, T* destination, int count) {
    if (count == pack<T>::size) {
        value.store(destination);
    } else {
        value.store(destination, count);
    }
}

}  // namespace grove::inline GROVE_ISA
