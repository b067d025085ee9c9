// SPDX-License-Identifier: Apache-2.0
/// @file
/// The instructions of tensor cores: sums of 16 rows by 8 columns over 8 (TF32) or 16 (bf16) inner
/// numbers, by a warp. An element depends on its own row and column alone.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/precision.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A thread's share of the sums: thread 4g + t has the elements (g, 2t), (g, 2t + 1), (g + 8, 2t),
/// (g + 8, 2t + 1).
using mma_sum = float[4];

/// The nearest TF32; ties to even, as cuBLASLt rounds on Hopper, where the device has that.
__device__ inline std::uint32_t round_to_tf32(float x) {
    std::uint32_t y;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
#endif
    return y;
}
/// The nearest bf16, ties to even; the first number in the low half.
__device__ inline std::uint32_t round_to_bf16(float first, float second) {
    std::uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
    return y;
}

/// sum += A · B: thread 4g + t gives (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4) of A and
/// (t, g), (t + 4, g) of B.
__device__ inline void mma_tf32(mma_sum& sum, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                                std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
/// The same with pairs of inner numbers: 2t and 2t + 1 for t, 2t + 8 and 2t + 9 for t + 4.
__device__ inline void mma_bf16(mma_sum& sum, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                                std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace grove::inline GROVE_ISA::detail
