// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tiles of products whose operands pass through stages in shared memory: while one is multiplied,
/// the next are on their way. What multiplies them is the plan's: tensor cores (tensor_tile.hpp)
/// or fused multiply-adds (few_rows.hpp).
#pragma once

#include <cuda_pipeline.h>

#include <cstdint>
#include <type_traits>

#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/cuda/panel.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Rows of A or columns of B from a tile's first on; `extent` of them are left. Its lines in memory
/// are `step` apart: a line runs along the inner index or across it, as the tile's stage says.
template <class T>
struct tile_operand {
    T const* data;
    index_t step, extent;
};
/// Where a tile's sums go: from element `first` of a result, lines `step` apart; `rows` and
/// `columns` are left.
struct tile_result {
    output<float> data;
    index_t first, step, rows, columns;
};

/// `Extent` rows or columns by `Depth` of the inner index in shared memory, line by line; `Pad`
/// numbers behind each put the next into other banks.
template <class T, int Extent, int Depth, bool Along, int Pad>
struct operand_stage {
    using element = T;
    static constexpr bool along = Along;  ///< lines run along the inner index
    static constexpr int extent = Extent, depth = Depth;
    static constexpr int lines = Along ? Extent : Depth, length = Along ? Depth : Extent;
    static constexpr int stride = length + Pad, size = lines * stride;
};

/// The address that is set where products take operands of T.
template <class T>
T const* numbers_of(input<float> const& x) {
    if constexpr (std::is_same_v<T, bf16>)
        return x.half;
    else
        return x.full;
}

/// The next `count` numbers of a packet in shared memory, from any address, and zeros behind them;
/// floats are on their way on return.
__device__ inline void copy_part(float* target, float const* from, int count) {
#pragma unroll
    for (int i = 0; i < packet<float>::size; ++i)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                         static_cast<unsigned>(__cvta_generic_to_shared(target + i))),
                     "l"(from + i), "r"(i < count ? 4 : 0)
                     : "memory");
}
/// The same of numbers that are too short to be on their way one by one.
__device__ inline void copy_part(bf16* target, bf16 const* from, int count) {
    *reinterpret_cast<packet<bf16>*>(target) =
        load_packet(from, 0, count, false, __float2bfloat16_rn(0));
}

/// Fills one stage after another of an operand, zeros beyond its end: each of the last `Copiers`
/// threads of a block the same place of every line that it takes.
template <class Stage, int Threads, int Copiers>
class operand_loader {
    using T = typename Stage::element;
    static constexpr int vector = packet<T>::size, packets = Stage::length / vector;
    static constexpr int together = Copiers / packets;  // lines
    static_assert(Copiers % packets == 0 && Stage::lines % together == 0);

public:
    __device__ operand_loader(tile_operand<T> const& source, int inner)
        : step_(static_cast<int>(source.step)),
          extent_(static_cast<int>(source.extent < Stage::extent ? source.extent : Stage::extent)),
          left_(inner),
          aligned_(is_aligned(source.data) &&
                   (step_ | (Stage::along ? inner : extent_)) % vector == 0),
          from_(source.data + index_t{line()} * step_ + at()) {}

    /// Starts to copy the next `depth` of the inner index; unaligned bf16 are there on return.
    __device__ void start(T* stage) {
        int const lines = Stage::along ? extent_ : left_, length = Stage::along ? left_ : extent_;
        T* target = stage + line() * Stage::stride + at();
        T const* from = from_;
        if (aligned_) {
#pragma unroll
            for (int first = 0; first < Stage::lines; first += together) {
                start_copy(target, from, first + line() < lines && at() < length);
                target += together * Stage::stride;
                from += index_t{together} * step_;
            }
        } else {
#pragma unroll 1
            for (int first = 0; first < Stage::lines; first += together) {
                copy_part(target, from, first + line() < lines ? length - at() : 0);
                target += together * Stage::stride;
                from += index_t{together} * step_;
            }
        }
        from_ += Stage::along ? index_t{Stage::depth} : index_t{Stage::depth} * step_;
        left_ -= Stage::depth;
    }

private:
    static __device__ int copier() { return static_cast<int>(threadIdx.x) - (Threads - Copiers); }
    static __device__ int line() { return copier() / packets; }
    static __device__ int at() { return copier() % packets * vector; }

    int step_, extent_, left_;
    bool aligned_;
    T const* from_;
};

/// One tile of a product, by a block of Plan::threads with stage_bytes of dynamic shared memory.
/// The first Plan::summers threads add, the inner index in ascending order; the last
/// Plan::copiers fill the stages. A thread may do both.
template <class Plan, class T>
__device__ void multiply_tile(tile_operand<T> const& left, tile_operand<T> const& right, int inner,
                              tile_result const& result) {
    using left_stage = typename Plan::left_stage;
    using right_stage = typename Plan::right_stage;
    constexpr int threads = Plan::threads, copiers = Plan::copiers;
    constexpr int size = left_stage::size + right_stage::size;
    T* const memory = dynamic_memory<T>();
    operand_loader<left_stage, threads, copiers> left_loader(left, inner);
    operand_loader<right_stage, threads, copiers> right_loader(right, inner);
    int const steps = (inner + Plan::depth - 1) / Plan::depth;
    bool const copies = copiers == threads || threadIdx.x >= threads - copiers;
    bool const adds = Plan::summers == threads || threadIdx.x < Plan::summers;
    auto const start = [&](int step) {
        if (copies && step < steps) {
            T* const stage = memory + step % Plan::stages * size;
            left_loader.start(stage);
            right_loader.start(stage + left_stage::size);
        }
        __pipeline_commit();
    };
    typename Plan::sums sums;
    for (int step = 0; step < Plan::stages - 1; ++step) start(step);
    for (int step = 0; step < steps; ++step) {
        __pipeline_wait_prior(Plan::stages - 2);
        __syncthreads();  // and every thread has left the stage that is filled next
        start(step + Plan::stages - 1);
        T const* const stage = memory + step % Plan::stages * size;
        if (adds) sums.add(stage, stage + left_stage::size, inner - step * Plan::depth);
    }
    if (adds) sums.store(result);
}

/// What the plan's stages take.
template <class Plan>
constexpr std::size_t stage_bytes() {
    return sizeof(typename Plan::left_stage::element) * Plan::stages *
           (Plan::left_stage::size + Plan::right_stage::size);
}

}  // namespace grove::inline GROVE_ISA::detail
