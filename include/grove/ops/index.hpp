// SPDX-License-Identifier: Apache-2.0
/// @file
/// Selecting, permuting and joining.
#pragma once

#include <numeric>

#include "grove/backend/refinement.hpp"
#include "grove/ops/pointwise.hpp"

namespace grove::inline GROVE_ISA {

/// Rows x[index[i]]: [rows, columns] → [n, columns]; throws value_error for an index outside.
template <class B, class T>
tensor<B, T> gather_rows(tensor<B, T> const& x, index_tensor<B> const& index) {
    return {x.backend(),
            x.backend().gather(x.buffer(), x.columns(), index.buffer()),
            {index.size(), x.columns()}};
}
/// y[index[i]] += x[i] in ascending i: [n, columns] → [rows, columns]. Deterministic.
template <class B, class T>
tensor<B, T> scatter_add_rows(tensor<B, T> const& x, index_tensor<B> const& index, index_t rows) {
    return {x.backend(),
            x.backend().scatter_add(x.buffer(), x.columns(), index.buffer(), rows),
            {rows, x.columns()}};
}

namespace detail {
/// i ↦ i.
struct identity_law {
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i);
    }
};
/// i ↦ i / per.
struct divide_index_law {
    index_t per;
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i / per);
    }
};
/// i ↦ (i / per_row) · columns: where the row of flat element i starts.
struct row_start_law {
    index_t per_row, columns;
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i / per_row * columns);
    }
};
}  // namespace detail

/// Flat positions in [rows, columns] of the column numbers index [rows, k]; throws value_error for
/// a column outside.
template <class B>
index_tensor<B> flat_index(index_tensor<B> const& index, index_t columns) {
    B& b = index.backend();
    index_t const per_row = index.columns();
    // the gather changes nothing, but throws: a column outside would silently be one of another row
    auto const every = b.template tabulate<std::int32_t>(detail::identity_law{}, columns);
    auto const column = b.gather(every, 1, index.buffer());
    auto start =
        b.template tabulate<std::int32_t>(detail::row_start_law{per_row, columns}, index.size());
    using buffer = typename B::template buffer<std::int32_t>;
    auto flat = b.map(law::add{}, 1, index.size(), operand<buffer>{column, 0, 1},
                      operand<buffer>{start, 0, 1});
    return {b, flat[0], {index.size()}};
}
/// x[i, index[i, j]]: [rows, columns] by [rows, k] → [rows, k]; throws value_error for a column
/// outside.
template <class B, class T>
tensor<B, T> take_columns(tensor<B, T> const& x, index_tensor<B> const& index) {
    require<shape_error>(index.rows() == x.rows(), "take_columns", "expected ", x.rows(),
                         " rows of indices, got ", index.extents());
    auto const flat = flat_index(index, x.columns());
    return {x.backend(), x.backend().gather(x.buffer(), 1, flat.buffer()), index.extents()};
}
/// Columns of the k largest elements of each row, descending, ties to the lower column: [rows, k].
template <class B, class T>
index_tensor<B> top_k(tensor<B, T> const& x, index_t k) {
    require<shape_error>(k >= 1 && k <= x.columns(), "top_k", "expected 1 ≤ k ≤ ", x.columns(),
                         ", got ", k);
    return {x.backend(), x.backend().top_k(x.buffer(), x.rows(), x.columns(), k), {x.rows(), k}};
}

