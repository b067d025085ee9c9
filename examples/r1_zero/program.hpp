// SPDX-License-Identifier: Apache-2.0
// The whole run, once for each backend: units compiled apart, for instruction sets of their own.
#pragma once

#include "settings.hpp"

namespace r1_zero {

// Trains, and returns what was measured on the way.
grove::json run_on_cpu(settings const& s);
// In builds with CUDA.
grove::json run_on_cuda(settings const& s);

}  // namespace r1_zero
