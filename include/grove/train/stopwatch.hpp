// SPDX-License-Identifier: Apache-2.0
/// @file
/// Wall time of a step, for its report alone.
#pragma once

#include <chrono>

namespace grove::inline GROVE_ISA {

/// Seconds since it was made.
class stopwatch {
public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace grove::inline GROVE_ISA
