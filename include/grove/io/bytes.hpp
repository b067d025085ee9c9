// SPDX-License-Identifier: Apache-2.0
/// @file
/// Numbers as little-endian bytes: building binary formats and reading them without trust.
#pragma once

#include <bit>
#include <concepts>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

static_assert(std::endian::native == std::endian::little,
              "grove: files hold little-endian numbers and are written without conversion");

/// A number that may be copied from and to bytes.
template <class T>
concept plain_number = std::integral<T> || std::floating_point<T>;

/// Appends the bytes of `value` to `bytes`.
template <plain_number T>
void append_number(std::string& bytes, std::type_identity_t<T> value) {
    bytes.append(reinterpret_cast<char const*>(&value), sizeof(T));
}

/// Takes numbers and strings from the front of a byte string; throws io_error where it ends early.
class byte_cursor {
public:
    /// `operation` names the reader in error messages.
    byte_cursor(std::string_view bytes, std::string_view operation)
        : bytes_(bytes), operation_(operation) {}

    template <plain_number T>
    T number() {
        T value;
        std::memcpy(&value, text(sizeof(T)).data(), sizeof(T));
        return value;
    }
    /// The next `size` bytes, as a view into the bytes given.
    std::string_view text(std::size_t size) {
        require<io_error>(size <= bytes_.size(), operation_, "expected ", size, " more bytes, got ",
                          bytes_.size());
        std::string_view const front = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return front;
    }
    bool empty() const { return bytes_.empty(); }

private:
    std::string_view bytes_;
    std::string_view operation_;
};

}  // namespace grove::inline GROVE_ISA
