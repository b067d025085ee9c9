// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of attention's products for wide heads, on tensor cores. Four warps share 16 or 32 rows:
/// each has 16 keys of a block's scores, and 16 of every 64 columns of its weighted values. All
/// columns of a block of keys lie in shared memory as in global memory. Left operands lie there
/// too, as the threads of a warp give them.
#pragma once

#include "grove/backend/cuda/attention_layout.hpp"
#include "grove/backend/cuda/tensor_panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Values of up to `Width` columns; `Down` times four warps, each with `Share` times 16 rows.
template <product_precision Precision, int Width, int Down, int Share>
struct wide_plan {
    using step = tensor_step<Precision>;
    using element = typename step::element;
    static constexpr int share = Share, across = 4, warps = across * Down, threads = 32 * warps;
    static constexpr int rows_of_warp = 16 * Share, rows = Down * rows_of_warp;
    static constexpr int columns = tile_columns, vector = packet<element>::size;
    static constexpr int depth = 16 * across;  ///< columns that arrive together
    static constexpr int width = Width;
    static constexpr int pieces = Width / depth;  ///< of 16 columns across a head, of a warp
    /// Whether weights stay in registers from one stage of the values to the next.
    static constexpr bool holds = Share * Width <= 512;

    static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
    static __device__ int lane() { return mma_lane(); }
    static __device__ int line() { return mma_line(); }
    static __device__ int part() { return warp() % across; }
    static __device__ int first_tile() { return warp() / across * Share; }
    static __device__ int first_row() { return 16 * first_tile(); }
    /// The tile's row that is this thread's: `half` 0 or 1 of its m-th 16 rows.
    static __device__ int row(int m, int half) { return first_row() + 16 * m + 8 * half + line(); }
    static __device__ int piece(int i) { return i * across + part(); }
    /// The first of the warp's keys in a block's scores.
    static __device__ int first_key() { return 16 * part(); }
    /// Whether this thread writes what is known of a row.
    static __device__ bool leads() { return lane() == 0 && part() == 0; }

    /// Columns with the zeros behind them.
    static constexpr __host__ __device__ int padded(int columns) {
        return (columns + step::unit - 1) / step::unit * step::unit;
    }
    static constexpr __host__ __device__ int steps(int dim) { return padded(dim) / 16; }
    static constexpr __host__ __device__ int slots(int columns) {
        return (columns + depth - 1) / depth;
    }
};

/// Left operands of steps, for 16 rows each, in shared memory.
template <class Plan>
struct stored_left {
    using element = typename Plan::element;
    using left = typename Plan::step::left;
    static constexpr int parts = sizeof(left) / sizeof(uint4);
    static constexpr int bytes = 32 * sizeof(left);  ///< of one
    uint4* memory;

    __device__ void put(int at, left const& x) const {
#pragma unroll
        for (int p = 0; p < parts; ++p)
            *place(at, p) = {x.at[4 * p], x.at[4 * p + 1], x.at[4 * p + 2], x.at[4 * p + 3]};
    }
    __device__ left get(int at) const {
        left y;
#pragma unroll
        for (int p = 0; p < parts; ++p) {
            uint4 const read = *place(at, p);
            y.at[4 * p] = read.x;
            y.at[4 * p + 1] = read.y;
            y.at[4 * p + 2] = read.z;
            y.at[4 * p + 3] = read.w;
        }
        return y;
    }
    /// All rows of a tile, of which `count` exist: step s of its 16 rows t is number t · steps + s.
    __device__ void fill(row_source<element> const& source, int count, int dim,
                         bool aligned) const {
        constexpr int together = 4;  // hides the latency of the loads
        int const steps = Plan::steps(dim), all = Plan::rows / 16 * steps;
        for (int first = Plan::warp(); first < all; first += together * Plan::warps) {
            left read[together];
#pragma unroll
            for (int i = 0; i < together; ++i) {
                int const at = first + i * Plan::warps, r = at / steps * 16 + Plan::line();
                read[i] = Plan::step::left_from(r < count ? source.row(r) : nullptr,
                                                r + 8 < count ? source.row(r + 8) : nullptr,
                                                at % steps, dim, aligned);
            }
#pragma unroll
            for (int i = 0; i < together; ++i)
                if (first + i * Plan::warps < all) put(first + i * Plan::warps, read[i]);
        }
    }

private:
    __device__ uint4* place(int at, int part) const {
        return memory + (at * parts + part) * 32 + threadIdx.x % 32;
    }
};

