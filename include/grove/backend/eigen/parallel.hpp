// SPDX-License-Identifier: Apache-2.0
/// @file
/// A fixed number of threads, and loops cut over them.
#pragma once

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <type_traits>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Runs loops on at most `threads` threads. What a body computes must not depend on how the range
/// is cut.
class thread_arena {
public:
    explicit thread_arena(int threads)
        : threads_(threads > 0
                       ? threads
                       : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))),
          arena_(std::make_unique<oneapi::tbb::task_arena>(threads_)) {}

    int threads() const { return threads_; }

    /// Calls body(begin, end) over [0, size) in pieces of at least `grain`.
    template <class Body>
    void parallel(index_t size, index_t grain, Body&& body) const {
        run(size, grain, &body, [](void* context, index_t begin, index_t end) {
            (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
        });
    }

private:
    using piece_function = void (*)(void* context, index_t begin, index_t end);

    /// Not a template: TBB's machinery is compiled once, and a loop's body once.
    [[gnu::noinline]] void run(index_t size, index_t grain, void* context,
                               piece_function call) const {
        if (size <= 0) return;
        if (threads_ == 1 || size <= grain) return call(context, 0, size);
        // Two pieces a thread: enough to even out, few enough that small loops stay cheap.
        index_t const piece = std::max(grain, (size + 2 * threads_ - 1) / (2 * threads_));
        arena_->execute([&] {
            oneapi::tbb::parallel_for(
                oneapi::tbb::blocked_range<index_t>(0, (size + piece - 1) / piece, 1),
                [&](auto const& range) {
                    for (index_t i = range.begin(); i < range.end(); ++i)
                        call(context, i * piece, std::min(size, (i + 1) * piece));
                },
                oneapi::tbb::simple_partitioner());
        });
    }

    int threads_;
    std::unique_ptr<oneapi::tbb::task_arena> arena_;
};

}  // namespace grove::inline GROVE_ISA::detail
