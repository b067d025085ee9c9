// SPDX-License-Identifier: Apache-2.0
/// @file
/// What the compiler must offer, and the two macros that the library needs.
#pragma once

#if defined(__FAST_MATH__)
#error "grove: -ffast-math breaks masking by infinities and bit reproducibility; compile without it"
#endif
#if __cplusplus < 202002L
#error "grove: C++20 is required (-std=c++20)"
#endif

/// Marks a function that also runs in CUDA kernels.
#if defined(__CUDACC__)
#define GROVE_HD __host__ __device__
#else
#define GROVE_HD
#endif

/// Inline namespace named after the instruction set: objects built with different `-march` must not
/// share inline functions, because packs have other widths and products other bits.
#if defined(__AVX512F__)
#define GROVE_ISA isa_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define GROVE_ISA isa_avx2
#elif defined(__AVX__)
#define GROVE_ISA isa_avx
#elif defined(__ARM_NEON)
#define GROVE_ISA isa_neon
#else
#define GROVE_ISA isa_base
#endif
