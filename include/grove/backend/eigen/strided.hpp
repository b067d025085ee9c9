// SPDX-License-Identifier: Apache-2.0
/// @file
/// Strided views as rows: the last axis is walked in one go, whole where it is contiguous.
#pragma once

#include <algorithm>
#include <vector>

#include "grove/backend/concept.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A view's last axis, and how many such rows there are.
struct strided_rows {
    strided_view const& view;
    index_t columns, rows, step;

    explicit strided_rows(strided_view const& v) : view(v) {
        int const last = view.extents.rank() - 1;
        columns = last < 0 ? 1 : view.extents[last];
        rows = columns == 0 ? 0 : view.extents.size() / columns;
        step = last < 0 ? 1 : view.strides[static_cast<std::size_t>(last)];
    }
    /// Where row `row` begins.
    index_t place(index_t row) const {
        index_t place = view.offset;
        for (int axis = view.extents.rank() - 2; axis >= 0; --axis) {
            place += row % view.extents[axis] * view.strides[static_cast<std::size_t>(axis)];
            row /= view.extents[axis];
        }
        return place;
    }
    /// Whether no two elements of the view are the same place: then rows may be written in any
    /// order.
    bool places_differ() const {
        std::vector<std::pair<index_t, index_t>> axes;  // stride, extent
        for (int axis = 0; axis < view.extents.rank(); ++axis)
            if (view.extents[axis] > 1)
                axes.emplace_back(view.strides[static_cast<std::size_t>(axis)], view.extents[axis]);
        std::sort(axes.begin(), axes.end());
        index_t reach = 0;
        for (auto [stride, extent] : axes) {
            if (stride <= reach) return false;
            reach += stride * (extent - 1);
        }
        return true;
    }
};

template <class T>
void read_strided_row(T const* x, index_t step, index_t columns, T* y) {
    if (step == 1) {
        std::copy_n(x, columns, y);
    } else {
        for (index_t j = 0; j < columns; ++j) y[j] = x[j * step];
    }
}
template <class T>
void write_strided_row(T const* x, index_t step, index_t columns, T* y) {
    if (step == 1) {
        std::copy_n(x, columns, y);
    } else {
        for (index_t j = 0; j < columns; ++j) y[j * step] = x[j];
    }
}

}  // namespace grove::inline GROVE_ISA::detail
