// SPDX-License-Identifier: Apache-2.0
/// @file
/// Thrust on a CUDA device: a stream, its memory, transfers, and launches of our own kernels.
#pragma once

#include <thrust/system/cuda/execution_policy.h>
#include <thrust/system_error.h>

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/graph.hpp"
#include "grove/backend/cuda/map.hpp"
#include "grove/backend/cuda/memory.hpp"
#include "grove/backend/thrust/system.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

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

/// Temporary memory of Thrust's algorithms, from the pool.
struct temporary_allocator {
    using value_type = char;
    device_pool* pool;

    char* allocate(std::ptrdiff_t bytes) {
        return static_cast<char*>(pool->acquire(static_cast<std::size_t>(bytes)));
    }
    void deallocate(char* block, std::size_t bytes) { pool->release(block, bytes); }
};

}  // namespace detail

/// One stream of the device that is current when it is made, and memory in the order of that
/// stream. Nothing but `download` and `synchronize` waits for the device, once the memory is warm.
class thrust_cuda {
public:
    template <class T>
    using buffer = device_buffer<T>;

    /// A stream of its own. Throws device_error where there is no device.
    thrust_cuda() : thrust_cuda(owned_stream()) {}
    /// The user's stream, which must outlive the system; work is queued behind what it holds.
    explicit thrust_cuda(cudaStream_t stream)
        : thrust_cuda(std::shared_ptr<CUstream_st>(stream, [](cudaStream_t) {})) {}
    thrust_cuda(thrust_cuda const&) = delete;
    thrust_cuda& operator=(thrust_cuda const&) = delete;
    ~thrust_cuda() { cudaStreamSynchronize(stream()); }

    static std::string name() { return "CUDA"; }
    cudaStream_t stream() const { return stream_.get(); }
    /// How many blocks were ever taken from the device: constant in a steady state.
    std::uint64_t fresh_allocations() const { return pool_->fresh_allocations(); }

    template <class T>
    buffer<T> allocate(index_t size) const {
        return buffer<T>(pool_, size);
    }
    /// The source is free on return. Throws configuration_error while the stream is captured.
    template <class T>
    buffer<T> upload(std::span<T const> source) const {
        require_eager("upload");
        auto y = allocate<T>(static_cast<index_t>(source.size()));
        if (!source.empty()) staging_->copy(y.data(), source.data(), source.size_bytes(), stream());
        return y;
    }
    /// Writes to the first elements of `target`, as `upload` would to new memory.
    template <class T>
    void assign(buffer<T> const& target, std::span<T const> source) const {
        require_eager("assign");
        require<shape_error>(static_cast<index_t>(source.size()) <= target.size(), "assign",
                             "expected at most ", target.size(), " elements, got ", source.size());
        if (!source.empty())
            staging_->copy(target.data(), source.data(), source.size_bytes(), stream());
    }
    /// Waits for the stream; throws the value_error of a bad index that a kernel met, and
    /// configuration_error while the stream is captured.
    template <class T>
    void download(buffer<T> const& x, std::span<T> target) {
        require_eager("download");
        if (x.size() > 0)
            detail::check(cudaMemcpyAsync(target.data(), x.data(),
                                          static_cast<std::size_t>(x.size()) * sizeof(T),
                                          cudaMemcpyDeviceToHost, stream()),
                          "cudaMemcpyAsync");
        synchronize();
    }
    /// Waits for the stream; throws the value_error of a bad index that a kernel met.
    void synchronize() {
        detail::check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
        faults_->raise();
    }

