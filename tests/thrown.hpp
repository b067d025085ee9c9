// SPDX-License-Identifier: Apache-2.0
// What an exception says.
#pragma once

#include <string>

namespace grove_test {

/// The message of the exception of type `Error` that f throws; empty where it throws none.
template <class Error, class F>
std::string message_of(F&& f) {
    try {
        f();
    } catch (Error const& e) {
        return e.what();
    }
    return "";
}

}  // namespace grove_test
