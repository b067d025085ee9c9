// SPDX-License-Identifier: Apache-2.0
/// @file
/// Sums, means and maxima.
#pragma once

#include "grove/ops/pointwise.hpp"

namespace grove::inline GROVE_ISA {

/// Sum over the last axis, kept as an extent of 1: […, columns] → […, 1].
template <class B, class T>
tensor<B, T> sum_columns(tensor<B, T> const& x) {
    return {x.backend(),
            x.backend().reduce_columns(reduction::sum, x.buffer(), x.rows(), x.columns()),
            x.extents().with_columns(1)};
}
/// Maximum over the last axis, kept as an extent of 1: […, columns] → […, 1].
template <class B, class T>
tensor<B, T> max_columns(tensor<B, T> const& x) {
    require<shape_error>(x.columns() > 0, "max_columns", "expected at least one column, got shape ",
                         x.extents());
    return {x.backend(),
            x.backend().reduce_columns(reduction::max, x.buffer(), x.rows(), x.columns()),
            x.extents().with_columns(1)};
}
/// Sum of all elements, of shape [1].
template <class B, class T>
tensor<B, T> sum(tensor<B, T> const& x) {
    return {x.backend(), x.backend().reduce_columns(reduction::sum, x.buffer(), 1, x.size()), {1}};
}
/// Mean of all elements, of shape [1].
template <class B, class T>
tensor<B, T> mean(tensor<B, T> const& x) {
    return affine(sum(x), T(1) / static_cast<T>(x.size()));
}
/// Sums of consecutive rows: segment s is rows offsets[s] … offsets[s+1]. [rows, columns] →
/// [segments, columns].
template <class B, class T>
tensor<B, T> sum_segments(tensor<B, T> const& x, index_tensor<B> const& offsets) {
    return {x.backend(),
            x.backend().sum_segments(x.buffer(), x.columns(), offsets.buffer()),
            {offsets.size() - 1, x.columns()}};
}
/// Row s of x for every row of segment s. [segments, columns] → [rows, columns].
template <class B, class T>
tensor<B, T> repeat_segments(tensor<B, T> const& x, index_tensor<B> const& offsets, index_t rows) {
    return {x.backend(),
            x.backend().repeat_segments(x.buffer(), x.columns(), offsets.buffer(), rows),
            {rows, x.columns()}};
}

}  // namespace grove::inline GROVE_ISA
