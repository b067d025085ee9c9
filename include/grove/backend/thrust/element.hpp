// SPDX-License-Identifier: Apache-2.0
/// @file
/// What one thread computes for one place of a result: named function objects of plain pointers,
/// for the host and for kernels. Sums run in ascending order on that thread, so that no bit depends
/// on how the places are shared out.
#pragma once

#include <utility>

#include "grove/backend/concept.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Writes the outputs of a law at one place of a [rows, columns] space.
template <class Law, class T, int Outputs, int Inputs>
struct map_element {
    Law law;
    index_t columns;
    operand<T const*> input[Inputs];
    T* output[Outputs];

    GROVE_HD void operator()(index_t at) const { apply(at, std::make_index_sequence<Inputs>()); }
    template <std::size_t... I>
    GROVE_HD void apply(index_t at, std::index_sequence<I...>) const {
        index_t const i = at / columns, j = at % columns;
        auto const result =
            law(input[I].data[i * input[I].row_stride + j * input[I].column_stride]...);
        using traits = output_traits<std::remove_const_t<decltype(result)>>;
        for (int k = 0; k < Outputs; ++k) output[k][at] = traits::get(result, k);
    }
};

/// y[i] = element(i).
template <class T, class Element>
struct filled_place {
    Element element;
    T* y;
    GROVE_HD void operator()(index_t i) const { y[i] = element(i); }
};
/// y[place(i)] = x[i].
template <class T, class Place>
struct written_place {
    T const* x;
    Place place;
    T* y;
    GROVE_HD void operator()(index_t i) const { y[place(i)] = x[i]; }
};
/// x[place(i)].
template <class T, class Place>
struct read_element {
    T const* x;
    Place place;
    GROVE_HD T operator()(index_t i) const { return x[place(i)]; }
};
template <class To, class From>
struct cast_element {
    From const* x;
    GROVE_HD To operator()(index_t i) const { return static_cast<To>(x[i]); }
};
/// i ↦ i.
struct own_place {
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i);
    }
};
template <class T, class Law>
struct tabulate_element {
    Law law;
    GROVE_HD T operator()(index_t i) const { return law.template operator()<T>(i); }
};

/// Sum or maximum of row i.
template <class T>
struct reduced_row {
    reduction how;
    T const* x;
    index_t columns;
    GROVE_HD T operator()(index_t i) const {
        T const* row = x + i * columns;
        T result = how == reduction::sum ? T(0) : row[0];
        for (index_t j = 0; j < columns; ++j)
            result = how == reduction::sum ? result + row[j] : math::max(result, row[j]);
        return result;
    }
};

/// Element (s, j) of the sums of rows order[p] for p in [offsets[s], offsets[s + 1]); without an
/// order, of rows p.
template <class T>
struct segment_sum {
    T const* x;
    index_t columns;
    std::int32_t const* offsets;
    std::int32_t const* order;
    GROVE_HD T operator()(index_t at) const {
        index_t const s = at / columns, j = at % columns;
        T sum = T(0);
        for (index_t p = offsets[s]; p < offsets[s + 1]; ++p)
            sum += x[(order == nullptr ? p : order[p]) * columns + j];
        return sum;
    }
};

/// Where element `at` of the rows `index` lies.
struct row_place {
    std::int32_t const* index;
    index_t columns;
    GROVE_HD index_t operator()(index_t at) const {
        return index[at / columns] * columns + at % columns;
    }
};
/// Where element `at` of a strided view lies.
struct view_place {
    index_t offset;
    index_t extents[shape::max_rank];
    index_t strides[shape::max_rank];

    static view_place of(strided_view const& view) {
        view_place place{view.offset, {}, {}};
        for (int axis = 0; axis < shape::max_rank; ++axis) {
            bool const exists = axis < view.extents.rank();
            place.extents[axis] = exists ? view.extents[axis] : 1;
            place.strides[axis] = exists ? view.strides[static_cast<std::size_t>(axis)] : 0;
        }
        return place;
    }
    GROVE_HD index_t operator()(index_t at) const {
        index_t place = offset;
        for (int axis = shape::max_rank - 1; axis >= 0; --axis) {
            place += at % extents[axis] * strides[axis];
            at /= extents[axis];
        }
        return place;
    }
};

