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
#include <vector>

#include "grove/backend/cuda/arrival.hpp"
#include "grove/backend/cuda/buffer.hpp"
#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/graph.hpp"
#include "grove/backend/cuda/launch.hpp"
#include "grove/backend/thrust/system.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

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
/// stream. Nothing but `download`, `await` and `synchronize` waits for the device, once the memory
/// is warm.
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
    /// For floats that are kept rounded to bf16.
    buffer<float> allocate_rounded(index_t size) const { return {pool_, size, true}; }
    /// Floats in bf16, to read: as they are kept, or a copy. It is remembered, but for memory that
    /// others may write to. A graph's is made good before each launch.
    detail::rounded_numbers rounded(buffer<float> const& x) const {
        auto const& block = x.block();
        if (!block) return {};
        bool const from_outside = captures_ && block->is_pools(graph_pool_);
        if (block->is_rounded() ||
            (!block->is_exposed() && (from_outside || block->is_pools(pool_)))) {
            if (from_outside) read_rounded_.push_back(block);
            return {block->half() + x.offset(), {}};
        }
        auto copy = allocate_rounded(x.size());
        detail::convert(x.input(), copy.output(), x.size(), stream());
        return {copy.output().half, copy};
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
            detail::check(cudaMemcpyAsync(target.data(), x.numbers(),
                                          static_cast<std::size_t>(x.size()) * sizeof(T),
                                          cudaMemcpyDeviceToHost, stream()),
                          "cudaMemcpyAsync");
        synchronize();
    }
    /// Queues a download and does not wait. Throws configuration_error while the stream is
    /// captured.
    template <class T>
    void fetch(buffer<T> const& x, cuda_arrival<T>& y) const {
        require_eager("fetch");
        y.queue(x, stream());
    }
    /// Waits for a fetched download alone; throws as `synchronize` where a kernel, maybe of later
    /// work, met a bad index.
    template <class T>
    std::span<T const> await(cuda_arrival<T> const& x) const {
        auto const y = x.wait();
        if (faults_->has_met()) synchronize();
        return y;
    }
    /// Waits for the stream; throws the value_error of a bad index that a kernel met.
    void synchronize() const {
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
        set_captures(true);
        auto const end = [&] {
            cudaGraph_t graph = nullptr;
            set_captures(false);
            auto const status = cudaStreamEndCapture(stream(), &graph);
            return std::pair(status, graph);
        };
        read_rounded_.clear();
        try {
            work();
        } catch (...) {
            if (auto const graph = end().second; graph != nullptr) cudaGraphDestroy(graph);
            cudaGetLastError();
            throw;
        }
        auto const [status, graph] = end();
        detail::check(status, "cudaStreamEndCapture");
        return {graph, stream(), graph_pool_, std::exchange(read_rounded_, {})};
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
        detail::queue_places(size, body, stream());
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
        detail::queue_kernel(detail::each_block<Body>, blocks, Body::threads, shared_bytes,
                             stream(), body);
    }
    /// Where a kernel of `operation`, a literal, reports bad indices.
    detail::fault_report faults(char const* operation) const { return faults_->report(operation); }

private:
    explicit thrust_cuda(std::shared_ptr<CUstream_st> stream)
        : stream_(std::move(stream)),
          pool_(std::make_shared<device_pool>(stream_.get())),
          graph_pool_(std::make_shared<device_pool>(stream_.get())),
          staging_(std::make_unique<upload_staging>()),
          faults_(std::make_unique<detail::fault_board>(stream_.get())) {
        graph_pool_->set_aside(true);
    }
    void set_captures(bool captures) const {
        captures_ = captures;
        std::swap(pool_, graph_pool_);
        pool_->set_aside(false);
        graph_pool_->set_aside(true);
    }

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
    mutable bool captures_ = false;
    /// What the graph under way reads in bf16 of memory from outside.
    mutable std::vector<std::weak_ptr<detail::device_block>> read_rounded_;
    std::unique_ptr<upload_staging> staging_;
    std::unique_ptr<detail::fault_board> faults_;
};

}  // namespace grove::inline GROVE_ISA
