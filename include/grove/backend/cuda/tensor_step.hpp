// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of 16 rows by 8 columns over 16 inner numbers, by one warp on tensor cores: what a
/// thread gives and gets. An element of the result depends on its own row and column alone.
///
/// Thread 4g + t has a result's elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). Which
/// four of the 16 inner numbers it gives is free, as long as both operands agree on it. Two results
/// side by side have what thread t gives of rows g and g + 8 of a left operand, for the inner
/// numbers 2t, 2t + 1, 2t + 8, 2t + 9: weights need not move between threads.
#pragma once

#include "grove/backend/cuda/mma.hpp"
#include "grove/backend/cuda/packet.hpp"

namespace grove::inline GROVE_ISA::detail {

template <product_precision Precision>
struct tensor_step;

template <>
struct tensor_step<product_precision::tf32> {
    struct left {
        std::uint32_t at[8];
    };
    struct right {
        std::uint32_t at[4];
    };

    __device__ static left left_of(packet<float> const& upper, packet<float> const& lower) {
        left y;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            y.at[2 * i] = round_to_tf32(upper.at[i]);
            y.at[2 * i + 1] = round_to_tf32(lower.at[i]);
        }
        return y;
    }
    __device__ static right right_of(float a, float b, float c, float d) {
        return {{round_to_tf32(a), round_to_tf32(b), round_to_tf32(c), round_to_tf32(d)}};
    }
    /// sum += x · y
    __device__ static void add(mma_sum& sum, left const& x, right const& y) {
        mma_tf32(sum, x.at[0], x.at[1], x.at[2], x.at[3], y.at[0], y.at[1]);
        mma_tf32(sum, x.at[4], x.at[5], x.at[6], x.at[7], y.at[2], y.at[3]);
    }
};

template <>
struct tensor_step<product_precision::bf16> {
    struct left {
        std::uint32_t at[4];
    };
    struct right {
        std::uint32_t at[2];
    };

    __device__ static left left_of(packet<float> const& upper, packet<float> const& lower) {
        return {{round_to_bf16(upper.at[0], upper.at[1]), round_to_bf16(lower.at[0], lower.at[1]),
                 round_to_bf16(upper.at[2], upper.at[3]), round_to_bf16(lower.at[2], lower.at[3])}};
    }
    __device__ static right right_of(float a, float b, float c, float d) {
        return {{round_to_bf16(a, b), round_to_bf16(c, d)}};
    }
    /// sum += x · y
    __device__ static void add(mma_sum& sum, left const& x, right const& y) {
        mma_bf16(sum, x.at[0], x.at[1], x.at[2], x.at[3], y.at[0], y.at[1]);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
