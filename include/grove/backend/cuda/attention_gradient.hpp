// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gradients of attention: probabilities are computed again from log Σ e^score, tile by tile. One
/// kernel goes by rows of queries (dq), one by keys (dk, dv), so that no two blocks add to the same
/// number: the query heads of a group and the tokens behind a key come in their order.
#pragma once

#include "grove/backend/cuda/attention_layout.hpp"
#include "grove/backend/cuda/panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Addresses of a backward pass. `mean` has room for Σ g · out of each (token, head): what the
/// softmax's gradient is measured from.
template <class T>
struct attention_operands {
    T const *g, *q, *k, *v, *out;
    sum_type<T> const* log_normalizer;
    sum_type<T>* mean;
    T *dq, *dk, *dv;
};

/// Σ a · b of each row, by a quarter of a warp.
template <class T>
struct row_dots {
    static constexpr int threads = 256, lanes = 8, rows_of_block = threads / lanes;
    input<T> a, b;
    index_t rows;
    int columns;
    bool aligned;
    T* y;

    index_t blocks() const { return (rows + rows_of_block - 1) / rows_of_block; }
    __device__ void operator()(index_t block) const {
        index_t const row = block * rows_of_block + threadIdx.x / lanes;
        int const lane = static_cast<int>(threadIdx.x) % lanes;
        index_t const start = (row < rows ? row : 0) * columns;
        T sum = T(0);
        each_packet<T>(columns, lane, lanes, [&](index_t j) {
            auto const x = a.from(start).load(j, columns, aligned);
            auto const z = b.from(start).load(j, columns, aligned);
            for (int t = 0; t < packet<T>::size; ++t) sum = math::fma(x.at[t], z.at[t], sum);
        });
        for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
        if (lane == 0 && row < rows) y[row] = sum;
    }
};

/// A block for each tile of each key head: of rows of queries, or of keys where `OfKeys`. Scores
/// are tile · walkedᵀ; what is walked are the keys and values, or the queries and gradients.
template <class Plan, int Panels, bool OfKeys>
struct attention_backward {
    using T = typename Plan::value_type;
    static constexpr int threads = Plan::threads, rows = Plan::rows, columns = Plan::columns;
    attention_extents e;
    attention_tiling tiling;
    attention_operands<T> x;
    T scale;
    bool aligned;

    static bool fits(attention_extents const& e) {
        return sums::fits(e.dim) && sums::fits(e.width);
    }
    static std::size_t shared_bytes(attention_extents const& e) {
        int const tile = Plan::rows * (Plan::wide_stride(e.dim) + Plan::wide_stride(e.width) +
                                       Plan::weight_stride);
        int const collected = sums::size(e.dim) + (OfKeys ? sums::size(e.width) : 0);
        return static_cast<std::size_t>(tile + collected + panel_ring<Plan>::size) * sizeof(T);
    }
    index_t blocks() const { return tiling.tiles * e.key_heads; }

    __device__ void operator()(index_t block) const {
        if (!OfKeys && block == 0) e.check();
        auto const tile = tiling.find(e, block % tiling.tiles);
        if (tile.rows > 0) walk(tile, block / tiling.tiles);
    }

private:
    using sums = tile_sums<Plan, Panels>;
    using share = T[Plan::share][Plan::own];

    /// Rows of the tile (keys where OfKeys), or of what is walked; of `dim` or of `width` columns.
    __device__ row_source<T> source(key_span const& s, index_t key_head, bool keys, bool of_dim,
                                    index_t first, int count) const {
        if (keys)
            return of_dim ? e.keys_at(x.k, s, key_head, first)
                          : e.values_at(x.v, s, key_head, first);
        return of_dim ? e.queries_at(x.q, s, key_head, first, count)
                      : e.outputs_at(x.g, s, key_head, first, count);
    }

