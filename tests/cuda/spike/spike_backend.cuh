// SPDX-License-Identifier: Apache-2.0
/// @file
/// A CUDA backend that models the concept: one stream, stream-ordered memory, cuBLASLt without
/// split-K. Only download and synchronize wait for the device.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <memory>

#include "grove/backend/refinement.hpp"
#include "spike_kernels.cuh"
#include "spike_product.cuh"

namespace spike::inline GROVE_ISA {

using grove::operand;

/// A contiguous run of `T` in device memory; copies share it, the last one frees it on the stream.
template <class T>
class device_buffer {
public:
    device_buffer() = default;
    device_buffer(cudaStream_t stream, cudaMemPool_t pool, index_t size) : size_(size) {
        if (size == 0) return;
        void* block = nullptr;
        check(cudaMallocFromPoolAsync(&block, static_cast<std::size_t>(size) * sizeof(T), pool,
                                      stream),
              "allocate");
        block_ = std::shared_ptr<void>(block, [stream](void* p) { cudaFreeAsync(p, stream); });
        data_ = static_cast<T*>(block);
    }

    T* data() const { return data_; }
    index_t size() const { return size_; }
    device_buffer slice(index_t offset, index_t size) const {
        device_buffer part = *this;
        part.data_ += offset;
        part.size_ = size;
        return part;
    }

private:
    std::shared_ptr<void> block_;
    T* data_ = nullptr;
    index_t size_ = 0;
};

/// Replays what was captured on the stream.
class captured_graph {
public:
    captured_graph(cudaStream_t stream, cudaGraph_t graph) : stream_(stream), graph_(graph) {
        check(cudaGraphInstantiate(&executable_, graph, 0), "capture");
    }
    captured_graph(captured_graph const&) = delete;
    captured_graph& operator=(captured_graph const&) = delete;
    ~captured_graph() {
        cudaGraphExecDestroy(executable_);
        cudaGraphDestroy(graph_);
    }
    std::size_t nodes() const {
        std::size_t count = 0;
        check(cudaGraphGetNodes(graph_, nullptr, &count), "nodes");
        return count;
    }
    void replay() { check(cudaGraphLaunch(executable_, stream_), "replay"); }

private:
    cudaStream_t stream_;
    cudaGraph_t graph_;
    cudaGraphExec_t executable_ = nullptr;
};

class cuda_backend {
public:
    template <class T>
    using buffer = device_buffer<T>;
    using indices = buffer<std::int32_t>;

