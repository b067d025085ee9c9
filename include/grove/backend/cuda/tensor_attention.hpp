// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention with its products on tensor cores: the walk, the blocks of keys and the folds
/// of attention.hpp. What a row's bits depend on is the same there and here.
#pragma once

#include "grove/backend/cuda/attention.hpp"
#include "grove/backend/cuda/tensor_panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks.
template <class Plan, bool Shares>
struct tensor_attention_forward {
    using step = typename Plan::step;
    static constexpr int threads = Plan::threads, rows = Plan::rows, columns = Plan::columns;
    attention_extents e;
    attention_tiling tiling;
    float const *q, *k, *v;
    float scale;
    bool aligned;
    index_t splits;
    attention_partials<float> partials;
    float *out, *log_normalizer;

    static bool fits(attention_extents const& e) {
        return e.dim <= Plan::depth && e.width <= Plan::depth;
    }
    static std::size_t shared_bytes(attention_extents const&) {
        return (tile_rows<Plan>::size + panel_ring<Plan>::size) * sizeof(float);
    }
    index_t blocks() const { return tiling.tiles * e.key_heads * splits; }

    __device__ void operator()(index_t block) const {
        if (block == 0) e.check();
        index_t const key_head = block / splits / tiling.tiles;
        // Late tiles have the most keys: they come first.
        auto const tile = tiling.find(e, tiling.tiles - 1 - block / splits % tiling.tiles);
        if (tile.rows == 0) return;
        index_t const slot =
            Shares ? partials.first_slot(e, tile.span, tile.first / e.group) : index_t{-1};
        int const split = static_cast<int>(block % splits);
        if (slot >= 0 || split == 0)
            walk(tile, key_head, slot, split, slot >= 0 ? static_cast<int>(splits) : 1);
    }

private:
    static constexpr int tiles = columns / 8;
    using scores_of_warp = mma_sum[Plan::share][tiles];

    /// A thread's rows.
    struct state {
        running_softmax<float> softmax[Plan::share][2];
        packet<float> result[Plan::share][2][Plan::steps] = {};
        int visible[Plan::share][2];  ///< keys; 0 where there is no such row
        int head[Plan::share][2];     ///< where there are partial results
        int least, most;              ///< of the warp's rows
        int slot;  ///< of the first block's partial result; -1: no partial results
    };

    /// Key blocks begin, begin + step, ...
    __device__ void walk(attention_tile const& tile, index_t key_head, index_t slot, int begin,
                         int by) const {
        auto const& span = tile.span;
        float* const kept = dynamic_memory<float>();
        panel_ring<Plan> ring(kept + tile_rows<Plan>::size);
        int const keys = static_cast<int>(span.keys);
        int const end = (visible(tile, tile.rows - 1) + columns - 1) / columns;
        auto const all_keys = e.keys_at(k, span, key_head, 0),
                   all_values = e.values_at(v, span, key_head, 0);
        int next_block = begin;
        bool values_next = false;
        auto const start_next = [&] {
            if (next_block >= end) return;
            int const first = next_block * columns;
            auto from = values_next ? all_values : all_keys;
            from.data += first * from.step;
            fetch_panel<Plan, columns>(ring.next(), Plan::stride, keys - first, 0,
                                       values_next ? e.width : e.dim, aligned, from);
            ring.started();
            if (values_next) next_block += by;
            values_next = !values_next;
        };

        start_next();
        tile_rows<Plan> queries;
        queries.fetch(kept, e.queries_at(q, span, key_head, tile.first, tile.rows), tile.rows,
                      e.dim, aligned);
        if constexpr (!Plan::holds) ring.started();
        state mine;
        start(mine, tile, key_head, slot);
        for (int b = begin; b < end; b += by) {
            bool const seen = b * columns < mine.most;
            typename step::left weights[columns / 16][Plan::share];
            float const* const block_keys = ring.turn();
            start_next();
            if (seen) {
                scores_of_warp scores = {};
                add_tensor_dots<Plan>(scores, queries, block_keys, e.dim);
                weigh(mine, scores, b);
#pragma unroll
                for (int s = 0; s < columns / 16; ++s)
#pragma unroll
                    for (int m = 0; m < Plan::share; ++m)
                        weights[s][m] = as_left<Plan>(scores[m][2 * s], scores[m][2 * s + 1]);
            }
            float const* const block_values = ring.turn();
            start_next();
            if (!seen) continue;
#pragma unroll
            for (int piece = 0; piece < Plan::steps; ++piece) {
                if (16 * piece >= e.width) break;
                mma_sum came[Plan::share][2] = {};
#pragma unroll
                for (int s = 0; s < columns / 16; ++s)
                    add_tensor_weighted<Plan>(came, weights[s], block_values, s, piece,
                                              Plan::stride);
                fold(mine, came, piece, b);
            }
        }
        if (!Shares || mine.slot < 0) finish(mine, tile, key_head);
    }

