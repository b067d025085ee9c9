// SPDX-License-Identifier: Apache-2.0
/// @file
/// Where Thrust runs: memory, transfers and an execution policy. Here the calling thread; oneTBB's
/// threads (thrust/tbb.hpp) and a CUDA device are one more class each.
///
/// Algorithms are always given a policy, so that Thrust's configured device system is never used.
/// Without nvcc it is set to the host's here, because its default, CUDA, needs nvcc.
#pragma once

#if !defined(__CUDACC__) && !defined(THRUST_DEVICE_SYSTEM)
#define THRUST_DEVICE_SYSTEM THRUST_DEVICE_SYSTEM_CPP
#endif

#include <thrust/system/cpp/execution_policy.h>

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

}  // namespace grove::inline GROVE_ISA