    cuda_backend() {
        check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cuda_backend");
        cudaMemPoolProps properties{};
        properties.allocType = cudaMemAllocationTypePinned;
        properties.location.type = cudaMemLocationTypeDevice;
        check(cudaMemPoolCreate(&pool_, &properties), "cuda_backend");
        std::uint64_t keep = UINT64_MAX;  // a steady state takes nothing from the system
        check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep),
              "cuda_backend");
        workspace_ = allocate<char>(products::workspace_bytes);
        fault_ = allocate<index_fault>(1);
        check(cudaMemsetAsync(fault_.data(), 0, sizeof(index_fault), stream_), "cuda_backend");
    }
    cuda_backend(cuda_backend const&) = delete;
    cuda_backend& operator=(cuda_backend const&) = delete;
    ~cuda_backend() {
        workspace_ = {};
        fault_ = {};
        cudaStreamSynchronize(stream_);
        cudaMemPoolDestroy(pool_);
        cudaStreamDestroy(stream_);
    }

    cudaStream_t stream() const { return stream_; }
    /// Records what `work` enqueues instead of running it. It may neither upload nor download.
    template <class Work>
    std::unique_ptr<captured_graph> capture(Work work) {
        cudaGraph_t graph = nullptr;
        check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
        try {
            work();
        } catch (...) {
            cudaStreamEndCapture(stream_, &graph);
            cudaGraphDestroy(graph);
            throw;
        }
        check(cudaStreamEndCapture(stream_, &graph), "capture");
        return std::make_unique<captured_graph>(stream_, graph);
    }

    template <class T>
    buffer<T> allocate(index_t size) {
        return {stream_, pool_, size};
    }
    template <class T>
    buffer<T> upload(std::span<T const> source) {
        // A replay would read the host memory again, long after it is gone.
        require_eager("upload");
        auto y = allocate<T>(static_cast<index_t>(source.size()));
        check(cudaMemcpyAsync(y.data(), source.data(), source.size_bytes(), cudaMemcpyHostToDevice,
                              stream_),
              "upload");
        return y;
    }
    template <class T>
    void download(buffer<T> const& x, std::span<T> target) {
        require_eager("download");
        check(cudaMemcpyAsync(target.data(), x.data(), target.size_bytes(), cudaMemcpyDeviceToHost,
                              stream_),
              "download");
        synchronize();
    }
    template <class T>
    buffer<T> slice(buffer<T> const& x, index_t offset, index_t size) {
        return x.slice(offset, size);
    }
    /// Throws value_error where an index since the last call was outside its range.
    void synchronize() {
        index_fault fault{};
        check(cudaMemcpyAsync(&fault, fault_.data(), sizeof fault, cudaMemcpyDeviceToHost, stream_),
              "synchronize");
        check(cudaStreamSynchronize(stream_), "synchronize");
        if (fault.operation == 0) return;
        check(cudaMemsetAsync(fault_.data(), 0, sizeof fault, stream_), "synchronize");
        grove::fail<grove::value_error>(checked_operations[fault.operation - 1],
                                        "expected indices in [0, ", fault.limit, "), got ",
                                        fault.index);
    }

    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more)
        -> std::array<buffer<T>, grove::law_outputs<Law, T, 1 + sizeof...(More)>> {
        constexpr int inputs = 1 + sizeof...(More), outputs = grove::law_outputs<Law, T, inputs>;
        std::array<buffer<T>, outputs> y;
        kernel::map<Law, T, outputs, inputs> body{law,
                                                  columns,
                                                  {},
                                                  {first.data.data(), more.data.data()...},
                                                  {first.row_stride, more.row_stride...},
                                                  {first.column_stride, more.column_stride...}};
        for (std::size_t k = 0; k < outputs; ++k)
            body.y[k] = (y[k] = allocate<T>(rows * columns)).data();
        each(rows * columns, body);
        return y;
    }
    template <class T, class Law>
    buffer<T> tabulate(Law law, index_t size) {
        auto y = allocate<T>(size);
        each(size, kernel::tabulate<T, Law>{law, y.data()});
        return y;
    }
    template <class To, class From>
    buffer<To> cast(buffer<From> const& x) {
        auto y = allocate<To>(x.size());
        each(x.size(), kernel::cast<To, From>{x.data(), y.data()});
        return y;
    }
    template <class T>
    buffer<T> reduce_columns(grove::reduction how, buffer<T> const& x, index_t rows,
                             index_t columns) {
        auto y = allocate<T>(rows);
        each_warp(rows, kernel::reduce_columns<T>{how, x.data(), columns, y.data()});
        return y;
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        auto y = allocate<T>((offsets.size() - 1) * columns);
        each(y.size(),
             kernel::sum_rows<T>{x.data(), columns, offsets.data(), nullptr, nullptr, 0, y.data()});
        return y;
    }
    template <class T>
    buffer<T> repeat_segments(buffer<T> const& x, index_t columns, indices const& offsets,
                              index_t rows) {
        auto y = allocate<T>(rows * columns);
        each(y.size(), kernel::repeat_segments<T>{x.data(), columns, offsets.data(),
                                                  offsets.size() - 1, y.data()});
        return y;
    }

    template <class T>
    indices top_k(buffer<T> const& x, index_t rows, index_t columns, index_t k) {
        auto y = allocate<std::int32_t>(rows * k);
        each(rows, kernel::top_k<T>{x.data(), columns, k, y.data()});
        return y;
    }
    indices argsort(indices const& keys) { return sort(keys).order; }
    indices segment_offsets(indices const& keys, index_t segments) {
        check_rows(1, keys, segments);
        auto const sorted = sort(keys);
        auto y = allocate<std::int32_t>(segments + 1);
        each(y.size(), kernel::segment_offsets{sorted.keys.data(), keys.size(), y.data()});
        return y;
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        auto y = allocate<T>(index.size() * columns);
        index_t const rows = x.size() / std::max<index_t>(columns, 1);
        check_rows(2, index, rows);
        each(y.size(),
             kernel::move_rows<T, false>{x.data(), columns, index.data(), rows, y.data()});
        return y;
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        check_rows(3, index, rows);
        auto const sorted = sort(index);
        auto y = allocate<T>(rows * columns);
        each(y.size(), kernel::sum_rows<T>{x.data(), columns, nullptr, sorted.keys.data(),
                                           sorted.order.data(), index.size(), y.data()});
        return y;
    }
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        index_t const rows = target.size() / std::max<index_t>(columns, 1);
        check_rows(4, index, rows);
        each(x.size(),
             kernel::move_rows<T, true>{x.data(), columns, index.data(), rows, target.data()});
    }
    template <class T>
    buffer<T> strided_read(buffer<T> const& x, grove::strided_view const& view) {
        auto y = allocate<T>(view.extents.size());
        each(y.size(), strided<T, false>(x, view, y));
        return y;
    }
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, grove::strided_view const& view, index_t size) {
        auto y = allocate<T>(size);
        check(cudaMemsetAsync(y.data(), 0, static_cast<std::size_t>(size) * sizeof(T), stream_),
              "strided_place");
        each(x.size(), strided<T, true>(x, view, y));
        return y;
    }

    /// Operands of 16 bits give a product in float.
    template <class T>
    auto matmul(grove::product_shape const& p, buffer<T> const& a, buffer<T> const& b)
        -> buffer<typename product_type<T>::result> {
        auto c = allocate<typename product_type<T>::result>(p.batch * p.m * p.n);
        products_.multiply(p, a.data(), b.data(), c.data(), workspace_.data(), stream_);
        return c;
    }
    template <class T>
    buffer<T> grouped_matmul(grove::grouped_shape const& g, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        auto y = allocate<T>(g.rows * g.n);
        each(y.size(), kernel::grouped_matmul<T>{g, x.data(), w.data(), offsets.data(), y.data()});
        return y;
    }
    template <class T>
    buffer<T> grouped_outer(grove::grouped_shape const& g, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        auto w = allocate<T>(g.groups * g.k * g.n);
        each(w.size(), kernel::grouped_outer<T>{g, x.data(), y.data(), offsets.data(), w.data()});
        return w;
    }
    /// As has_attention asks, without its gradient; heads of at most 128 numbers.
    template <class T>
    std::array<buffer<T>, 2> attention(grove::attention_shape const& s, buffer<T> const& q,
                                       buffer<T> const& k, buffer<T> const& v,
                                       indices const& offsets, indices const& key_first,
                                       indices const& key_counts) {
        grove::require<grove::shape_error>(
            s.head_dim <= kernel::attention<T>::max_dim, "attention", "expected heads of at most ",
            kernel::attention<T>::max_dim, " numbers, got ", s.head_dim);
        auto out = allocate<T>(q.size()), log_normalizer = allocate<T>(q.size() / s.head_dim);
        each_warp(log_normalizer.size(),
                  kernel::attention<T>{s, q.data(), k.data(), v.data(), offsets.data(),
                                       key_first.data(), key_counts.data(), offsets.size() - 1,
                                       out.data(), log_normalizer.data()});
        return {out, log_normalizer};
    }

