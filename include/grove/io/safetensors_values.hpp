// SPDX-License-Identifier: Apache-2.0
/// @file
/// Elements of safetensors files as numbers: bfloat16, half and full precision, integers.
#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <type_traits>

#include "grove/io/safetensors_header.hpp"

namespace grove::inline GROVE_ISA {

/// The number that these 16 bits are as bfloat16: the upper half of a float.
inline float bfloat16_to_float(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
/// The nearest bfloat16, ties to even; a NaN stays one.
inline std::uint16_t float_to_bfloat16(float number) {
    auto const bits = std::bit_cast<std::uint32_t>(number);
    if (number != number) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
/// The number that these 16 bits are as IEEE half precision.
inline float half_to_float(std::uint16_t bits) {
    std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
    std::uint32_t const rest = bits & 0x7fff;
    if (rest >= 0x7c00)  // infinity or NaN
        return std::bit_cast<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest < 0x0400)  // zero or subnormal: units of 2⁻²⁴
        return (sign ? -1.0f : 1.0f) * static_cast<float>(rest) * 0x1p-24f;
    return std::bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
}

namespace detail {

/// Element i of bytes that need no alignment.
template <class Stored>
Stored load_element(std::byte const* bytes, index_t i) {
    Stored value;
    std::memcpy(&value, bytes + i * static_cast<index_t>(sizeof(Stored)), sizeof(Stored));
    return value;
}

/// Calls `use(element)`, where element(i) is number i of `bytes` as a T. Floating-point T take F64,
/// F32, F16 and BF16, integers I64 and I32 within T's range; anything else is an io_error.
template <class T, class Use>
void with_elements(safetensors_tensor const& tensor, std::byte const* bytes, Use&& use) {
    auto const as = [&]<class Stored>(std::type_identity<Stored>, auto convert) {
        use([=](index_t i) { return convert(load_element<Stored>(bytes, i)); });
    };
    if constexpr (std::is_floating_point_v<T>) {
        auto const cast = [](auto x) { return static_cast<T>(x); };
        switch (tensor.dtype) {
            case safetensors_dtype::f64:
                return as(std::type_identity<double>(), cast);
            case safetensors_dtype::f32:
                return as(std::type_identity<float>(), cast);
            case safetensors_dtype::f16:
                return as(std::type_identity<std::uint16_t>(),
                          [](auto x) { return static_cast<T>(half_to_float(x)); });
            case safetensors_dtype::bf16:
                return as(std::type_identity<std::uint16_t>(),
                          [](auto x) { return static_cast<T>(bfloat16_to_float(x)); });
            default:
                break;
        }
    } else {
        auto const narrow = [&tensor](auto x) {
            require<io_error>(std::in_range<T>(x), "safetensors", "expected ",
                              quote_name(tensor.name), " to hold integers of ", 8 * sizeof(T),
                              " bits, got ", x);
            return static_cast<T>(x);
        };
        switch (tensor.dtype) {
            case safetensors_dtype::i64:
                return as(std::type_identity<std::int64_t>(), narrow);
            case safetensors_dtype::i32:
                return as(std::type_identity<std::int32_t>(), narrow);
            default:
                break;
        }
    }
    fail<io_error>("safetensors", "expected ", quote_name(tensor.name), " to hold ",
                   std::is_floating_point_v<T> ? "F64, F32, F16 or BF16" : "I64 or I32", ", got ",
                   safetensors_name(tensor.dtype));
}

/// Appends `numbers` to `bytes` as elements of type `dtype`: F32 or BF16.
template <class T>
void append_elements(std::string& bytes, safetensors_dtype dtype, std::span<T const> numbers) {
    for (T const number : numbers) {
        auto const single = static_cast<float>(number);
        if (dtype == safetensors_dtype::f32) {
            append_number<float>(bytes, single);
        } else {
            append_number<std::uint16_t>(bytes, float_to_bfloat16(single));
        }
    }
}

}  // namespace detail

}  // namespace grove::inline GROVE_ISA
