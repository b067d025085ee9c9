// SPDX-License-Identifier: Apache-2.0
/// @file
/// UTF-8 text in the columns of a terminal. Text may come from a model: nothing it contains reaches
/// the terminal as a control sequence.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

inline constexpr char32_t invalid_character = 0xFFFFFFFF;

/// Removes the first character of a non-empty text: its code point, or invalid_character for one
/// byte that starts no well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms).
inline char32_t take_character(std::string_view& text) {
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned const lead = byte(0);
    std::size_t const size = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
    constexpr std::array<char32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
    char32_t code = size < 2 ? lead : lead & (0x7Fu >> size);
    bool valid = size > 0 && size <= text.size();
    for (std::size_t i = 1; valid && i < size; ++i) {
        valid = (byte(i) & 0xC0u) == 0x80u;
        code = (code << 6) | (byte(i) & 0x3Fu);
    }
    valid = valid && code >= smallest[size] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
    text.remove_prefix(valid ? size : 1);
    return valid ? code : invalid_character;
}

inline void append_character(std::string& text, char32_t code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
        return;
    }
    int const more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    unsigned const mark = (0xFF00u >> (more + 1)) & 0xFFu;
    text += static_cast<char>(mark | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i)
        text += static_cast<char>(0x80u | ((code >> (6 * i)) & 0x3Fu));
}

template <std::size_t Count>
constexpr bool within(char32_t code,
                      std::array<std::pair<char32_t, char32_t>, Count> const& ranges) {
    for (auto const& [first, last] : ranges)
        if (code >= first && code <= last) return true;
    return false;
}

/// Columns of one character: 0 for marks that combine, 2 for East Asian wide characters and emoji
/// (Unicode 15, UAX #11; blocks rather than single characters), else 1.
constexpr int character_width(char32_t code) {
    constexpr std::array<std::pair<char32_t, char32_t>, 7> combining{{{0x300, 0x36F},
                                                                      {0x483, 0x489},
                                                                      {0x591, 0x5BD},
                                                                      {0x1AB0, 0x1AFF},
                                                                      {0x1DC0, 0x1DFF},
                                                                      {0x200B, 0x200D},
                                                                      {0xFE00, 0xFE0F}}};
    constexpr std::array<std::pair<char32_t, char32_t>, 11> wide{{{0x1100, 0x115F},
                                                                  {0x2E80, 0x303E},
                                                                  {0x3041, 0xA4CF},
                                                                  {0xAC00, 0xD7A3},
                                                                  {0xF900, 0xFAFF},
                                                                  {0xFE30, 0xFE6F},
                                                                  {0xFF00, 0xFF60},
                                                                  {0xFFE0, 0xFFE6},
                                                                  {0x1F300, 0x1F64F},
                                                                  {0x1F680, 0x1F9FF},
                                                                  {0x20000, 0x3FFFD}}};
    if (code < 0x300) return 1;
    if (within(code, combining)) return 0;
    return within(code, wide) ? 2 : 1;
}

/// Control characters and the marks that reverse the direction of writing.
constexpr bool is_control(char32_t code) {
    constexpr std::array<std::pair<char32_t, char32_t>, 5> controls{
        {{0, 0x1F}, {0x7F, 0x9F}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069}}};
    return within(code, controls);
}

}  // namespace detail

/// Whether `text` is well-formed UTF-8.
inline bool is_utf8(std::string_view text) {
    while (!text.empty())
        if (detail::take_character(text) == detail::invalid_character) return false;
    return true;
}

/// `text` on one line and harmless: control characters as their pictures (␊ for a line end, ␛ for
/// an escape), other control characters and invalid UTF-8 as U+FFFD.
inline std::string printable(std::string_view text) {
    constexpr char32_t pictures = 0x2400, replacement = 0xFFFD;
    std::string result;
    while (!text.empty()) {
        char32_t const code = detail::take_character(text);
        if (code < 0x20) {
            detail::append_character(result, pictures + code);
        } else if (code == detail::invalid_character || detail::is_control(code)) {
            detail::append_character(result, replacement);
        } else {
            detail::append_character(result, code);
        }
    }
    return result;
}

/// Columns that printable `text` takes in a terminal.
inline int display_width(std::string_view text) {
    int width = 0;
    while (!text.empty()) width += detail::character_width(detail::take_character(text));
    return width;
}

/// `text` cut to at most `columns` columns, the last of them "…" where something was cut.
inline std::string fit(std::string_view text, int columns) {
    if (display_width(text) <= columns) return std::string(text);
    std::string result;
    int width = 1;
    while (!text.empty()) {
        std::string_view rest = text;
        width += detail::character_width(detail::take_character(rest));
        if (width > columns) break;
        result += text.substr(0, text.size() - rest.size());
        text = rest;
    }
    return columns > 0 ? result + "…" : "";
}

/// `value` with `digits` significant digits, without trailing zeros, whatever the locale:
/// 0.71, 1.2e+06.
inline std::string format_number(double value, int digits = 4) {
    std::array<char, 64> text;
    int const precision = std::clamp(digits, 1, 17);
    auto const result = std::to_chars(text.data(), text.data() + text.size(), value,
                                      std::chars_format::general, precision);
    return {text.data(), result.ptr};
}

}  // namespace grove::inline GROVE_ISA
