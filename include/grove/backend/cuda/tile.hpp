// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products by tiles in shared memory, for groups whose extents only the device knows, and for
/// what cuBLASLt does not offer. Each element is one chain of fused multiply-adds in ascending
/// order of the inner index: the bits of the reference backend, for every batch and tile.
#pragma once

#include <cstdint>

#include "grove/backend/concept.hpp"
#include "grove/backend/cuda/rows.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Element (i, j) of a matrix in memory.
template <class T>
struct matrix_view {
    T* data;
    index_t rows, columns, row_step, column_step;
    __device__ T& operator()(index_t i, index_t j) const {
        return data[i * row_step + j * column_step];
    }
};

/// One tile of C = A · B by a block.
template <class T>
struct product_tile {
    static constexpr int threads = 256, edge = 64, depth = 16, share = 4;
    alignas(16) T a[depth][edge + share];  // rows a share longer, for other banks
    alignas(16) T b[depth][edge + share];

    static __host__ __device__ index_t count(index_t extent) { return (extent + edge - 1) / edge; }

    /// Elements from (row, column) on; called by the whole block.
    __device__ void multiply(matrix_view<T const> const& left, matrix_view<T const> const& right,
                             matrix_view<T> const& result, index_t row, index_t column) {
        int const down = static_cast<int>(threadIdx.x) / 16 * share;
        int const across = static_cast<int>(threadIdx.x) % 16 * share;
        T sum[share][share] = {};
        for (index_t first = 0; first < left.columns; first += depth) {
            load(left, row, first);
            load_right(right, first, column);
            __syncthreads();
#pragma unroll
            for (int t = 0; t < depth; ++t)
#pragma unroll
                for (int i = 0; i < share; ++i)
#pragma unroll
                    for (int j = 0; j < share; ++j)
                        sum[i][j] = math::fma(a[t][down + i], b[t][across + j], sum[i][j]);
            __syncthreads();
        }
        for (int i = 0; i < share; ++i)
            for (int j = 0; j < share; ++j)
                if (row + down + i < result.rows && column + across + j < result.columns)
                    result(row + down + i, column + across + j) = sum[i][j];
    }

private:
    /// Threads walk along whichever direction is contiguous; zeros beyond the matrix add nothing.
    __device__ void load(matrix_view<T const> const& m, index_t row, index_t first) {
        for (int e = static_cast<int>(threadIdx.x); e < edge * depth; e += threads) {
            bool const along = m.column_step == 1;
            int const i = along ? e / depth : e % edge, t = along ? e % depth : e / edge;
            a[t][i] = row + i < m.rows && first + t < m.columns ? m(row + i, first + t) : T(0);
        }
    }
    __device__ void load_right(matrix_view<T const> const& m, index_t first, index_t column) {
        for (int e = static_cast<int>(threadIdx.x); e < edge * depth; e += threads) {
            bool const along = m.column_step == 1;
            int const j = along ? e % edge : e / depth, t = along ? e / edge : e % depth;
            b[t][j] =
                first + t < m.rows && column + j < m.columns ? m(first + t, column + j) : T(0);
        }
    }
};

/// C = op(A) · op(B) for each pair of a batch: a block for each tile.
template <class T>
struct product_blocks {
    static constexpr int threads = product_tile<T>::threads;
    product_shape p;
    T const *a, *b;
    T* c;

    index_t blocks() const {
        return p.batch * product_tile<T>::count(p.m) * product_tile<T>::count(p.n);
    }
    __device__ void operator()(index_t block) const {
        __shared__ product_tile<T> tile;
        index_t const across = product_tile<T>::count(p.n), down = product_tile<T>::count(p.m);
        index_t const s = block / (across * down);
        bool const ta = p.transpose_a, tb = p.transpose_b;
        tile.multiply({a + s * p.m * p.k, p.m, p.k, ta ? 1 : p.k, ta ? p.m : 1},
                      {b + s * p.k * p.n, p.k, p.n, tb ? 1 : p.n, tb ? p.k : 1},
                      {c + s * p.m * p.n, p.m, p.n, p.n, 1},
                      block / across % down * product_tile<T>::edge,
                      block % across * product_tile<T>::edge);
    }
};

/// Groups of rows, one behind the other, as only the device knows them. The host knows how many
/// tiles of them there are at most; each block counts those of the groups before its own.
struct row_groups {
    std::int32_t const* offsets;
    index_t rows, groups;

    index_t tiles_at_most(index_t edge) const {
        index_t const tiles = (rows + edge - 1) / edge + groups;
        return tiles < rows ? tiles : rows;
    }
    __device__ index_t begin(index_t e) const { return clamp_row(offsets[e], rows); }
    __device__ index_t end(index_t e) const { return clamp_row(offsets[e + 1], rows); }
    __device__ index_t size(index_t e) const { return end(e) > begin(e) ? end(e) - begin(e) : 0; }
    /// The `index`-th tile of `edge` rows: its group, and its number in there.
    __device__ group_item tile(index_t index, index_t edge) const {
        return nth_item(index, groups, [&](index_t e) { return (size(e) + edge - 1) / edge; });
    }
};

/// Rows of each group times its matrix.
template <class T>
struct grouped_blocks {
    static constexpr int threads = product_tile<T>::threads;
    grouped_shape g;
    T const *x, *w;
    row_groups groups;
    T* y;

    index_t blocks() const {
        return groups.tiles_at_most(product_tile<T>::edge) * product_tile<T>::count(g.n);
    }
    __device__ void operator()(index_t block) const {
        __shared__ product_tile<T> tile;
        index_t const across = product_tile<T>::count(g.n);
        auto const [group, item] = groups.tile(block / across, product_tile<T>::edge);
        if (group < 0) return;
        tile.multiply(
            {x, groups.end(group), g.k, g.k, 1},
            {w + group * g.k * g.n, g.k, g.n, g.transpose_b ? 1 : g.n, g.transpose_b ? g.k : 1},
            {y, groups.end(group), g.n, g.n, 1}, groups.begin(group) + item * product_tile<T>::edge,
            block % across * product_tile<T>::edge);
    }
};

/// W[e] = X[e]ᵀ · Y[e], stored [k, n] or [n, k]: a block for each tile of each group.
template <class T>
struct outer_blocks {
    static constexpr int threads = product_tile<T>::threads;
    grouped_shape g;
    T const *x, *y;
    row_groups groups;
    T* w;

    index_t blocks() const {
        return g.groups * product_tile<T>::count(g.k) * product_tile<T>::count(g.n);
    }
    __device__ void operator()(index_t block) const {
        __shared__ product_tile<T> tile;
        index_t const across = product_tile<T>::count(g.n), down = product_tile<T>::count(g.k);
        index_t const e = block / (across * down);
        index_t const begin = groups.begin(e), rows = groups.size(e);
        tile.multiply(
            {x + begin * g.k, g.k, rows, 1, g.k}, {y + begin * g.n, rows, g.n, g.n, 1},
            {w + e * g.k * g.n, g.k, g.n, g.transpose_b ? 1 : g.n, g.transpose_b ? g.k : 1},
            block / across % down * product_tile<T>::edge, block % across * product_tile<T>::edge);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
