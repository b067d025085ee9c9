// SPDX-License-Identifier: Apache-2.0
/// @file
/// A register full of numbers: what a law is called with on the CPU.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <limits>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
namespace simd = Eigen::internal;
template <class T>
using native_packet = typename simd::packet_traits<T>::type;
}  // namespace detail

template <class T>
struct pack;

/// Lane-wise truth values of a comparison of packs; all bits of a true lane are set.
template <class T>
struct pack_mask {
    using packet = detail::native_packet<T>;
    packet bits;

    friend pack_mask operator&(pack_mask a, pack_mask b) {
        return {detail::simd::pand(a.bits, b.bits)};
    }
    friend pack_mask operator|(pack_mask a, pack_mask b) {
        return {detail::simd::por(a.bits, b.bits)};
    }
};

/// One native SIMD register of `T` (16 floats with AVX-512). A plain value, never an Eigen
/// expression. A lane's result depends on that lane alone; tails are loaded partially and go
/// through the same instructions, so that a number's bits do not depend on its position in an
/// array.
template <class T>
struct pack {
    using value_type = T;
    using packet = detail::native_packet<T>;
    static constexpr int size = detail::simd::unpacket_traits<packet>::size;

    packet value;

    pack() : value(detail::simd::pset1<packet>(T(0))) {}
    pack(packet v)
        requires(!std::is_same_v<packet, T>)
        : value(v) {}
    pack(T number) : value(detail::simd::pset1<packet>(number)) {}

    /// `size` numbers from `source`, which need not be aligned.
    static pack load(T const* source) {
        pack result;
        result.value = detail::simd::ploadu<packet>(source);
        return result;
    }
    /// The first `count < size` numbers from `source`; the other lanes are `fill`.
    [[gnu::noinline]] static pack load(T const* source, int count, T fill = T(0)) {
        alignas(64) T lanes[size];
        for (int i = 0; i < size; ++i) lanes[i] = i < count ? source[i] : fill;
        return load(lanes);
    }
    void store(T* destination) const { detail::simd::pstoreu(destination, value); }
    /// Writes the first `count` lanes.
    void store(T* destination, int count) const { store_lanes(*this, destination, count); }

    pack& operator+=(pack b) { return *this = *this + b; }
    pack& operator-=(pack b) { return *this = *this - b; }
    pack& operator*=(pack b) { return *this = *this * b; }

    friend pack operator+(pack a, pack b) { return {detail::simd::padd(a.value, b.value)}; }
    friend pack operator-(pack a, pack b) { return {detail::simd::psub(a.value, b.value)}; }
    friend pack operator*(pack a, pack b) { return {detail::simd::pmul(a.value, b.value)}; }
    friend pack operator/(pack a, pack b) { return {detail::simd::pdiv(a.value, b.value)}; }
    friend pack operator-(pack a) { return {detail::simd::pnegate(a.value)}; }

    friend pack_mask<T> operator<(pack a, pack b) {
        return {detail::simd::pcmp_lt(a.value, b.value)};
    }
    friend pack_mask<T> operator<=(pack a, pack b) {
        return {detail::simd::pcmp_le(a.value, b.value)};
    }
    friend pack_mask<T> operator>(pack a, pack b) { return b < a; }
    friend pack_mask<T> operator>=(pack a, pack b) { return b <= a; }
    friend pack_mask<T> operator==(pack a, pack b) {
        return {detail::simd::pcmp_eq(a.value, b.value)};
    }

    /// `condition ? yes : no`, lane by lane. Both sides are evaluated.
    static pack select(pack_mask<T> condition, pack yes, pack no) {
        return {detail::simd::pselect(condition.bits, yes.value, no.value)};
    }
    static pack fma(pack a, pack b, pack c) {
        return {detail::simd::pmadd(a.value, b.value, c.value)};
    }
    static pack abs(pack a) { return {detail::simd::pabs(a.value)}; }
    /// Eigen's fast square root turns ∞ into NaN; this selection restores it.
    static pack sqrt(pack a) {
        pack const y = {detail::simd::psqrt(a.value)};
        return select(a == pack(std::numeric_limits<T>::infinity()), a, y);
    }
    static pack log(pack a) { return {detail::simd::plog(a.value)}; }
    /// Eigen's exponential saturates and loses NaN; these three selections restore the IEEE limits.
    static pack exp(pack a) {
        constexpr bool single = sizeof(T) == 4;
        pack const low(single ? T(-87.3) : T(-708.3)), high(single ? T(88.37) : T(709.4));
        pack y = {detail::simd::pexp(a.value)};
        y = select(a < low, pack(T(0)), y);
        y = select(a > high, pack(std::numeric_limits<T>::infinity()), y);
        return select(a == a, y, a);
    }
    /// Where Eigen has none: −m / (2 + m) with m = e^(−2|x|) − 1, which Kahan's quotient (u − 1) z
    /// / log u of u = e^z yields without cancellation.
    static pack tanh(pack a) {
        if constexpr (detail::simd::packet_traits<T>::HasTanh) {
            return {detail::simd::ptanh(a.value)};
        } else {
            pack const one(T(1)), two(T(2)), limit(T(20)), magnitude = abs(a);
            pack const z = -two * select(limit < magnitude, limit, magnitude), u = exp(z);
            pack const m = select(u == one, z, (u - one) * z / log(u));
            pack const y = -m / (two + m);
            return select(a < pack(T(0)), -y, y);
        }
    }

private:
    /// By value: taking the address of a pack would keep it, and its neighbours, in memory.
    [[gnu::noinline]] static void store_lanes(pack x, T* destination, int count) {
        alignas(64) T lanes[size];
        x.store(lanes);
        for (int i = 0; i < count; ++i) destination[i] = lanes[i];
    }
};

}  // namespace grove::inline GROVE_ISA
