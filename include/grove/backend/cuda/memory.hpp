// SPDX-License-Identifier: Apache-2.0
/// @file
/// Device memory: a recycling pool, reference-counted buffers, and pinned memory for uploads.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grove/backend/cuda/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// Recycles blocks of device memory by size class, so that a steady state allocates nothing.
///
/// All work on the blocks must be in the order of one stream: a block that the host gives back may
/// still be read by work under way, and its next user comes behind that. Thread-safe.
class device_pool {
public:
    static constexpr std::size_t alignment = 512;

    device_pool() = default;
    device_pool(device_pool const&) = delete;
    device_pool& operator=(device_pool const&) = delete;
    ~device_pool() { free_all(); }

    /// Throws device_error where the device has no such block left, even without those in reserve.
    void* acquire(std::size_t bytes) {
        std::lock_guard lock(mutex_);
        std::size_t const size = size_class(bytes);
        auto& blocks = free_[size];
        if (!blocks.empty()) {
            void* const block = blocks.back();
            blocks.pop_back();
            return block;
        }
        void* block = nullptr;
        cudaError_t status = cudaMalloc(&block, size);
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            detail::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
            free_all();
            status = cudaMalloc(&block, size);
        }
        detail::check(status, "cudaMalloc");
        ++fresh_;
        return block;
    }
    void release(void* block, std::size_t bytes) noexcept {
        std::lock_guard lock(mutex_);
        try {
            free_[size_class(bytes)].push_back(block);
        } catch (...) {
            cudaFree(block);
        }
    }
    /// How many blocks were ever taken from the device: constant in a steady state.
    std::uint64_t fresh_allocations() const {
        std::lock_guard lock(mutex_);
        return fresh_;
    }

private:
    void free_all() noexcept {
        for (auto& [bytes, blocks] : free_)
            for (void* block : blocks) cudaFree(block);
        free_.clear();
    }
    /// Powers of two and three quarter steps between them: at most 25 % waste.
    static std::size_t size_class(std::size_t bytes) {
        std::size_t const n = std::max(bytes, alignment);
        std::size_t const step = std::max(std::bit_ceil(n) / 8, alignment);
        return (n + step - 1) / step * step;
    }

    mutable std::mutex mutex_;
    std::unordered_map<std::size_t, std::vector<void*>> free_;
    std::uint64_t fresh_ = 0;
};

/// A contiguous run of `T` in device memory; copies and slices share the memory and keep it alive.
template <class T>
class device_buffer {
public:
    device_buffer() = default;
    device_buffer(std::shared_ptr<device_pool> const& pool, index_t size) : size_(size) {
        if (size == 0) return;
        std::size_t const bytes = static_cast<std::size_t>(size) * sizeof(T);
        block_ = std::shared_ptr<void>(pool->acquire(bytes),
                                       [pool, bytes](void* block) { pool->release(block, bytes); });
        data_ = static_cast<T*>(block_.get());
    }

    /// Memory of the device that is not the pool's. `owner` keeps it alive; without one the caller
    /// does, for as long as copies of this and work on them need it.
    device_buffer(T* data, index_t size, std::shared_ptr<void> owner = nullptr)
        : block_(std::move(owner)), data_(data), size_(size) {}

    /// An address on the device; null where there are no elements.
    T* data() const { return data_; }
    index_t size() const { return size_; }
    /// Whether no other buffer shares the memory: who writes to it then changes nothing else.
    bool is_unshared() const { return block_.use_count() == 1; }
    /// Elements [offset, offset + size), sharing the memory.
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

/// Pinned memory that small uploads pass through, so that they wait neither for the device nor for
/// the source: two halves in turn, each used again once its copies are done.
class upload_staging {
public:
    static constexpr std::size_t half_bytes = std::size_t{2} << 20;

    upload_staging() {
        detail::check(cudaMallocHost(&memory_, 2 * half_bytes), "cudaMallocHost");
        for (auto& event : done_)
            detail::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                          "cudaEventCreate");
    }
    upload_staging(upload_staging const&) = delete;
    upload_staging& operator=(upload_staging const&) = delete;
    ~upload_staging() {
        for (auto event : done_) cudaEventDestroy(event);
        cudaFreeHost(memory_);
    }

    /// Copies to the device behind the stream's work; the source is free on return. What is larger
    /// than a half is staged by the driver, which may wait.
    void copy(void* target, void const* source, std::size_t bytes, cudaStream_t stream) {
        void const* from = source;
        if (bytes <= half_bytes) {
            if (used_ + bytes > half_bytes) turn(stream);
            from = std::memcpy(static_cast<char*>(memory_) + half_ * half_bytes + used_, source,
                               bytes);
            used_ += (bytes + 63) / 64 * 64;
        }
        detail::check(cudaMemcpyAsync(target, from, bytes, cudaMemcpyHostToDevice, stream),
                      "cudaMemcpyAsync");
    }

private:
    void turn(cudaStream_t stream) {
        detail::check(cudaEventRecord(done_[half_], stream), "cudaEventRecord");
        half_ = 1 - half_;
        used_ = 0;
        detail::check(cudaEventSynchronize(done_[half_]), "cudaEventSynchronize");
    }

    void* memory_ = nullptr;
    cudaEvent_t done_[2] = {};
    std::size_t half_ = 0, used_ = 0;
};

}  // namespace grove::inline GROVE_ISA
