// SPDX-License-Identifier: Apache-2.0
/// @file
/// Where Thrust runs: memory, transfers and an execution policy. Two systems of the host; one of a
/// device is one more class.
///
/// Algorithms are always given a policy, so that Thrust's configured device system is never used.
/// Without nvcc it is set to the host's here, because its default, CUDA, needs nvcc.
#pragma once

#if !defined(__CUDACC__) && !defined(THRUST_DEVICE_SYSTEM)
#define THRUST_DEVICE_SYSTEM THRUST_DEVICE_SYSTEM_CPP
#endif

#include <oneapi/tbb/task_arena.h>
#include <thrust/system/cpp/execution_policy.h>
#include <thrust/system/tbb/execution_policy.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "grove/backend/host.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
struct archetype_work {
    template <class Policy>
    int operator()(Policy const&) const {
        return 0;
    }
};
}  // namespace detail

/// What `thrust_backend` asks of a system: memory, transfers from and to the host, and `run(work)`,
/// which returns work(policy) with an execution policy for that memory.
template <class S>
concept thrust_system = requires(S& s, typename S::template buffer<float> const& x,
                                 std::span<float const> source, std::span<float> target) {
    { S::name() } -> std::same_as<std::string>;
    { s.template allocate<float>(index_t{}) } -> std::same_as<typename S::template buffer<float>>;
    { s.upload(source) } -> std::same_as<typename S::template buffer<float>>;
    { s.download(x, target) };
    { s.synchronize() };
    { s.run(detail::archetype_work{}) } -> std::same_as<int>;
};

/// Thrust on the calling thread.
class thrust_sequential : public host_memory {
public:
    static std::string name() { return "sequential"; }

    template <class Work>
    auto run(Work const& work) {
        return work(thrust::cpp::par);
    }
};

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