/// Rows [first, first + count): shares the memory where the backend's slices do.
template <class B, class T>
tensor<B, T> slice_rows(tensor<B, T> const& x, index_t first, index_t count) {
    require<shape_error>(first >= 0 && count >= 0 && first + count <= x.rows(), "slice_rows",
                         "expected rows within ", x.extents(), ", got [", first, ", ",
                         first + count, ")");
    if (count == x.rows()) return x;
    return {x.backend(),
            x.backend().slice(x.buffer(), first * x.columns(), count * x.columns()),
            {count, x.columns()}};
}
/// Columns [first, first + count) of [rows, columns].
template <class B, class T>
tensor<B, T> slice_columns(tensor<B, T> const& x, index_t first, index_t count) {
    require<shape_error>(first >= 0 && count >= 0 && first + count <= x.columns(), "slice_columns",
                         "expected columns within ", x.extents(), ", got [", first, ", ",
                         first + count, ")");
    strided_view const view{first, {x.rows(), count}, {x.columns(), 1}};
    return {x.backend(), x.backend().strided_read(x.buffer(), view), {x.rows(), count}};
}
/// Columns side by side, [rows, c₁ + c₂ …] → [rows, c₁], [rows, c₂] …: what concatenate_columns
/// puts together.
template <class B, class T, std::size_t N>
std::array<tensor<B, T>, N> split_columns(tensor<B, T> const& x,
                                          std::array<index_t, N> const& columns) {
    index_t const rows = x.rows(), all = x.columns();
    require<shape_error>(std::accumulate(columns.begin(), columns.end(), index_t{0}) == all,
                         "split_columns", "expected parts of ", all,
                         " columns in all, got other ones");
    B& b = x.backend();
    std::array<strided_view, N> views;
    index_t first = 0;
    for (std::size_t i = 0; i < N; ++i) {
        views[i] = {first, {rows, columns[i]}, {all, 1}};
        first += columns[i];
    }
    std::array<tensor<B, T>, N> y;
    if constexpr (requires { b.split(x.buffer(), views); }) {
        auto const parts = b.split(x.buffer(), views);
        for (std::size_t i = 0; i < N; ++i) y[i] = {b, parts[i], views[i].extents};
    } else {
        for (std::size_t i = 0; i < N; ++i)
            y[i] = {b, b.strided_read(x.buffer(), views[i]), views[i].extents};
    }
    return y;
}
/// Exchanges the first two axes of [a, b, c] → [b, a, c].
template <class B, class T>
tensor<B, T> swap_leading(tensor<B, T> const& x) {
    index_t const a = x.extents()[0], b = x.extents()[1], c = x.extents()[2];
    strided_view const view{0, {b, a, c}, {c, b * c, 1}};
    return {x.backend(), x.backend().strided_read(x.buffer(), view), {b, a, c}};
}

namespace detail {
/// Σ of `parts`, each placed by its view into `size` zeros: joins disjoint parts.
template <class B, class T>
typename B::template buffer<T> join(std::vector<tensor<B, T>> const& parts,
                                    std::vector<strided_view> const& views, index_t size) {
    using buffer = typename B::template buffer<T>;
    B& b = parts.front().backend();
    if constexpr (has_join<B, T>) {
        std::vector<buffer> buffers;
        for (auto const& part : parts) buffers.push_back(part.buffer());
        return b.join(buffers, views, size);
    }
    buffer y = b.strided_place(parts.front().buffer(), views.front(), size);
    for (std::size_t i = 1; i < parts.size(); ++i)
        y = b.map(law::add{}, 1, size, operand<buffer>{y, 0, 1},
                  operand<buffer>{b.strided_place(parts[i].buffer(), views[i], size), 0, 1})[0];
    return y;
}
}  // namespace detail

/// Tensors below each other: [rows₁, columns], [rows₂, columns] … → [Σ rows, columns].
template <class B, class T>
tensor<B, T> concatenate_rows(std::vector<tensor<B, T>> const& parts) {
    require<shape_error>(!parts.empty(), "concatenate_rows",
                         "expected at least one part, got none");
    if (parts.size() == 1) return parts.front();
    index_t const columns = parts.front().columns();
    index_t rows = 0;
    std::vector<strided_view> views;
    for (auto const& part : parts) {
        require<shape_error>(part.columns() == columns, "concatenate_rows", "expected ", columns,
                             " columns, got ", part.extents());
        views.push_back({rows * columns, {part.size()}, {1}});
        rows += part.rows();
    }
    return {parts.front().backend(), detail::join(parts, views, rows * columns), {rows, columns}};
}
/// Tensors beside each other: [rows, c₁], [rows, c₂] … → [rows, Σ c].
template <class B, class T>
tensor<B, T> concatenate_columns(std::vector<tensor<B, T>> const& parts) {
    require<shape_error>(!parts.empty(), "concatenate_columns",
                         "expected at least one part, got none");
    index_t const rows = parts.front().rows();
    index_t columns = 0;
    for (auto const& part : parts) {
        require<shape_error>(part.rows() == rows, "concatenate_columns", "expected ", rows,
                             " rows, got ", part.extents());
        columns += part.columns();
    }
    std::vector<strided_view> views;
    index_t first = 0;
    for (auto const& part : parts) {
        views.push_back({first, {rows, part.columns()}, {columns, 1}});
        first += part.columns();
    }
    return {parts.front().backend(), detail::join(parts, views, rows * columns), {rows, columns}};
}

}  // namespace grove::inline GROVE_ISA
