// SPDX-License-Identifier: Apache-2.0
/// @file
/// Divisions of places by extents that the host knows.
#pragma once

#include <bit>
#include <cstdint>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// How many places a kernel numbers in 32 bits; whoever has more launches twice.
inline constexpr index_t most_places = index_t{1} << 31;

/// Divides numbers below 2³¹ by one of [1, 2³¹): a product and a shift, where the device would take
/// some twenty instructions. n / d = ⌊n · (2³² + factor) / 2^(32 + shift)⌋ with the factor rounded
/// up: off by less than one part in 2³² (Granlund and Montgomery, 1994).
struct quick_divisor {
    std::uint32_t divisor, factor;
    int shift;

    static quick_divisor by(index_t divisor) {
        auto const d = static_cast<std::uint64_t>(divisor);
        int const shift = std::bit_width(d - 1);
        auto const factor = ((((std::uint64_t{1} << shift) - d) << 32) / d) + 1;
        return {static_cast<std::uint32_t>(d), static_cast<std::uint32_t>(factor), shift};
    }
    __device__ std::uint32_t quotient(std::uint32_t n) const {
        return (__umulhi(n, factor) + n) >> shift;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