    /// Whether the driver can capture the stream: any but the default ones.
    bool can_capture() const {
        return stream() != nullptr && stream() != cudaStreamLegacy &&
               stream() != cudaStreamPerThread;
    }
    /// Records what work() queues, without running it. It must neither upload nor download, and
    /// have run before with the same extents, so that nothing is to be chosen or loaded any more.
    /// What work() throws is thrown on, and nothing is left behind. All graphs of the stream share
    /// the memory in between, since they run one behind the other.
    template <class Work>
    cuda_graph capture(Work const& work) const {
        require_eager("capture");
        detail::check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed),
                      "cudaStreamBeginCapture");
        std::swap(pool_, graph_pool_);
        auto const end = [&] {
            cudaGraph_t graph = nullptr;
            std::swap(pool_, graph_pool_);
            auto const status = cudaStreamEndCapture(stream(), &graph);
            return std::pair(status, graph);
        };
        try {
            work();
        } catch (...) {
            if (auto const graph = end().second; graph != nullptr) cudaGraphDestroy(graph);
            cudaGetLastError();
            throw;
        }
        auto const [status, graph] = end();
        detail::check(status, "cudaStreamEndCapture");
        return {graph, stream(), graph_pool_};
    }

    /// work(policy) with Thrust's policy for the stream; throws device_error where Thrust fails.
    template <class Work>
    auto run(Work const& work) const {
        detail::temporary_allocator temporary{pool_.get()};
        try {
            return work(thrust::cuda::par_nosync(temporary).on(stream()));
        } catch (thrust::system_error const& e) {
            cudaGetLastError();
            fail<device_error>("thrust", "expected success, got ", e.what());
        }
    }
    /// Queues body(at) for each place of [0, size).
    template <class Body>
    void each(index_t size, Body const& body) const {
        constexpr index_t threads = 256;
        if (size == 0) return;
        auto const blocks = static_cast<unsigned>((size + threads - 1) / threads);
        detail::each_place<<<blocks, threads, 0, stream()>>>(size, body);
        detail::check(cudaGetLastError(), "kernel launch");
    }
    /// Queues a law, a packet of places a thread.
    template <class Law, class T, int Outputs, int Inputs>
    void each(index_t size, detail::map_element<Law, T, Outputs, Inputs> const& element) const {
        using packets = detail::map_packets<Law, T, Outputs, Inputs>;
        if (size >= detail::most_places) {
            auto first = element, rest = element;
            index_t const done = packets::halve(size, first, rest);
            each(done, first);
            each(size - done, rest);
        } else if (size > 0) {
            auto const body = packets::of(size, element);
            each(body.packets(), body);
        }
    }
    /// Queues body(block) for each of `blocks` blocks of Body::threads threads, with this much
    /// dynamic shared memory.
    template <class Body>
    void each_block(index_t blocks, Body const& body, std::size_t shared_bytes = 0) const {
        constexpr std::size_t always_granted = std::size_t{48} << 10;
        if (blocks == 0) return;
        if (shared_bytes > always_granted)
            detail::check(cudaFuncSetAttribute(detail::each_block<Body>,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(shared_bytes)),
                          "cudaFuncSetAttribute");
        detail::
            each_block<<<static_cast<unsigned>(blocks), Body::threads, shared_bytes, stream()>>>(
                body);
        detail::check(cudaGetLastError(), "kernel launch");
    }
    /// Where a kernel of `operation`, a literal, reports bad indices.
    detail::fault_report faults(char const* operation) const { return faults_->report(operation); }

private:
    explicit thrust_cuda(std::shared_ptr<CUstream_st> stream)
        : stream_(std::move(stream)),
          pool_(std::make_shared<device_pool>()),
          graph_pool_(std::make_shared<device_pool>()),
          staging_(std::make_unique<upload_staging>()),
          faults_(std::make_unique<detail::fault_board>(stream_.get())) {}

    /// A graph would copy again from or to memory of the host that is long gone.
    void require_eager(char const* operation) const {
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        detail::check(cudaStreamIsCapturing(stream(), &status), "cudaStreamIsCapturing");
        require<configuration_error>(status == cudaStreamCaptureStatusNone, operation,
                                     "expected a stream without a capture, got one under way");
    }
    static std::shared_ptr<CUstream_st> owned_stream() {
        cudaStream_t stream = nullptr;
        detail::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                      "cudaStreamCreate");
        return {stream, [](cudaStream_t s) { cudaStreamDestroy(s); }};
    }

    std::shared_ptr<CUstream_st> stream_;
    mutable std::shared_ptr<device_pool> pool_, graph_pool_;  // exchanged during a capture
    std::unique_ptr<upload_staging> staging_;
    std::unique_ptr<detail::fault_board> faults_;
};

}  // namespace grove::inline GROVE_ISA