private:
    static constexpr char const* checked_operations[] = {"segment_offsets", "gather", "scatter_add",
                                                         "write_rows"};
    struct sorted_indices {
        indices keys, order;
    };

    template <class Body>
    void each(index_t size, Body const& body) {
        constexpr index_t threads = 256;
        if (size == 0) return;
        kernel::
            each<<<static_cast<unsigned>((size + threads - 1) / threads), threads, 0, stream_>>>(
                size, body);
        check(cudaGetLastError(), "kernel launch");
    }
    template <class Body>
    void each_warp(index_t rows, Body const& body) {
        if (rows == 0) return;
        kernel::each_warp<<<static_cast<unsigned>(rows), 32, 0, stream_>>>(body);
        check(cudaGetLastError(), "kernel launch");
    }
    void require_eager(char const* operation) const {
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        check(cudaStreamIsCapturing(stream_, &status), operation);
        grove::require<grove::configuration_error>(status == cudaStreamCaptureStatusNone, operation,
                                                   "expected no capture, got one under way");
    }
    void check_rows(int operation, indices const& index, index_t limit) {
        each(index.size(), kernel::check_index{index.data(), static_cast<std::int32_t>(limit),
                                               operation, fault_.data()});
    }
    sorted_indices sort(indices const& keys) {
        auto const size = static_cast<int>(keys.size());
        auto const places = tabulate<std::int32_t>(kernel::place{}, keys.size());
        sorted_indices y{allocate<std::int32_t>(size), allocate<std::int32_t>(size)};
        auto run = [&](void* memory, std::size_t& bytes) {
            check(cub::DeviceRadixSort::SortPairs(memory, bytes, keys.data(), y.keys.data(),
                                                  places.data(), y.order.data(), size, 0, 32,
                                                  stream_),
                  "sort");
        };
        std::size_t bytes = 0;
        run(nullptr, bytes);
        run(allocate<char>(static_cast<index_t>(bytes)).data(), bytes);
        return y;
    }
    template <class T, bool Place>
    static kernel::move_strided<T, Place> strided(buffer<T> const& x,
                                                  grove::strided_view const& view,
                                                  buffer<T> const& y) {
        kernel::move_strided<T, Place> body{x.data(), view.offset, {}, {}, y.data()};
        for (int axis = 0; axis < shape::max_rank; ++axis)
            body.extents[axis] = axis < view.extents.rank() ? view.extents[axis] : 1;
        std::copy(view.strides.begin(), view.strides.end(), body.strides);
        return body;
    }

    cudaStream_t stream_ = nullptr;
    cudaMemPool_t pool_ = nullptr;
    products products_;
    buffer<char> workspace_;
    buffer<index_fault> fault_;
};

}  // namespace spike::inline GROVE_ISA
