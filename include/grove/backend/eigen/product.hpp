// SPDX-License-Identifier: Apache-2.0
/// @file
/// Matrix products on packs. Every element of a result is one chain of fused multiply-adds over k
/// in ascending order: Σₖ a·b rounded after each term. Tiles, panels, blocks and threads change
/// which elements are computed together, never their bits; a batch of one gives the bits of a batch
/// of thousands, and the reference backend's naive loop gives the same bits too.
#pragma once

#include <algorithm>
#include <vector>

#include "grove/core/number.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A matrix somewhere in memory: element (i, j) is data[i · row_stride + j · column_stride].
template <class T>
struct matrix_view {
    T const* data;
    index_t row_stride;
    index_t column_stride;

    T const* at(index_t i, index_t j) const { return data + i * row_stride + j * column_stride; }
    matrix_view from(index_t i, index_t j) const { return {at(i, j), row_stride, column_stride}; }
    matrix_view transposed() const { return {data, column_stride, row_stride}; }
};

#if defined(__AVX512F__) || defined(__ARM_NEON)
inline constexpr int tile_rows = 8;
#else
inline constexpr int tile_rows = 4;
#endif
inline constexpr int tile_packs = 3;
/// Columns of one packed panel.
template <class T>
inline constexpr index_t panel_columns = tile_packs * pack<T>::size;
/// Terms of the sum that are multiplied before moving on: a panel of them stays in the L1/L2 cache.
inline constexpr index_t block_terms = 256;

/// C[Rows, Packs·width] (+)= A[Rows, terms] · panel. Term t of row r of A is a[r · a_stride + t ·
/// Step]; row t of the panel starts at panel + t · panel_stride. The sums continue from C unless
/// `fresh`. The last pack stores `last` columns.
template <int Rows, int Packs, int Step, class T>
[[gnu::noinline]] void multiply_tile(T const* a, index_t a_stride, T const* panel,
                                     index_t panel_stride, index_t terms, T* c, index_t c_stride,
                                     int last, bool fresh) {
    using number = pack<T>;
    constexpr int width = number::size;
    number sum[Rows][Packs];
    if (!fresh) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
            for (int p = 0; p < Packs; ++p)
                sum[r][p] = load_pack(c + r * c_stride + p * width, p + 1 < Packs ? width : last);
    }
    for (index_t t = 0; t < terms; ++t) {
        number b[Packs];
#pragma GCC unroll 16
        for (int p = 0; p < Packs; ++p) b[p] = number::load(panel + p * width);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
            number const factor(a[r * a_stride + t * Step]);
#pragma GCC unroll 16
            for (int p = 0; p < Packs; ++p) sum[r][p] = number::fma(factor, b[p], sum[r][p]);
        }
        panel += panel_stride;
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < Packs; ++p)
            store_pack(sum[r][p], c + r * c_stride + p * width, p + 1 < Packs ? width : last);
}

/// Rows of A for one block of terms, ready for the tiles: either where they are (unit column
/// stride), or copied so that tile i starts at data + i · block_terms with `tile_rows` rows
/// interleaved.
template <class T>
struct left_block {
    T const* data;
    index_t row_stride;  // 0 where interleaved

    static left_block of(matrix_view<T> a, index_t rows, index_t terms, T* memory) {
        if (a.column_stride == 1) return {a.data, a.row_stride};
        for (index_t i = 0; i < rows; i += tile_rows) {
            index_t const height = std::min<index_t>(tile_rows, rows - i);
            T* target = memory + i * block_terms;
            for (index_t t = 0; t < terms; ++t, target += tile_rows) {
                T const* source = a.at(i, t);
                for (index_t r = 0; r < height; ++r) target[r] = source[r * a.row_stride];
            }
        }
        return {memory, 0};
    }
};