/// Orders places by their keys. Not Thrust's own order of integers: with it, the host systems of
/// CCCL 3.0.1 sort negative keys behind the others.
struct ascending_key {
    std::int32_t const* keys;
    GROVE_HD bool operator()(std::int32_t a, std::int32_t b) const { return keys[a] < keys[b]; }
};
/// Orders places of a matrix by row, then by descending number.
template <class T>
struct descending_in_row {
    T const* x;
    index_t columns;
    GROVE_HD bool operator()(index_t a, index_t b) const {
        index_t const row_a = a / columns, row_b = b / columns;
        return row_a != row_b ? row_a < row_b : x[a] > x[b];
    }
};
/// Column of the t-th of the first k places of each row.
struct leading_column {
    index_t const* places;
    index_t columns, k;
    GROVE_HD std::int32_t operator()(index_t at) const {
        return static_cast<std::int32_t>(places[at / k * columns + at % k] % columns);
    }
};

/// Whether index i is outside [0, limit).
struct index_fault {
    std::int32_t const* index;
    index_t limit;
    GROVE_HD bool operator()(index_t i) const { return index[i] < 0 || index[i] >= limit; }
};
/// Whether offset s keeps offsets from ascending from 0 to `rows` at `last`.
struct offset_fault {
    std::int32_t const* offsets;
    index_t last, rows;
    GROVE_HD bool operator()(index_t s) const {
        return (s == 0 && offsets[s] != 0) || (s == last && offsets[s] != rows) ||
               (s < last && offsets[s] > offsets[s + 1]);
    }
};

/// Σₜ a[t · a_step] · b[t · b_step]: one chain of fused multiply-adds in ascending t.
template <class T>
GROVE_HD T multiply_chain(T const* a, index_t a_step, T const* b, index_t b_step, index_t terms) {
    T sum = T(0);
    for (index_t t = 0; t < terms; ++t) sum = math::fma(a[t * a_step], b[t * b_step], sum);
    return sum;
}

template <class T>
struct product_element {
    product_shape p;
    T const* a;
    T const* b;
    GROVE_HD T operator()(index_t at) const {
        index_t const s = at / (p.m * p.n), i = at / p.n % p.m, j = at % p.n;
        return multiply_chain(
            a + s * p.m * p.k + (p.transpose_a ? i : i * p.k), p.transpose_a ? p.m : 1,
            b + s * p.k * p.n + (p.transpose_b ? j * p.k : j), p.transpose_b ? 1 : p.n, p.k);
    }
};
/// Row i times the matrix of its owner.
template <class T>
struct grouped_element {
    grouped_shape g;
    T const* x;
    T const* w;
    std::int32_t const* owner;
    GROVE_HD T operator()(index_t at) const {
        index_t const i = at / g.n, j = at % g.n;
        return multiply_chain(x + i * g.k, 1,
                              w + owner[i] * g.k * g.n + (g.transpose_b ? j * g.k : j),
                              g.transpose_b ? 1 : g.n, g.k);
    }
};
/// Element of W[e] = X[e]ᵀ · Y[e], stored [k, n] or [n, k].
template <class T>
struct outer_element {
    grouped_shape g;
    T const* x;
    T const* y;
    std::int32_t const* offsets;
    GROVE_HD T operator()(index_t at) const {
        index_t const e = at / (g.k * g.n), rest = at % (g.k * g.n);
        index_t const k = g.transpose_b ? rest % g.k : rest / g.n;
        index_t const n = g.transpose_b ? rest / g.k : rest % g.n;
        index_t const first = offsets[e];
        return multiply_chain(x + first * g.k + k, g.k, y + first * g.n + n, g.n,
                              offsets[e + 1] - first);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
