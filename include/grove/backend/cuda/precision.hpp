// SPDX-License-Identifier: Apache-2.0
/// @file
/// How products in float are computed: matrix products, and those inside attention.
#pragma once

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

/// Which orders of addition products in float may take.
enum class product_mode {
    exact,  ///< one order: a row has the same bits in every batch
    fast,   ///< cuBLASLt's first choice: a row's bits may depend on the number of rows
};

/// What the operands of products in float are rounded to, those inside attention too (but for the
/// gradients of heads of more than 128 columns). Sums, and attention's softmax, are float in any
/// case.
enum class product_precision {
    float32,  ///< nothing; no tensor cores
    tf32,     ///< 10 bits of fraction, on tensor cores
    bf16,     ///< 7 bits of fraction, on tensor cores, twice as fast
};

/// How products in float are computed. Attention is exact in either mode.
struct product_options {
    product_mode mode = product_mode::exact;
    product_precision precision = product_precision::float32;
};

}  // namespace grove::inline GROVE_ISA
