// SPDX-License-Identifier: Apache-2.0
/// @file
/// The exceptions grove throws. Every message reads "[operation] expected …, got …".
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

/// Base of every exception that grove throws itself.
class error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Extents that do not fit together.
class shape_error : public error {
    using error::error;
};

/// A value outside its domain: NaN reward, empty group, token id outside the vocabulary.
class value_error : public error {
    using error::error;
};

/// A setting that is unknown or contradicts another one.
class configuration_error : public error {
    using error::error;
};

/// A file that is missing, truncated, corrupt or not writable.
class io_error : public error {
    using error::error;
};

/// Throws `Error` with the message "[operation] parts…".
template <class Error, class... Parts>
[[noreturn]] void fail(std::string_view operation, Parts const&... parts) {
    std::ostringstream message;
    message << '[' << operation << "] ";
    (message << ... << parts);
    throw Error(message.str());
}

/// Throws `Error` with the message "[operation] parts…" unless `condition` holds.
template <class Error, class... Parts>
void require(bool condition, std::string_view operation, Parts const&... parts) {
    if (!condition) fail<Error>(operation, parts...);
}

}  // namespace grove::inline GROVE_ISA
