// SPDX-License-Identifier: Apache-2.0
/// @file
/// Launches of function objects: one thread for each place, or one block of threads for each
/// number. A kernel is launched while the one before it runs, and waits for it before it touches
/// memory: what a launch costs is hidden.
#pragma once

#include <algorithm>

#include "grove/backend/cuda/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Whether every architecture that is compiled for can wait for the kernel before (from 9.0 on).
/// All units of a program are compiled for the same ones.
inline constexpr bool overlaps_kernels = [] {
    constexpr int architectures[] = {__CUDA_ARCH_LIST__};
    return std::ranges::min(architectures) >= 900;
}();

/// First of all, in every thread: lets the next kernel's blocks come in as soon as this one's are
/// all in, and waits until the kernel before has ended and its writes are seen.
__device__ inline void take_turn() {
    if constexpr (overlaps_kernels) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
        cudaTriggerProgrammaticLaunchCompletion();
        cudaGridDependencySynchronize();
#endif
    }
}

/// Calls `body` with each place of [0, size), a thread each.
template <class Body>
__global__ void each_place(index_t size, Body body) {
    take_turn();
    index_t const at = index_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (at < size) body(at);
}
/// Blocks that are to live on a processor together, whatever registers that leaves: Body::together.
/// 0 where that is left to the compiler.
template <class Body>
consteval int blocks_together() {
    if constexpr (requires { Body::together; })
        return Body::together;
    else
        return 0;
}
/// Calls `body` with its number in every block of Body::threads threads.
template <class Body>
__global__ void __launch_bounds__(Body::threads, blocks_together<Body>()) each_block(Body body) {
    take_turn();
    body(index_t{blockIdx.x});
}

/// Queues a kernel whose threads take turns.
template <class... Parameters>
void queue_kernel(void (*kernel)(Parameters...), index_t blocks, int threads,
                  std::size_t shared_bytes, cudaStream_t stream, Parameters const&... parameters) {
    cudaLaunchAttribute overlap{};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &overlap;
    config.numAttrs = overlaps_kernels ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, parameters...), "kernel launch");
}

/// Queues body(at) for each place of [0, size).
template <class Body>
void queue_places(index_t size, Body const& body, cudaStream_t stream) {
    constexpr index_t threads = 256;
    if (size == 0) return;
    queue_kernel(each_place<Body>, (size + threads - 1) / threads, threads, 0, stream, size, body);
}

}  // namespace grove::inline GROVE_ISA::detail
