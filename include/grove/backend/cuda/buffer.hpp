// SPDX-License-Identifier: Apache-2.0
/// @file
/// Numbers in device memory, shared by reference. Floats may lie there as they are, rounded to
/// bf16, or both: who computes in bf16 keeps activations rounded, and a rounded copy of weights.
#pragma once

#include <memory>
#include <utility>

#include "grove/backend/cuda/launch.hpp"
#include "grove/backend/cuda/memory.hpp"
#include "grove/backend/cuda/numbers.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// y = x, four numbers a thread.
struct converted_four {
    input<float> x;
    index_t size;
    output<float> y;
    bool aligned;
    __device__ void operator()(index_t at) const {
        bool const whole = aligned && 4 * at + 4 <= size;
        y.store(x.load(4 * at, size, whole), 4 * at, size, whole);
    }
};

inline void convert(input<float> const& x, output<float> const& y, index_t size,
                    cudaStream_t stream) {
    queue_places((size + 3) / 4, converted_four{x, size, y, all_rows_aligned(0, x, y)}, stream);
}

/// Memory of a buffer and its slices. One of the two forms is what the numbers are; the other is a
/// copy, made when it is asked for and remembered until somebody may have written.
class device_block {
public:
    /// For so many bytes of numbers in full; floats may be kept rounded instead.
    device_block(std::shared_ptr<device_pool> pool, std::size_t bytes, bool rounded)
        : pool_(std::move(pool)), bytes_(bytes), is_rounded_(rounded) {
        if (rounded)
            half_ = acquire_half();
        else
            full_ = pool_->acquire(bytes_);
    }
    /// Memory that is not the pool's.
    device_block(void* memory, std::shared_ptr<void> owner)
        : owner_(std::move(owner)), full_(memory), is_exposed_(true) {}

    device_block(device_block const&) = delete;
    device_block& operator=(device_block const&) = delete;
    ~device_block() {
        if (!pool_) return;
        if (full_ != nullptr) pool_->release(full_, bytes_);
        if (half_ != nullptr) pool_->release(half_, half_bytes());
    }

    /// Whether the numbers are those in bf16.
    bool is_rounded() const { return is_rounded_; }
    bool is_pools(std::shared_ptr<device_pool> const& pool) const { return pool_ == pool; }
    /// Whether others may write at any time.
    bool is_exposed() const { return is_exposed_; }

    /// To be read in full.
    void* full() {
        if (!is_rounded_) return full_;
        if (full_ == nullptr) full_ = pool_->acquire(bytes_);
        if (!has_copy_) {
            convert_all(input<float>{nullptr, half_}, output<float>{static_cast<float*>(full_)});
            has_copy_ = !pool_->is_aside() && !is_exposed_;
        }
        return full_;
    }
    /// To be written in full: nothing is remembered of what the numbers were in bf16.
    void* written() {
        void* const y = full();
        is_rounded_ = has_copy_ = false;
        if (pool_ && pool_->is_aside()) is_exposed_ = true;
        return y;
    }
    /// To be read in bf16; not of foreign memory. What a graph reads is made before its launch.
    bf16* half() {
        if (half_ == nullptr) half_ = acquire_half();
        if (!is_rounded_ && !has_copy_ && !pool_->is_aside()) refresh();
        return half_;
    }
    /// To be written in bf16, where the numbers are that.
    bf16* half_to_write() {
        has_copy_ = false;
        if (pool_->is_aside()) is_exposed_ = true;
        return half_;
    }
    /// Makes the copy in bf16 where there is none that holds.
    void refresh() {
        if (is_rounded_ || has_copy_) return;
        convert_all(input<float>{static_cast<float const*>(full_)}, output<float>{nullptr, half_});
        has_copy_ = !is_exposed_;
    }
    /// To write in bf16 what is written in full as well.
    bf16* half_of_written() {
        if (half_ == nullptr) half_ = acquire_half();
        has_copy_ = !is_exposed_;
        return half_;
    }
    bool has_half(std::size_t bytes) const { return half_ != nullptr && bytes == bytes_; }
    /// Others may write at any time: no copy is remembered.
    void expose() {
        written();
        is_exposed_ = true;
    }

private:
    std::size_t half_bytes() const { return bytes_ / 2; }
    bf16* acquire_half() const { return static_cast<bf16*>(pool_->acquire(half_bytes())); }
    void convert_all(input<float> const& x, output<float> const& y) const {
        convert(x, y, static_cast<index_t>(bytes_ / sizeof(float)), pool_->stream());
    }

