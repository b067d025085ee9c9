// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of 16 rows by 8 columns over 16 inner numbers, by one warp on tensor cores: what a
/// thread gives, where it finds that, and what it gets. An element of the result depends on its own
/// row and column alone.
///
/// Thread 4g + t has a result's elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). Which
/// four of the 16 inner numbers it gives is free, as long as both operands agree on it. Two results
/// side by side have what thread t gives of rows g and g + 8 of a left operand, for the inner
/// numbers 2t, 2t + 1, 2t + 8, 2t + 9: weights need not move between threads.
///
/// Operands lie in memory as floats that are rounded to TF32 on their way, or as bf16. Rows of a
/// panel in shared memory are an odd number of packets apart, by which no load below meets a bank
/// twice.
#pragma once

#include "grove/backend/cuda/mma.hpp"
#include "grove/backend/cuda/numbers.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Thread 4g + t of a warp: t, and g.
__device__ inline int mma_lane() { return static_cast<int>(threadIdx.x) % 4; }
__device__ inline int mma_line() { return static_cast<int>(threadIdx.x) % 32 / 4; }

/// Four 8 by 8 matrices of bf16 in shared memory, of which lanes 8i to 8i + 7 say where the rows of
/// the i-th start: thread 4g + t gets (g, 2t) and (g, 2t + 1) of each.
__device__ inline void load_matrices(std::uint32_t (&y)[4], bf16 const* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
}
/// The same of their transposes: (2t, g) and (2t + 1, g).
__device__ inline void load_transposed_matrices(std::uint32_t (&y)[4], bf16 const* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(y[0]), "=r"(y[1]), "=r"(y[2]), "=r"(y[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
}

template <product_precision Precision>
struct tensor_step;

template <>
struct tensor_step<product_precision::tf32> {
    using element = float;
    static constexpr int unit = 32;  ///< inner numbers in which two steps take turns
    static constexpr int run = 4;    ///< columns side by side that a thread has of two results
    struct left {
        std::uint32_t at[8];
    };
    struct right {
        std::uint32_t at[4];
    };

    /// Step s of 16 rows in global memory, of `columns` numbers each; zeros where there is no row.
    __device__ static left left_from(float const* upper, float const* lower, int s, int columns,
                                     bool aligned) {
        auto const read = [&](float const* row) {
            return row != nullptr && inner(s) < columns
                       ? load_packet(row, inner(s), columns, aligned)
                       : packet<float>{};
        };
        return left_of(read(upper), read(lower));
    }
    /// Step s of 16 rows of a panel.
    __device__ static left left_at(float const* rows, int stride, int s) {
        float const* const at = rows + mma_line() * stride + inner(s);
        return left_of(read_packet(at), read_packet(at + 8 * stride));
    }
    /// A row's and a later row's numbers 2t, 2t + 1, 2t + 8, 2t + 9.
    __device__ static left left_of(packet<float> const& upper, packet<float> const& lower) {
        left y;
        put(y, 0, upper);
        put(y, 1, lower);
        return y;
    }
    /// One of the two.
    __device__ static void put(left& y, int half, packet<float> const& x) {
#pragma unroll
        for (int i = 0; i < 4; ++i) y.at[2 * i + half] = round_to_tf32(x.at[i]);
    }
    /// Step s of 16 rows of a panel, for a result of 8 columns each.
    __device__ static void load_along(right (&y)[2], float const* rows, int stride, int s) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            auto const x = read_packet(rows + (8 * j + mma_line()) * stride + inner(s));
            y[j] = right_of(x.at[0], x.at[1], x.at[2], x.at[3]);
        }
    }
    /// 16 rows by 16 columns of a panel, the rows being inner: for results whose columns take
    /// turns.
    __device__ static void load_across(right (&y)[2], float const* corner, int stride) {
        float const* const at = corner + 2 * mma_lane() * stride + 2 * mma_line();
        auto const read = [&](int row) {
            return *reinterpret_cast<float2 const*>(at + row * stride);
        };
        float2 const a = read(0), b = read(1), c = read(8), d = read(9);
        y[0] = right_of(a.x, b.x, c.x, d.x);
        y[1] = right_of(a.y, b.y, c.y, d.y);
    }
    /// sum += x · y
    __device__ static void add(mma_sum& sum, left const& x, right const& y) {
        mma_tf32(sum, x.at[0], x.at[1], x.at[2], x.at[3], y.at[0], y.at[1]);
        mma_tf32(sum, x.at[4], x.at[5], x.at[6], x.at[7], y.at[2], y.at[3]);
    }
    /// This thread's share of a row of two results, and the column of its i-th number.
    __device__ static packet<float> share(mma_sum const& first, mma_sum const& second, int half) {
        return {{first[2 * half], second[2 * half], first[2 * half + 1], second[2 * half + 1]}};
    }
    __device__ static int outer(int i) { return 4 * mma_lane() + i; }

private:
    /// The packet that this thread gives to a step along a row.
    __device__ static int inner(int s) { return s / 2 * 32 + 8 * mma_lane() + s % 2 * 4; }
    __device__ static packet<float> read_packet(float const* at) {
        return *reinterpret_cast<packet<float> const*>(at);
    }
    __device__ static right right_of(float a, float b, float c, float d) {
        return {{round_to_tf32(a), round_to_tf32(b), round_to_tf32(c), round_to_tf32(d)}};
    }
};

