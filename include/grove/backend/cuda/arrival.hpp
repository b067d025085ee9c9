// SPDX-License-Identifier: Apache-2.0
/// @file
/// A download that the host waits for later, while the stream goes on.
#pragma once

#include <memory>
#include <span>
#include <type_traits>

#include "grove/backend/cuda/buffer.hpp"

namespace grove::inline GROVE_ISA {

/// Numbers on their way into pinned memory of the host; used again, it allocates nothing.
template <class T>
class cuda_arrival {
public:
    cuda_arrival() = default;
    cuda_arrival(cuda_arrival const&) = delete;
    cuda_arrival& operator=(cuda_arrival const&) = delete;
    ~cuda_arrival() {
        if (event_) cudaEventSynchronize(event_.get());  // the copy writes to what is freed here
    }

    /// Queues a copy of the numbers as they are behind the stream's work. What arrived before, or
    /// is under way, is forgotten.
    void queue(device_buffer<T> const& x, cudaStream_t stream) {
        if (x.size() > capacity_) grow(x.size());
        size_ = x.size();
        if (size_ == 0) return;
        detail::check(
            cudaMemcpyAsync(memory_.get(), x.numbers(), static_cast<std::size_t>(size_) * sizeof(T),
                            cudaMemcpyDeviceToHost, stream),
            "cudaMemcpyAsync");
        detail::check(cudaEventRecord(event_.get(), stream), "cudaEventRecord");
    }
    /// Waits for the copy, and for nothing that was queued behind it.
    std::span<T const> wait() const {
        if (size_ > 0) detail::check(cudaEventSynchronize(event_.get()), "cudaEventSynchronize");
        return {memory_.get(), static_cast<std::size_t>(size_)};
    }

private:
    void grow(index_t size) {
        if (event_) {
            wait();
        } else {
            cudaEvent_t event = nullptr;
            detail::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                          "cudaEventCreate");
            event_.reset(event);
        }
        size_ = capacity_ = 0;
        memory_.reset();
        void* memory = nullptr;
        detail::check(cudaMallocHost(&memory, static_cast<std::size_t>(size) * sizeof(T)),
                      "cudaMallocHost");
        memory_.reset(static_cast<T*>(memory));
        capacity_ = size;
    }

    struct release {
        void operator()(T* memory) const { cudaFreeHost(memory); }
        void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
    };
    std::unique_ptr<T, release> memory_;
    std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, release> event_;
    index_t capacity_ = 0, size_ = 0;
};

}  // namespace grove::inline GROVE_ISA
