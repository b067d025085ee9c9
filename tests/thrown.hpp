// SPDX-License-Identifier: Apache-2.0
// What an exception says.
#pragma once

#include <string>

namespace grove_test {

/// The message of the exception of type `Error` that f throws, or "nothing thrown".
template <class Error, class F>
std::string message(F&& f) {
    try {
        f();
    } catch (Error const& e) {
        return e.what();
    }
    return "nothing thrown";
}

}  // namespace grove_test
