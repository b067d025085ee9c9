// SPDX-License-Identifier: Apache-2.0
/// @file
/// The bytes of a checkpoint file: element types, and the heads in front of its sections.
///
/// Layout, all numbers little-endian: "GROVECKP", u32 version, u32 CRC-32C of these 12 bytes; then
/// per section u32 size of its head, the head, u32 CRC-32C of size and head, and the payload. A
/// head is u32 + name, u32 + type, u32 rank, i64 extents, u64 payload size, u32 CRC-32C of the
/// payload. The last section has an empty name, the type "end", and holds the file's total size as
/// u64.
#pragma once

#include <cstdint>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/bytes.hpp"
#include "grove/io/crc32c.hpp"

namespace grove::inline GROVE_ISA {

/// The name of an element type in files: "f32", "i64", …; empty for what cannot be stored. A number
/// type of your own that is trivially copyable joins by a specialisation.
template <class T>
inline constexpr std::string_view element_name = "";
template <>
inline constexpr std::string_view element_name<float> = "f32";
template <>
inline constexpr std::string_view element_name<double> = "f64";
template <>
inline constexpr std::string_view element_name<std::int8_t> = "i8";
template <>
inline constexpr std::string_view element_name<std::int16_t> = "i16";
template <>
inline constexpr std::string_view element_name<std::int32_t> = "i32";
template <>
inline constexpr std::string_view element_name<std::int64_t> = "i64";
template <>
inline constexpr std::string_view element_name<std::uint8_t> = "u8";
template <>
inline constexpr std::string_view element_name<std::uint16_t> = "u16";
template <>
inline constexpr std::string_view element_name<std::uint32_t> = "u32";
template <>
inline constexpr std::string_view element_name<std::uint64_t> = "u64";

/// A type whose arrays a checkpoint stores.
template <class T>
concept checkpoint_element = std::is_trivially_copyable_v<T> && !element_name<T>.empty();
/// A contiguous array of such elements: std::vector, std::span, std::array.
template <class Range>
concept checkpoint_array =
    std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
    checkpoint_element<std::ranges::range_value_t<Range>>;

/// What a checkpoint file says about one of its sections.
struct checkpoint_section {
    std::string name;
    /// element_name of the elements, "text" or "json".
    std::string type;
    /// Extents, outermost first; empty for a single value.
    std::vector<index_t> extents;
    /// Bytes of the payload, and where in the file they begin.
    std::uint64_t size = 0;
    std::uint64_t offset = 0;
    /// CRC-32C of the payload.
    std::uint32_t checksum = 0;
};

namespace detail {

inline constexpr std::string_view checkpoint_magic = "GROVECKP";
inline constexpr std::uint32_t checkpoint_version = 1;
inline constexpr std::uint64_t checkpoint_header_size = 16;

inline std::vector<index_t> extents_of(shape const& s) {
    std::vector<index_t> extents;
    for (int axis = 0; axis < s.rank(); ++axis) extents.push_back(s[axis]);
    return extents;
}

/// "[2, 3]", as a shape prints itself.
inline std::string format_extents(std::vector<index_t> const& extents) {
    std::string text;
    for (index_t extent : extents) text += (text.empty() ? "" : ", ") + std::to_string(extent);
    return '[' + text + ']';
}

inline std::string encode_section_head(checkpoint_section const& section) {
    std::string head;
    for (std::string const* text : {&section.name, &section.type}) {
        append_number<std::uint32_t>(head, static_cast<std::uint32_t>(text->size()));
        head += *text;
    }
    append_number<std::uint32_t>(head, static_cast<std::uint32_t>(section.extents.size()));
    for (index_t extent : section.extents) append_number<index_t>(head, extent);
    append_number<std::uint64_t>(head, section.size);
    append_number<std::uint32_t>(head, section.checksum);

    std::string framed;
    append_number<std::uint32_t>(framed, static_cast<std::uint32_t>(head.size()));
    framed += head;
    append_number<std::uint32_t>(framed, crc32c(framed));
    return framed;
}

inline checkpoint_section decode_section_head(std::string_view head) {
    byte_cursor cursor(head, "checkpoint");
    checkpoint_section section;
    section.name = cursor.text(cursor.number<std::uint32_t>());
    section.type = cursor.text(cursor.number<std::uint32_t>());
    auto const rank = cursor.number<std::uint32_t>();
    require<io_error>(rank <= shape::max_rank, "checkpoint", "expected section '", section.name,
                      "' to have at most ", shape::max_rank, " extents, got ", rank);
    for (std::uint32_t i = 0; i < rank; ++i) section.extents.push_back(cursor.number<index_t>());
    section.size = cursor.number<std::uint64_t>();
    section.checksum = cursor.number<std::uint32_t>();
    return section;
}

}  // namespace detail

}  // namespace grove::inline GROVE_ISA