    std::shared_ptr<device_pool> pool_;  // none: foreign memory
    std::shared_ptr<void> owner_;
    std::size_t bytes_ = 0;
    void* full_ = nullptr;
    bf16* half_ = nullptr;
    bool is_rounded_ = false;  // else the numbers are those in full
    bool has_copy_ = false;    // of the numbers, in the other form
    bool is_exposed_ = false;
};

}  // namespace detail

/// A contiguous run of `T` in device memory; copies and slices share the memory and keep it alive.
template <class T>
class device_buffer {
public:
    device_buffer() = default;
    /// Floats may be kept rounded to bf16.
    device_buffer(std::shared_ptr<device_pool> const& pool, index_t size, bool rounded = false)
        : size_(size) {
        if (size == 0) return;
        auto const bytes = static_cast<std::size_t>(size) * sizeof(T);
        block_ = std::make_shared<detail::device_block>(pool, bytes, rounded);
    }
    /// Memory of the device that is not the pool's. `owner` keeps it alive; without one the caller
    /// does, for as long as copies of this and work on them need it.
    device_buffer(T* data, index_t size, std::shared_ptr<void> owner = nullptr)
        : block_(std::make_shared<detail::device_block>(data, std::move(owner))), size_(size) {}

    /// An address on the device, to read and write at; null where there are no elements. Who writes
    /// there again behind work that has read the numbers asks for the address again.
    T* data() const { return at(block_ ? block_->written() : nullptr); }
    index_t size() const { return size_; }
    /// Whether no other buffer shares the memory: who writes to it then changes nothing else.
    bool is_unshared() const { return block_.use_count() == 1; }
    /// Whether the numbers are kept rounded to bf16.
    bool is_rounded() const { return block_ != nullptr && block_->is_rounded(); }
    /// Where the numbers are kept, in which form ever, as a share of the memory: it tells this
    /// memory from any other. Asking leaves everything as it is.
    std::shared_ptr<void const> place() const {
        if (is_rounded()) return {block_, input().half};
        return {block_, numbers()};
    }
    /// An address to read at.
    T const* numbers() const { return at(block_ ? block_->full() : nullptr); }
    /// The numbers as they are kept, to read.
    detail::input<T> input() const {
        if (is_rounded()) return {nullptr, block_->half() + offset_};
        return {numbers(), nullptr};
    }
    /// The same, to write.
    detail::output<T> output() const {
        if (is_rounded()) return {nullptr, block_->half_to_write() + offset_};
        return {data(), nullptr};
    }
    /// Whether all of the memory has been read in bf16.
    bool has_half() const { return block_->has_half(static_cast<std::size_t>(size_) * sizeof(T)); }
    /// Where to write in bf16 what is written to all of `data` as well.
    detail::bf16* writes_both() const { return block_->half_of_written(); }
    /// The memory, for who keeps house: null where there are no elements.
    std::shared_ptr<detail::device_block> const& block() const { return block_; }
    index_t offset() const { return offset_; }
    /// Elements [offset, offset + size), sharing the memory.
    device_buffer slice(index_t offset, index_t size) const {
        device_buffer part = *this;
        part.offset_ += offset;
        part.size_ = size;
        return part;
    }

private:
    T* at(void* memory) const {
        return memory == nullptr ? nullptr : static_cast<T*>(memory) + offset_;
    }

    std::shared_ptr<detail::device_block> block_;
    index_t offset_ = 0, size_ = 0;
};

namespace detail {
/// Floats in bf16 to read, and the memory that they lie in where that is new.
struct rounded_numbers {
    bf16 const* data = nullptr;
    device_buffer<float> memory;
};
}  // namespace detail

}  // namespace grove::inline GROVE_ISA
