// SPDX-License-Identifier: Apache-2.0
/// @file
/// The gated activation of Llama and DeepSeek (Shazeer 2020).
#pragma once

#include "grove/backend/refinement.hpp"
#include "grove/ops/index.hpp"

namespace grove::inline GROVE_ISA {

/// `swiglu` composed from primitives.
template <class B, class T>
tensor<B, T> swiglu_composite(tensor<B, T> const& x) {
    index_t const half = x.columns() / 2;
    return silu(slice_columns(x, 0, half)) * slice_columns(x, half, half);
}

/// silu(gate) · up, where x [tokens, 2 · width] holds gate beside up → [tokens, width].
template <class B, class T>
tensor<B, T> swiglu(tensor<B, T> const& x) {
    require<shape_error>(x.columns() % 2 == 0, "swiglu", "expected an even number of columns, got ",
                         x.extents());
    if constexpr (has_swiglu<B, T>) {
        return {x.backend(),
                x.backend().swiglu(x.buffer(), x.rows(), x.columns() / 2),
                {x.rows(), x.columns() / 2}};
    } else {
        return swiglu_composite(x);
    }
}

}  // namespace grove::inline GROVE_ISA
