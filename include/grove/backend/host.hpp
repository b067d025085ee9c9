// SPDX-License-Identifier: Apache-2.0
/// @file
/// Host memory for the CPU backends: a recycling pool and reference-counted buffers.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <unordered_map>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// Recycles blocks of memory by size class, so that a steady state allocates nothing. Thread-safe.
class host_pool {
public:
    static constexpr std::size_t alignment = 64;

    host_pool() = default;
    host_pool(host_pool const&) = delete;
    host_pool& operator=(host_pool const&) = delete;
    ~host_pool() {
        for (auto& [bytes, blocks] : free_)
            for (void* block : blocks) std::free(block);
    }

    void* acquire(std::size_t bytes) {
        std::size_t const size = size_class(bytes);
        {
            std::lock_guard lock(mutex_);
            auto& blocks = free_[size];
            if (!blocks.empty()) {
                void* block = blocks.back();
                blocks.pop_back();
                return block;
            }
        }
        void* block = allocate(size);
        ++fresh_;
        bytes_ += size;
        return block;
    }
    void release(void* block, std::size_t bytes) noexcept {
        std::lock_guard lock(mutex_);
        try {
            free_[size_class(bytes)].push_back(block);
        } catch (...) {
            std::free(block);
        }
    }
    /// How many blocks were ever taken from the system: constant in a steady state.
    std::uint64_t fresh_allocations() const { return fresh_; }
    /// Bytes of these blocks, which the pool keeps: the most it ever held, class by class.
    std::uint64_t fresh_bytes() const { return bytes_; }

private:
    static constexpr std::size_t huge_page = std::size_t{2} << 20;

    /// Large blocks ask for huge pages: a product of large matrices otherwise spends its time
    /// looking up addresses.
    static void* allocate(std::size_t size) {
        void* block = nullptr;
#if defined(__linux__)
        if (size >= huge_page) {
            if (::posix_memalign(&block, huge_page, size) != 0) throw std::bad_alloc();
            ::madvise(block, size, MADV_HUGEPAGE);  // a wish: its refusal costs speed alone
            return block;
        }
#endif
        block = std::aligned_alloc(alignment, size);
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }
    /// Powers of two and three quarter steps between them: at most 25 % waste.
    static std::size_t size_class(std::size_t bytes) {
        std::size_t const n = std::max<std::size_t>(bytes, alignment);
        std::size_t const step = std::max(std::bit_ceil(n) / 8, alignment);
        return (n + step - 1) / step * step;
    }

    std::mutex mutex_;
    std::unordered_map<std::size_t, std::vector<void*>> free_;
    std::atomic<std::uint64_t> fresh_{0};
    std::atomic<std::uint64_t> bytes_{0};
};

/// A contiguous run of `T` in host memory; copies share the memory. Slices keep their block alive.
template <class T>
class host_buffer {
public:
    host_buffer() = default;
    host_buffer(std::shared_ptr<host_pool> const& pool, index_t size) : size_(size) {
        std::size_t const bytes = static_cast<std::size_t>(size) * sizeof(T);
        block_ = std::shared_ptr<void>(pool->acquire(bytes),
                                       [pool, bytes](void* block) { pool->release(block, bytes); });
        data_ = static_cast<T*>(block_.get());
    }

    T* data() const { return data_; }
    index_t size() const { return size_; }
    std::span<T> span() const { return {data_, static_cast<std::size_t>(size_)}; }
    /// Elements [offset, offset + size), sharing the memory.
    host_buffer slice(index_t offset, index_t size) const {
        host_buffer part = *this;
        part.data_ += offset;
        part.size_ = size;
        return part;
    }

private:
    std::shared_ptr<void> block_;
    T* data_ = nullptr;
    index_t size_ = 0;
};

/// Recycled host memory with its transfers: a base of what computes on the host.
class host_memory {
public:
    template <class T>
    using buffer = host_buffer<T>;

    template <class T>
    buffer<T> allocate(index_t size) {
        return buffer<T>(pool_, size);
    }
    template <class T>
    buffer<T> upload(std::span<T const> source) {
        auto y = allocate<T>(static_cast<index_t>(source.size()));
        std::copy(source.begin(), source.end(), y.data());
        return y;
    }
    template <class T>
    void download(buffer<T> const& x, std::span<T> target) {
        std::copy_n(x.data(), x.size(), target.data());
    }
    void synchronize() {}
    /// How many blocks were ever taken from the operating system: constant in a steady state.
    std::uint64_t fresh_allocations() const { return pool_->fresh_allocations(); }
    /// Bytes ever taken from the operating system: the peak of what was in use, class by class.
    std::uint64_t fresh_bytes() const { return pool_->fresh_bytes(); }

private:
    std::shared_ptr<host_pool> pool_ = std::make_shared<host_pool>();
};

}  // namespace grove::inline GROVE_ISA
