// SPDX-License-Identifier: Apache-2.0
/// @file
/// Named ranges on a profiler's time line: NVTX, in programs compiled with GROVE_NVTX.
#pragma once

#include "grove/core/config.hpp"

#if defined(GROVE_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace grove::inline GROVE_ISA {

/// A range from here to the end of the scope, as Nsight Systems shows it. Nothing at all unless
/// GROVE_NVTX is defined, for every unit of the program alike; then the CUDA Toolkit's nvtx3
/// headers are needed, and no library.
/// @code
/// grove::trace_range const range("rollout");
/// @endcode
class trace_range {
public:
#if defined(GROVE_NVTX)
    explicit trace_range(char const* name) { nvtxRangePushA(name); }
    ~trace_range() { nvtxRangePop(); }
#else
    explicit trace_range(char const* /*name*/) {}
    ~trace_range() {}  // a range in use is no unused variable
#endif
    trace_range(trace_range const&) = delete;
    trace_range& operator=(trace_range const&) = delete;
};

}  // namespace grove::inline GROVE_ISA
