// SPDX-License-Identifier: Apache-2.0
/// @file
/// Launches of function objects: one thread for each place, or one block of threads for each
/// number.
#pragma once

#include "grove/backend/cuda/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Calls `body` with each place of [0, size), a thread each.
template <class Body>
__global__ void each_place(index_t size, Body body) {
    index_t const at = index_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (at < size) body(at);
}
/// Calls `body` with its number in every block of Body::threads threads.
template <class Body>
__global__ void __launch_bounds__(Body::threads) each_block(Body body) {
    body(index_t{blockIdx.x});
}

/// Queues body(at) for each place of [0, size).
template <class Body>
void queue_places(index_t size, Body const& body, cudaStream_t stream) {
    constexpr index_t threads = 256;
    if (size == 0) return;
    auto const blocks = static_cast<unsigned>((size + threads - 1) / threads);
    each_place<<<blocks, threads, 0, stream>>>(size, body);
    check(cudaGetLastError(), "kernel launch");
}

}  // namespace grove::inline GROVE_ISA::detail