    __device__ void walk(attention_tile const& tile, index_t key_head) const {
        auto const& span = tile.span;
        int const narrow = Plan::wide_stride(e.dim), wide = Plan::wide_stride(e.width);
        T* const left = dynamic_memory<T>();
        T* const left_values = left + Plan::rows * narrow;
        T* const weights = left_values + Plan::rows * wide;
        panel_ring<Plan> ring(weights + Plan::rows * Plan::weight_stride);
        T* const collected = weights + Plan::rows * Plan::weight_stride + panel_ring<Plan>::size;

        // What is walked: all that the last row sees, or all that sees the first key.
        index_t const hidden = tile.first - (span.keys - span.queries);
        int const all = static_cast<int>(
            OfKeys ? span.queries * e.group : span.visible((tile.first + tile.rows - 1) / e.group));
        int const begin = OfKeys && hidden > 0 ? static_cast<int>(hidden * e.group / columns) : 0;
        int const end = (all + columns - 1) / columns;
        // Of each block the panels come for scores, for their gradient, then for the sums.
        int const dims = Plan::panels(e.dim), widths = Plan::panels(e.width);
        int const scores_end = dims, slopes_end = dims + widths;
        int const values_end = slopes_end + (OfKeys ? widths : 0), panels = values_end + dims;
        int next_block = begin, next_panel = 0;
        auto const start_next = [&] {
            if (next_block >= end) return;
            bool const of_dim = next_panel < scores_end || next_panel >= values_end;
            int const base = next_panel < scores_end   ? 0
                             : next_panel < slopes_end ? scores_end
                             : next_panel < values_end ? slopes_end
                                                       : values_end;
            int const first = next_block * columns;
            fetch_panel<Plan, columns>(
                ring.next(), Plan::stride, (OfKeys ? all : static_cast<int>(span.keys)) - first,
                Plan::depth * (next_panel - base), of_dim ? e.dim : e.width, aligned,
                source(span, key_head, !OfKeys, of_dim, first, columns));
            ring.started();
            if (++next_panel == panels) {
                next_panel = 0;
                ++next_block;
            }
        };
        auto const keep = [&](T* panel, int stride, bool of_dim) {
            int const width = of_dim ? e.dim : e.width;
            auto const rows_of_tile = source(span, key_head, OfKeys, of_dim, tile.first, tile.rows);
            for (int first = 0; first < width; first += Plan::depth)
                fetch_panel<Plan, Plan::rows>(panel + first, stride, tile.rows, first, width,
                                              aligned, rows_of_tile);
        };
        keep(left, narrow, true);
        keep(left_values, wide, false);
        start_next();
        sums result(collected, e.dim);
        sums value_result(collected + sums::size(e.dim), OfKeys ? e.width : 0);

        for (int b = begin; b < end; ++b) {
            share scores = {}, slopes = {};
            for (int p = 0; p < dims; ++p) {
                T const* const walked = ring.turn();
                start_next();
                add_dots<Plan>(scores, left + p * Plan::depth, narrow, walked,
                               math::min(Plan::depth, e.dim - p * Plan::depth));
            }
            for (int p = 0; p < widths; ++p) {
                T const* const walked = ring.turn();
                start_next();
                add_dots<Plan>(slopes, left_values + p * Plan::depth, wide, walked,
                               math::min(Plan::depth, e.width - p * Plan::depth));
            }
            differentiate(scores, slopes, tile, key_head, b);
            auto const collect = [&](share const& weight, sums& to) {
                store_weights<Plan>(weight, weights);
                to.visit([&](typename sums::part& part, int) {
                    T const* const walked = ring.turn();
                    start_next();
                    add_weighted<Plan>(part, weights, walked);
                });
            };
            if (OfKeys) collect(scores, value_result);
            collect(slopes, result);
        }
        auto const write = [&](sums& from, int width, bool of_dim) {
            from.visit([&](typename sums::part& part, int first) {
#pragma unroll
                for (int i = 0; i < Plan::share; ++i) {
                    if (Plan::row(i) >= tile.rows) continue;
                    index_t const r = tile.first + Plan::row(i);
                    T* const target = !OfKeys  ? x.dq + e.query(span, key_head, r)
                                      : of_dim ? x.dk + e.key(span, key_head, r)
                                               : x.dv + e.value(span, key_head, r);
#pragma unroll
                    for (int p = 0; p < Plan::pieces; ++p)
                        write_packet(part[i][p], target, first + Plan::column(p), width);
                }
            });
        };
        write(result, e.dim, true);
        if (OfKeys) write(value_result, e.width, false);
    }

    /// Scores become probabilities p, and their gradients dp become p · (dp − mean) · scale.
    __device__ void differentiate(share& scores, share& slopes, attention_tile const& tile,
                                  index_t key_head, int block) const {
        auto const& span = tile.span;
#pragma unroll
        for (int j = 0; j < (OfKeys ? Plan::own : Plan::share); ++j) {
            // The row of queries: the j-th of what is walked, or of the tile.
            int const c = block * columns + Plan::lane() + j * Plan::lanes;
            index_t const r = OfKeys ? c : tile.first + Plan::row(j);
            bool const exists = OfKeys ? c < span.queries * e.group : Plan::row(j) < tile.rows;
            index_t const at = exists ? e.normalizer(span, key_head, r) : 0;
            T const shift = exists ? -x.log_normalizer[at] : T(0),
                    mean = exists ? x.mean[at] : T(0);
            int const visible =
                exists ? static_cast<int>(span.visible(e.group == 1 ? r : r / e.group)) : 0;
            auto const apply = [&](T& score, T& slope, int key) {
                score = key < visible ? math::exp(math::fma(score, scale, shift)) : T(0);
                slope = score * (slope - mean) * scale;
            };
            if constexpr (OfKeys) {
#pragma unroll
                for (int i = 0; i < Plan::share; ++i)
                    apply(scores[i][j], slopes[i][j], static_cast<int>(tile.first) + Plan::row(i));
            } else {
#pragma unroll
                for (int i = 0; i < Plan::own; ++i)
                    apply(scores[j][i], slopes[j][i],
                          block * columns + Plan::lane() + i * Plan::lanes);
            }
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
