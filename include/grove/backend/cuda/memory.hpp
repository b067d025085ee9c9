// SPDX-License-Identifier: Apache-2.0
/// @file
/// Device memory: a recycling pool, and pinned memory for uploads.
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

    explicit device_pool(cudaStream_t stream) : stream_(stream) {}
    device_pool(device_pool const&) = delete;
    device_pool& operator=(device_pool const&) = delete;
    ~device_pool() { free_all(); }

    cudaStream_t stream() const { return stream_; }
    /// Whether another pool's memory is what is used now: of a graph's work outside of a capture,
    /// of all else in it. What is queued then for this pool's memory may run never, or again.
    bool is_aside() const { return is_aside_; }
    void set_aside(bool aside) { is_aside_ = aside; }

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

    cudaStream_t stream_;
    bool is_aside_ = false;
    mutable std::mutex mutex_;
    std::unordered_map<std::size_t, std::vector<void*>> free_;
    std::uint64_t fresh_ = 0;
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
