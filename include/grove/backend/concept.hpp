// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a backend owes: about twenty operations on an instance. Everything else is composed in
/// ops/.
///
/// Matrices are contiguous and row-major; `T` is float or double; indices are 32-bit. Every
/// operation's result for a row depends on that row (and on shared operands such as weights) alone,
/// so that it has the same bits in a batch of one and in a batch of thousands.
///
/// Callers check extents; a backend checks what lies in index buffers, which a caller may not be
/// able to read: a bad index or offset is a value_error, thrown by the operation or, where a device
/// finds it, by the next `download` or `synchronize`. Keys of `argsort` and `segment_offsets` come
/// in any order. Rows of `write_rows` and places of `strided_place` are distinct.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "grove/core/law.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// One input of `map` over a [rows, columns] space: element (i, j) is
/// data[i · row_stride + j · column_stride]. Strides of 0 repeat a row, a column or a number; a
/// column stride is 0 or 1.
template <class Buffer>
struct operand {
    Buffer data;
    index_t row_stride = 0;
    index_t column_stride = 0;
};

/// How `reduce_columns` combines the numbers of a row.
enum class reduction { sum, max };

/// C[m, n] = op(A) · op(B) for each of `batch` consecutive pairs; op transposes where asked: A is
/// stored [m, k] or [k, m], B [k, n] or [n, k].
struct product_shape {
    index_t m, n, k;
    bool transpose_a = false;
    bool transpose_b = false;
    index_t batch = 1;
    /// Whether every bit of C counts, as of logits: a backend may keep activations rounded.
    bool is_read_in_full = false;

    /// The product that gives ∂/∂A: G · op(B)ᵀ for G = ∂/∂C, or op(B) · Gᵀ where A is transposed.
    product_shape gradient_a() const {
        if (transpose_a) return {k, m, n, transpose_b, true, batch};
        return {m, k, n, false, !transpose_b, batch};
    }
    /// The product that gives ∂/∂B: op(A)ᵀ · G, or Gᵀ · op(A) where B is transposed.
    product_shape gradient_b() const {
        if (transpose_b) return {n, k, m, true, transpose_a, batch};
        return {k, n, m, !transpose_a, false, batch};
    }
};

/// Rows [offsets[e], offsets[e+1]) of X[rows, k] times the matrix of group e.
struct grouped_shape {
    index_t rows, n, k, groups;
    /// Each matrix is stored [n, k] instead of [k, n].
    bool transpose_b = false;
};

/// A strided walk over a buffer: element (i₀, i₁, …) is at offset + Σ iₐ · stride[a].
struct strided_view {
    index_t offset = 0;
    grove::shape extents;
    std::array<index_t, grove::shape::max_rank> strides{};
};

namespace detail {
struct archetype_law {
    template <class N>
    GROVE_HD N operator()(N x, N y) const {
        return x + y;
    }
};
struct archetype_index_law {
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i);
    }
};
}  // namespace detail

/// Buffers of T and of indices, transfers, views.
template <class B, class T>
concept storage_backend = std::semiregular<typename B::template buffer<T>> &&
                          requires(B& b, typename B::template buffer<T> const& x,
                                   std::span<T const> in, std::span<T> out) {
                              {
                                  b.template allocate<T>(index_t{})
                              } -> std::same_as<typename B::template buffer<T>>;
                              { b.upload(in) } -> std::same_as<typename B::template buffer<T>>;
                              { b.download(x, out) };
                              {
                                  b.slice(x, index_t{}, index_t{})
                              } -> std::same_as<typename B::template buffer<T>>;
                              { x.size() } -> std::convertible_to<index_t>;
                              { b.synchronize() };
                          };

/// Laws over arrays, sums over rows and columns.
template <class B, class T>
concept pointwise_backend = requires(B& b, typename B::template buffer<T> const& x,
                                     operand<typename B::template buffer<T>> const& o,
                                     typename B::template buffer<std::int32_t> const& i) {
    {
        b.map(detail::archetype_law{}, index_t{}, index_t{}, o, o)
    } -> std::same_as<std::array<typename B::template buffer<T>, 1>>;
    {
        b.template tabulate<T>(detail::archetype_index_law{}, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
    { b.template cast<double>(x) } -> std::same_as<typename B::template buffer<double>>;
    {
        b.reduce_columns(reduction::sum, x, index_t{}, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
    { b.sum_segments(x, index_t{}, i) } -> std::same_as<typename B::template buffer<T>>;
    {
        b.repeat_segments(x, index_t{}, i, index_t{})
    } -> std::same_as<typename B::template buffer<T>>;
};

/// Movement by index: selection, sorting, gather and its adjoint, strided copies and their adjoint.
template <class B, class T>
concept indexing_backend =
    requires(B& b, typename B::template buffer<T>& target, typename B::template buffer<T> const& x,
             typename B::template buffer<std::int32_t> const& i, strided_view const& view) {
        {
            b.top_k(x, index_t{}, index_t{}, index_t{})
        } -> std::same_as<typename B::template buffer<std::int32_t>>;
        { b.argsort(i) } -> std::same_as<typename B::template buffer<std::int32_t>>;
        {
            b.segment_offsets(i, index_t{})
        } -> std::same_as<typename B::template buffer<std::int32_t>>;
        { b.gather(x, index_t{}, i) } -> std::same_as<typename B::template buffer<T>>;
        {
            b.scatter_add(x, index_t{}, i, index_t{})
        } -> std::same_as<typename B::template buffer<T>>;
        { b.write_rows(target, x, index_t{}, i) };
        { b.strided_read(x, view) } -> std::same_as<typename B::template buffer<T>>;
        { b.strided_place(x, view, index_t{}) } -> std::same_as<typename B::template buffer<T>>;
    };

/// Products.
template <class B, class T>
concept product_backend =
    requires(B& b, typename B::template buffer<T> const& x, product_shape p, grouped_shape g,
             typename B::template buffer<std::int32_t> const& offsets) {
        { b.matmul(p, x, x) } -> std::same_as<typename B::template buffer<T>>;
        { b.grouped_matmul(g, x, x, offsets) } -> std::same_as<typename B::template buffer<T>>;
        { b.grouped_outer(g, x, x, offsets) } -> std::same_as<typename B::template buffer<T>>;
    };

/// What ops/ asks for indices themselves: arithmetic, tables and gathers of them.
template <class B>
concept index_arithmetic_backend =
    storage_backend<B, std::int32_t> &&
    requires(B& b, typename B::template buffer<std::int32_t> const& i,
             operand<typename B::template buffer<std::int32_t>> const& o) {
        {
            b.map(detail::archetype_law{}, index_t{}, index_t{}, o, o)
        } -> std::same_as<std::array<typename B::template buffer<std::int32_t>, 1>>;
        {
            b.template tabulate<std::int32_t>(detail::archetype_index_law{}, index_t{})
        } -> std::same_as<typename B::template buffer<std::int32_t>>;
        { b.gather(i, index_t{}, i) } -> std::same_as<typename B::template buffer<std::int32_t>>;
    };

/// A backend for element type T: owns memory, threads and handles, and offers the primitives.
template <class B, class T = float>
concept backend = storage_backend<B, T> && index_arithmetic_backend<B> && pointwise_backend<B, T> &&
                  indexing_backend<B, T> && product_backend<B, T>;

}  // namespace grove::inline GROVE_ISA
