// SPDX-License-Identifier: Apache-2.0
/// @file
/// Work on a stream, recorded once and launched again as a whole.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "grove/backend/cuda/buffer.hpp"

namespace grove::inline GROVE_ISA {

/// A CUDA graph and the memory that its work uses in between. Launches are in the order of the
/// stream it was captured from, which must outlive it.
class cuda_graph {
public:
    /// `read_rounded` are read in bf16, and made good before each launch.
    cuda_graph(cudaGraph_t graph, cudaStream_t stream, std::shared_ptr<device_pool> memory,
               std::vector<std::weak_ptr<detail::device_block>> read_rounded)
        : stream_(stream), memory_(std::move(memory)), read_rounded_(std::move(read_rounded)) {
        cudaGraphExec_t executable = nullptr;
        auto const status = cudaGraphInstantiate(&executable, graph, 0);
        cudaGraphDestroy(graph);
        detail::check(status, "cudaGraphInstantiate");
        executable_ = {executable, [](cudaGraphExec_t e) { cudaGraphExecDestroy(e); }};
    }

    /// Queues all of the work.
    void launch() {
        for (auto const& read : read_rounded_)
            if (auto const block = read.lock()) block->refresh();
        detail::check(cudaGraphLaunch(executable_.get(), stream_), "cudaGraphLaunch");
    }

private:
    cudaStream_t stream_;
    std::shared_ptr<device_pool> memory_;
    std::vector<std::weak_ptr<detail::device_block>> read_rounded_;
    std::shared_ptr<CUgraphExec_st> executable_;
};

}  // namespace grove::inline GROVE_ISA