    __device__ int visible(attention_tile const& tile, int row) const {
        auto const at = static_cast<unsigned>(tile.first + row);
        return static_cast<int>(tile.span.visible(at / static_cast<unsigned>(e.group)));
    }
    __device__ void start(state& mine, attention_tile const& tile, index_t key_head,
                          index_t slot) const {
        mine.slot = static_cast<int>(slot);
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
            for (int half = 0; half < 2; ++half) {
                int const r = Plan::row(m, half);
                mine.visible[m][half] = r < tile.rows ? visible(tile, r) : 0;
                mine.head[m][half] =
                    Shares ? static_cast<int>(e.head(key_head, tile.first + r)) : 0;
            }
        int const first = Plan::first_row(), last = first + Plan::rows_of_warp - 1;
        mine.least = last < tile.rows ? visible(tile, first) : 0;
        mine.most = first >= tile.rows ? 0 : visible(tile, min(last, tile.rows - 1));
    }

    /// Scores become e^(score · scale - top of the block); the row's softmax takes them in.
    __device__ void weigh(state& mine, scores_of_warp& scores, int block) const {
        constexpr float hidden = -std::numeric_limits<float>::infinity();
        if (mine.least < (block + 1) * columns) {
            int const key = block * columns + 2 * Plan::lane();
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
#pragma unroll
                for (int j = 0; j < tiles; ++j)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        if (key + 8 * j + i % 2 >= mine.visible[m][i / 2]) scores[m][j][i] = hidden;
        }
        float const factor = multiply_rounded(scale, binary_logarithm);
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float top = hidden;
#pragma unroll
                for (int j = 0; j < tiles; ++j)
                    top = fmaxf(top, fmaxf(scores[m][j][2 * half], scores[m][j][2 * half + 1]));
                top = fmaxf(top, __shfl_xor_sync(~0U, top, 1));
                top = fmaxf(top, __shfl_xor_sync(~0U, top, 2));
                float const shift = top == hidden ? 0.0F : -multiply_rounded(top, factor);
                float sum = 0.0F;
#pragma unroll
                for (int j = 0; j < tiles; ++j)
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; ++i) {
                        float& x = scores[m][j][i];
                        x = binary_exponential(math::fma(x, factor, shift));
                        sum = add_rounded(sum, x);
                    }
                sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 1));
                sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 2));
                if (block * columns >= mine.visible[m][half]) continue;
                top = multiply_rounded(top, scale);
                if (!Shares || mine.slot < 0) {
                    mine.softmax[m][half].fold(top, sum);
                } else if (Plan::lane() == 0) {
                    index_t const at = partial(mine, m, half, block);
                    partials.tops[at] = top;
                    partials.sums[at] = sum;
                }
            }
    }
    /// The block's weighted values, of one piece, to those of the blocks before.
    __device__ void fold(state& mine, mma_sum const (&came)[Plan::share][2], int piece,
                         int block) const {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if (block * columns >= mine.visible[m][half]) continue;
                auto const next = side_by_side(came[m][0], came[m][1], half);
                if (Shares && mine.slot >= 0)
                    write_packet(next, partials.values + partial(mine, m, half, block) * e.width,
                                 Plan::outer(piece), e.width);
                else
#pragma unroll
                    for (int x = 0; x < Plan::vector; ++x) {
                        float& was = mine.result[m][half][piece].at[x];
                        was = mine.softmax[m][half].weigh(was, next.at[x]);
                    }
            }
    }
    __device__ index_t partial(state const& mine, int m, int half, int block) const {
        return index_t{mine.slot + block} * e.heads + mine.head[m][half];
    }
    __device__ void finish(state& mine, attention_tile const& tile, index_t key_head) const {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if (Plan::row(m, half) >= tile.rows) continue;
                index_t const r = tile.first + Plan::row(m, half);
                auto const& softmax = mine.softmax[m][half];
                float const inverse = 1.0F / softmax.sum;
                float* const target = out + e.output(tile.span, key_head, r);
#pragma unroll
                for (int piece = 0; piece < Plan::steps; ++piece) {
                    if (16 * piece >= e.width) break;
                    auto& y = mine.result[m][half][piece];
                    for (float& x : y.at) x = multiply_rounded(x, inverse);
                    write_packet(y, target, Plan::outer(piece), e.width);
                }
                if (Plan::lane() == 0)
                    log_normalizer[e.normalizer(tile.span, key_head, r)] =
                        softmax.top + math::log(softmax.sum);
            }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