/// A block of keys in shared memory: slots of `depth` columns, that of the next block in place of
/// this one's as soon as no thread needs it. Values are the keys' first columns, or lie behind.
template <class Plan>
class wide_block {
    using element = typename Plan::element;

public:
    static constexpr __host__ __device__ int stride(attention_extents const& e) {
        return Plan::padded(e.dim) + (e.values_in_keys ? 0 : Plan::padded(e.width)) + Plan::vector;
    }
    static std::size_t bytes(attention_extents const& e) {
        return static_cast<std::size_t>(Plan::columns * stride(e)) * sizeof(element);
    }

    /// Walks the blocks `first_block`, `first_block` + by, ... before `end`. The extents stay where
    /// they are: constants of the kernel take no registers.
    __device__ wide_block(element* memory, attention_extents const& e, key_span const& span,
                          element const* keys, element const* values, bool aligned, int first_block,
                          int by, int end)
        : e_(e),
          memory_(memory),
          keys_(keys),
          values_(values),
          count_(static_cast<int>(span.keys)),
          aligned_(aligned),
          block_(first_block),
          by_(by),
          end_(end) {
        next();
    }

    __device__ int stride() const { return stride(e_); }
    __device__ int key_slots() const { return Plan::slots(e_.dim); }
    __device__ element const* keys() const { return memory_; }
    __device__ element const* values() const {
        return e_.values_in_keys ? memory_ : memory_ + Plan::padded(e_.dim);
    }
    /// Waits for keys, or for values; every thread has then left the slot before.
    __device__ void arrive_keys(int slot) { arrive(slot); }
    __device__ void arrive_values(int slot) {
        if (!e_.values_in_keys) arrive(key_slots() + slot);
    }
    /// No thread reads the block's keys any more (unless as values), or its values up to a slot.
    __device__ void leave_keys() {
        if (!e_.values_in_keys) start_until(key_slots());
    }
    __device__ void leave_values(int slot) {
        start_until(e_.values_in_keys ? slot + 1 : key_slots() + slot + 1);
    }
    /// No thread reads the block any more; on to the next.
    __device__ void next() {
        start_until(slots());
        block_ += by_;
        started_ = 0;
    }

private:
    __device__ int slots() const {
        return key_slots() + (e_.values_in_keys ? 0 : Plan::slots(e_.width));
    }
    // Where there is no block any more, nothing is started as often, by which counts stay right.
    __device__ void start_until(int slot) {
#pragma unroll 1
        for (; started_ < slot; ++started_) {
            bool const of_keys = started_ < key_slots();
            int const first = (of_keys ? started_ : started_ - key_slots()) * Plan::depth;
            if (block_ < end_)
                fetch(of_keys ? keys_ : values_, of_keys ? e_.key_columns : e_.value_columns,
                      of_keys ? memory_ : memory_ + Plan::padded(e_.dim),
                      of_keys ? e_.dim : e_.width, first);
            __pipeline_commit();
        }
    }
    __device__ void arrive(int slot) const {
        __pipeline_wait_prior(slots() - 1 - slot + started_);
        __syncthreads();
    }
    __device__ void fetch(element const* source, index_t step, element* panel, int width,
                          int first) const {
        constexpr int packets = Plan::depth / Plan::vector, together = Plan::threads / packets;
        int const row = static_cast<int>(threadIdx.x) / packets;
        int const column = first + static_cast<int>(threadIdx.x) % packets * Plan::vector;
        if (column >= Plan::padded(width)) return;
        int const first_key = block_ * Plan::columns, left = width - column;
        element* target = panel + row * stride() + column;
        element const* from = source + (first_key + row) * step + column;
#pragma unroll
        for (int r = 0; r < Plan::columns; r += together) {
            bool const exists = first_key + row + r < count_;
            if (aligned_)
                start_copy(target, exists && left > 0 ? from : source, exists && left > 0);
            else
                copy_numbers<Plan::vector>(target, from, exists ? left : 0);
            target += together * stride();
            from += together * step;
        }
    }

    attention_extents const& e_;
    element* memory_;
    element const *keys_, *values_;
    int count_;
    bool aligned_;
    int block_, by_, end_;  ///< the block of which slots are started next
    int started_ = 0;
};

}  // namespace grove::inline GROVE_ISA::detail
