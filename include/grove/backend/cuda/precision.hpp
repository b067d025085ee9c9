// SPDX-License-Identifier: Apache-2.0
/// @file
/// How products in float are computed: matrix products, and those inside attention.
#pragma once

#include <string_view>

#include "grove/core/error.hpp"

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
    /// 7 bits of fraction, on tensor cores, twice as fast; so are activations, which take half the
    /// memory. Weights and their gradients, logits and statistics stay float.
    bf16,
};
/// By its name. Throws configuration_error for another.
inline product_precision product_precision_of(std::string_view name) {
    if (name == "float32") return product_precision::float32;
    if (name == "tf32") return product_precision::tf32;
    require<configuration_error>(name == "bf16", "product_precision",
                                 "expected float32, tf32 or bf16, got ", name);
    return product_precision::bf16;
}

/// How products in float are computed. Attention is exact in either mode.
struct product_options {
    product_mode mode = product_mode::exact;
    product_precision precision = product_precision::float32;
};

}  // namespace grove::inline GROVE_ISA