/// One panel of at most panel_columns columns times `rows` rows of A.
template <int Packs, class T>
void multiply_panel(left_block<T> a, index_t rows, T const* panel, index_t panel_stride,
                    index_t terms, T* c, index_t c_stride, int last, bool fresh) {
    auto tile = [&]<int Rows>(index_t i) {
        T* const target = c + i * c_stride;
        if (a.row_stride != 0) {
            multiply_tile<Rows, Packs, 1>(a.data + i * a.row_stride, a.row_stride, panel,
                                          panel_stride, terms, target, c_stride, last, fresh);
        } else {
            T const* first = a.data + i / tile_rows * tile_rows * block_terms + i % tile_rows;
            multiply_tile<Rows, Packs, tile_rows>(first, 1, panel, panel_stride, terms, target,
                                                  c_stride, last, fresh);
        }
        return i + Rows;
    };
    index_t i = 0;
    while (i + tile_rows <= rows) i = tile.template operator()<tile_rows>(i);
    if constexpr (tile_rows > 4)
        if (i + 4 <= rows) i = tile.template operator()<4>(i);
    while (i + 2 <= rows) i = tile.template operator()<2>(i);
    if (i < rows) tile.template operator()<1>(i);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // of __m512 as a template argument
#endif
/// Writes the transpose of a square of rows of `source` to rows of `target`, one register a row.
template <class T>
void transpose_square(T const* source, index_t source_stride, T* target, index_t target_stride) {
    constexpr int width = pack<T>::size;
    simd::PacketBlock<typename pack<T>::packet, width> square;
    for (int i = 0; i < width; ++i)
        square.packet[i] = pack<T>::load(source + i * source_stride).value;
    simd::ptranspose(square);
    for (int i = 0; i < width; ++i) pack<T>{square.packet[i]}.store(target + i * target_stride);
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// `columns` and the lanes behind them in the last pack.
template <class T>
index_t whole_packs(index_t columns) {
    return (columns + pack<T>::size - 1) / pack<T>::size * pack<T>::size;
}
/// Columns of the next panel where `left` are left. A panel of one pack behind a full one would
/// cost far more than its share, since a tile loads as many numbers of A for it: two of two packs.
template <class T>
index_t next_panel(index_t left) {
    constexpr index_t width = pack<T>::size, full = panel_columns<T>;
    return left > full && left <= full + width ? full - width : std::min(full, left);
}

/// Copies columns [0, columns) × rows [0, terms) of `b` to a panel of rows of `stride`, padded with
/// zeros to whole packs.
template <class T>
void fill_panel(matrix_view<T> b, index_t terms, index_t columns, T* panel,
                index_t stride = panel_columns<T>) {
    constexpr index_t width = pack<T>::size;
    index_t const padded = whole_packs<T>(columns);
    if (b.column_stride == 1) {
        for (index_t t = 0; t < terms; ++t) {
            T const* source = b.at(t, 0);
            T* target = panel + t * stride;
            std::copy_n(source, columns, target);
            std::fill(target + columns, target + padded, T(0));
        }
        return;
    }
    for (index_t t0 = 0; t0 < terms; t0 += width)
        for (index_t j0 = 0; j0 < columns; j0 += width) {
            index_t const t1 = std::min(terms, t0 + width), j1 = std::min(columns, j0 + width);
            if (b.row_stride == 1 && t1 - t0 == width && j1 - j0 == width) {
                transpose_square(b.at(t0, j0), b.column_stride, panel + t0 * stride + j0, stride);
                continue;
            }
            for (index_t t = t0; t < t1; ++t) {
                for (index_t j = j0; j < j1; ++j) panel[t * stride + j] = *b.at(t, j);
                std::fill(panel + t * stride + j1, panel + t * stride + j0 + width, T(0));
            }
        }
}

/// `b` [terms, columns] as packed panels: panel p holds columns [p·panel_columns, …) for all terms.
template <class T>
index_t packed_size(index_t terms, index_t columns) {
    return (columns + panel_columns<T> - 1) / panel_columns<T> * panel_columns<T> * terms;
}
template <class T>
void fill_panels(matrix_view<T> b, index_t terms, index_t columns, T* panels) {
    for (index_t j = 0; j < columns; j += panel_columns<T>)
        fill_panel(b.from(0, j), terms, std::min(panel_columns<T>, columns - j),
                   panels + j * terms);
}

/// Chooses the tile width for a panel of `columns` columns.
template <class T>
void multiply_columns(left_block<T> a, index_t rows, T const* panel, index_t panel_stride,
                      index_t terms, index_t columns, T* c, index_t c_stride, bool fresh) {
    constexpr index_t width = pack<T>::size;
    auto const packs = static_cast<int>((columns + width - 1) / width);
    auto const last = static_cast<int>(columns - (packs - 1) * width);
    switch (packs) {
        case 1:
            multiply_panel<1>(a, rows, panel, panel_stride, terms, c, c_stride, last, fresh);
            break;
        case 2:
            multiply_panel<2>(a, rows, panel, panel_stride, terms, c, c_stride, last, fresh);
            break;
        default:
            multiply_panel<3>(a, rows, panel, panel_stride, terms, c, c_stride, last, fresh);
    }
}

/// Scratch memory of this thread for `size` numbers; the contents are undefined.
template <class T, int Slot>
T* scratch(index_t size) {
    thread_local std::vector<T, Eigen::aligned_allocator<T>> memory;
    if (static_cast<index_t>(memory.size()) < size) memory.resize(static_cast<std::size_t>(size));
    return memory.data();
}

/// Numbers that left_block::of needs for `rows` rows.
inline index_t left_size(index_t rows) {
    return (rows + tile_rows - 1) / tile_rows * tile_rows * block_terms;
}

/// C[rows, columns] (+)= A[rows, terms] · B with B already packed by fill_panels for `terms`; only
/// the first `columns` of the packed columns are multiplied.
template <class T>
void multiply_packed(matrix_view<T> a, index_t rows, index_t terms, T const* panels,
                     index_t columns, T* c, index_t c_stride, bool accumulate) {
    constexpr index_t stride = panel_columns<T>;
    if (terms == 0 && !accumulate)
        for (index_t i = 0; i < rows; ++i) std::fill_n(c + i * c_stride, columns, T(0));
    T* const memory = a.column_stride == 1 ? nullptr : scratch<T, 1>(left_size(rows));
    for (index_t t = 0; t < terms; t += block_terms) {
        index_t const count = std::min(block_terms, terms - t);
        auto const block = left_block<T>::of(a.from(0, t), rows, count, memory);
        for (index_t j = 0; j < columns; j += stride)
            multiply_columns(block, rows, panels + j * terms + t * stride, stride, count,
                             std::min(stride, columns - j), c + j, c_stride, t == 0 && !accumulate);
    }
}

/// Packs of a tile of one row: enough independent sums to hide the latency of each.
inline constexpr int wide_packs = 2 * tile_rows;
/// Rows above which packing B pays for itself even if its rows are contiguous.
inline constexpr index_t pack_rows = 160;
/// Rows of A, and panels of B, that are worked on together: both stay in the L2 cache.
inline constexpr index_t block_rows = 128;
inline constexpr index_t block_panels = 16;

/// C[rows, columns] (+)= A · B on the calling thread.
template <class T>
void multiply(matrix_view<T> a, matrix_view<T> b, index_t rows, index_t columns, index_t terms,
              T* c, index_t c_stride, bool accumulate) {
    constexpr index_t block_columns = block_panels * panel_columns<T>;
    if (terms == 0 && !accumulate)
        for (index_t i = 0; i < rows; ++i) std::fill_n(c + i * c_stride, columns, T(0));
    bool const direct = b.column_stride == 1 && rows < pack_rows;
    if (direct && rows == 1 && a.column_stride == 1) {
        constexpr index_t wide = wide_packs * pack<T>::size;
        index_t j = 0;
        for (; j + wide <= columns; j += wide)
            multiply_tile<1, wide_packs, 1>(a.data, 0, b.at(0, j), b.row_stride, terms, c + j, 0,
                                            pack<T>::size, !accumulate);
        if (j == columns) return;
        b = b.from(0, j);
        c += j;
        columns -= j;
    }
    T* const panels =
        scratch<T, 0>(std::min(block_columns, columns + panel_columns<T>) * block_terms);
    T* const memory = a.column_stride == 1 ? nullptr : scratch<T, 1>(left_size(block_rows));
    for (index_t t = 0; t < terms; t += block_terms)
        for (index_t first = 0; first < columns; first += block_columns) {
            index_t const count = std::min(block_terms, terms - t);
            index_t const end = std::min(columns, first + block_columns);
            auto each_panel = [&](auto&& body) {
                for (index_t j = first; j < end;) {
                    index_t const width = next_panel<T>(end - j);
                    bool const where_it_is = direct && width % pack<T>::size == 0;
                    body(j, width, where_it_is, panels + (j - first) * block_terms);
                    j += width;
                }
            };
            each_panel([&](index_t j, index_t width, bool where_it_is, T* panel) {
                if (!where_it_is)
                    fill_panel(b.from(t, j), count, width, panel, whole_packs<T>(width));
            });
            for (index_t i = 0; i < rows; i += block_rows) {
                index_t const height = std::min(block_rows, rows - i);
                auto const block = left_block<T>::of(a.from(i, t), height, count, memory);
                each_panel([&](index_t j, index_t width, bool where_it_is, T* panel) {
                    multiply_columns(block, height, where_it_is ? b.at(t, j) : panel,
                                     where_it_is ? b.row_stride : whole_packs<T>(width), count,
                                     width, c + i * c_stride + j, c_stride, t == 0 && !accumulate);
                });
            }
        }
}

}  // namespace grove::inline GROVE_ISA::detail
