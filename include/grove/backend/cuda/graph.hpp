// SPDX-License-Identifier: Apache-2.0
/// @file
/// Work on a stream, recorded once and launched again as a whole.
#pragma once

#include <memory>
#include <utility>

#include "grove/backend/cuda/memory.hpp"

namespace grove::inline GROVE_ISA {

/// A CUDA graph and the memory that its work uses in between. Launches are in the order of the
/// stream it was captured from, which must outlive it.
class cuda_graph {
public:
    cuda_graph(cudaGraph_t graph, cudaStream_t stream, std::shared_ptr<device_pool> memory)
        : stream_(stream), memory_(std::move(memory)) {
        cudaGraphExec_t executable = nullptr;
        auto const status = cudaGraphInstantiate(&executable, graph, 0);
        cudaGraphDestroy(graph);
        detail::check(status, "cudaGraphInstantiate");
        executable_ = {executable, [](cudaGraphExec_t e) { cudaGraphExecDestroy(e); }};
    }

    /// Queues all of the work.
    void launch() { detail::check(cudaGraphLaunch(executable_.get(), stream_), "cudaGraphLaunch"); }

private:
    cudaStream_t stream_;
    std::shared_ptr<device_pool> memory_;
    std::shared_ptr<CUgraphExec_st> executable_;
};

}  // namespace grove::inline GROVE_ISA
