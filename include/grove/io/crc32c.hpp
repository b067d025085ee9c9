// SPDX-License-Identifier: Apache-2.0
/// @file
/// CRC-32C, the checksum of checkpoints and of TensorBoard's event files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// tables[k][b]: the remainder of byte b followed by k zero bytes, bits reflected.
constexpr std::array<std::array<std::uint32_t, 256>, 8> crc32c_tables() {
    constexpr std::uint32_t castagnoli = 0x82F63B78u;
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t remainder = byte;
        for (int bit = 0; bit < 8; ++bit)
            remainder = (remainder >> 1) ^ ((remainder & 1u) != 0 ? castagnoli : 0u);
        tables[0][byte] = remainder;
    }
    for (std::size_t k = 1; k < 8; ++k)
        for (std::size_t byte = 0; byte < 256; ++byte) {
            std::uint32_t const previous = tables[k - 1][byte];
            tables[k][byte] = (previous >> 8) ^ tables[0][previous & 0xFFu];
        }
    return tables;
}
inline constexpr auto crc32c_table = crc32c_tables();

}  // namespace detail

/// CRC-32C (Castagnoli polynomial 0x1EDC6F41, RFC 3720 appendix B.4) of `bytes`, eight at a time
/// (slicing-by-8, Kounavis and Berry 2005). Pieces chain: `crc32c(b, crc32c(a))` is that of a then
/// b.
inline std::uint32_t crc32c(std::span<std::byte const> bytes, std::uint32_t previous = 0) {
    auto const& table = detail::crc32c_table;
    std::uint32_t crc = ~previous;
    auto const at = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
    while (bytes.size() >= 8) {
        crc ^= at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24;
        crc = table[7][crc & 0xFFu] ^ table[6][(crc >> 8) & 0xFFu] ^ table[5][(crc >> 16) & 0xFFu] ^
              table[4][crc >> 24] ^ table[3][at(4)] ^ table[2][at(5)] ^ table[1][at(6)] ^
              table[0][at(7)];
        bytes = bytes.subspan(8);
    }
    for (std::byte const byte : bytes)
        crc = (crc >> 8) ^ table[0][(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFFu];
    return ~crc;
}
inline std::uint32_t crc32c(std::string_view bytes, std::uint32_t previous = 0) {
    return crc32c(std::as_bytes(std::span(bytes)), previous);
}

/// The form that record files store, so that a checksum of data which itself contains checksums
/// stays strong: rotated right by 15 bits, plus 0xA282EAD8 (the TFRecord format).
constexpr std::uint32_t masked_crc32c(std::uint32_t crc) {
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

}  // namespace grove::inline GROVE_ISA
