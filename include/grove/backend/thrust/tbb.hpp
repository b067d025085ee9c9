// SPDX-License-Identifier: Apache-2.0
/// @file
/// Thrust on oneTBB's threads.
#pragma once

#include "grove/backend/thrust/system.hpp"
// Thrust's own headers come first: they configure its device system.
#include <oneapi/tbb/task_arena.h>
#include <thrust/system/tbb/execution_policy.h>

namespace grove::inline GROVE_ISA {

/// Thrust on oneTBB's threads.
class thrust_tbb : public host_memory {
public:
    /// `threads` = 0 takes all that the machine has.
    explicit thrust_tbb(int threads = 0)
        : arena_(threads > 0 ? threads : int{oneapi::tbb::task_arena::automatic}) {}

    static std::string name() { return "oneTBB"; }
    int threads() const { return arena_.max_concurrency(); }

    template <class Work>
    auto run(Work const& work) {
        return arena_.execute([&] { return work(thrust::tbb::par); });
    }

private:
    oneapi::tbb::task_arena arena_;
};

}  // namespace grove::inline GROVE_ISA