/// The same in bf16, whose operands are matrices as they lie in memory.
template <>
struct tensor_step<product_precision::bf16> {
    using element = bf16;
    static constexpr int unit = 16, run = 2;
    struct left {
        std::uint32_t at[4];
    };
    struct right {
        std::uint32_t at[2];
    };

    __device__ static left left_from(bf16 const* upper, bf16 const* lower, int s, int columns,
                                     bool aligned) {
        int const first = 16 * s + 2 * mma_lane();
        return {{pair_of(upper, first, columns, aligned), pair_of(lower, first, columns, aligned),
                 pair_of(upper, first + 8, columns, aligned),
                 pair_of(lower, first + 8, columns, aligned)}};
    }
    __device__ static left left_at(bf16 const* rows, int stride, int s) {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        left y;
        load_matrices(y.at, rows + lane % 16 * stride + 16 * s + lane / 16 * 8);
        return y;
    }
    __device__ static left left_of(packet<float> const& upper, packet<float> const& lower) {
        left y;
        put(y, 0, upper);
        put(y, 1, lower);
        return y;
    }
    __device__ static void put(left& y, int half, packet<float> const& x) {
        y.at[half] = round_to_bf16(x.at[0], x.at[1]);
        y.at[2 + half] = round_to_bf16(x.at[2], x.at[3]);
    }
    __device__ static void load_along(right (&y)[2], bf16 const* rows, int stride, int s) {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        int const row = lane / 16 * 8 + lane % 8;
        std::uint32_t read[4];
        load_matrices(read, rows + row * stride + 16 * s + lane / 8 % 2 * 8);
        put(y, read);
    }
    __device__ static void load_across(right (&y)[2], bf16 const* corner, int stride) {
        int const lane = static_cast<int>(threadIdx.x) % 32;
        std::uint32_t read[4];
        load_transposed_matrices(read, corner + lane % 16 * stride + lane / 16 * 8);
        put(y, read);
    }
    __device__ static void add(mma_sum& sum, left const& x, right const& y) {
        mma_bf16(sum, x.at[0], x.at[1], x.at[2], x.at[3], y.at[0], y.at[1]);
    }
    __device__ static packet<float> share(mma_sum const& first, mma_sum const& second, int half) {
        return {{first[2 * half], first[2 * half + 1], second[2 * half], second[2 * half + 1]}};
    }
    __device__ static int outer(int i) { return 2 * mma_lane() + i / 2 * 8 + i % 2; }

private:
    __device__ static void put(right (&y)[2], std::uint32_t const (&read)[4]) {
        y[0] = {{read[0], read[1]}};
        y[1] = {{read[2], read[3]}};
    }
    /// Two numbers of a row, the first in the low half; zeros where it has ended, or is none.
    __device__ static std::uint32_t pair_of(bf16 const* row, int first, int columns, bool aligned) {
        if (row == nullptr || first >= columns) return 0;
        if (aligned) return *reinterpret_cast<std::uint32_t const*>(row + first);
        std::uint32_t const low = __bfloat16_as_ushort(row[first]);
        std::uint32_t const high =
            first + 1 < columns ? __bfloat16_as_ushort(row[first + 1]) : std::uint32_t{0};
        return low | high << 16;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
