// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention with its products on tensor cores, for heads of which a warp holds whole rows:
/// the walk, the blocks of keys and the folds of attention.hpp.
#pragma once

#include "grove/backend/cuda/tensor_forward.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks.
template <class Plan, bool Shares>
struct tensor_attention_forward : tensor_forward<Plan, Shares> {
    using base = tensor_forward<Plan, Shares>;
    using element = typename base::element;
    using base::columns, base::e, base::q, base::k, base::v, base::aligned;

    static bool fits(attention_extents const& e) {
        return e.dim <= Plan::depth && e.width <= Plan::depth;
    }
    static std::size_t shared_bytes(attention_extents const&) {
        return (tile_rows<Plan>::size + panel_ring<Plan>::size) * sizeof(element);
    }
    __device__ void operator()(index_t block) const {
        this->find(block, [&](task const& t) { this->walk(t); });
    }

private:
    using typename base::state;
    using typename base::task;
    using step = typename Plan::step;
    static constexpr int tiles = columns / 8;
    using scores_of_warp = mma_sum[Plan::share][tiles];
    using weights_of_warp = typename step::left[columns / 16][Plan::share];

    __device__ void walk(task const& t) const {
        auto const& span = t.tile.span;
        element* const kept = dynamic_memory<element>();
        panel_ring<Plan> ring(kept + tile_rows<Plan>::size);
        int const keys = static_cast<int>(span.keys);
        auto const all_keys = e.keys_at(k, span, t.key_head, 0),
                   all_values = e.values_at(v, span, t.key_head, 0);
        int next_block = t.begin;
        bool values_next = false;
        auto const start_next = [&] {
            if (next_block >= t.end) return;
            int const first = next_block * columns;
            auto from = values_next ? all_values : all_keys;
            from.data += first * from.step;
            fetch_panel<Plan, columns>(ring.next(), Plan::stride, keys - first, 0,
                                       values_next ? e.width : e.dim, aligned, from);
            ring.started();
            if (values_next) next_block += t.by;
            values_next = !values_next;
        };

        start_next();
        tile_rows<Plan> queries;
        queries.fetch(kept, e.queries_at(q, span, t.key_head, t.tile.first, t.tile.rows),
                      t.tile.rows, e.dim, aligned);
        if constexpr (!Plan::holds) ring.started();
        state mine;
        this->start(mine, t);
        for (int b = t.begin; b < t.end; b += t.by) {
            bool const seen = b * columns < mine.most;
            weights_of_warp weights;
            auto const* const block_keys = ring.turn();
            start_next();
            if (seen) {
                scores_of_warp scores = {};
                add_tensor_dots<Plan>(scores, queries, block_keys, e.dim);
                weigh(mine, scores, weights, b);
            }
            auto const* const block_values = ring.turn();
            start_next();
            if (seen) add_values(mine, weights, block_values, b);
        }
        this->finish(mine, t);
    }

    /// Scores become weights, e^(score · scale - top of the block); the row's softmax takes them
    /// in.
    __device__ void weigh(state& mine, scores_of_warp& scores, weights_of_warp& weights,
                          int block) const {
        this->hide(mine, scores, block);
        this->each_row([&](int m, int half) {
            float const top = this->top_of(scores[m], half);
            float const sum = this->raise(scores[m], half, top);
            this->fold(mine, m, half, block, multiply_rounded(top, this->scale), sum);
        });
#pragma unroll
        for (int s = 0; s < columns / 16; ++s)
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                weights[s][m] = as_left<Plan>(scores[m][2 * s], scores[m][2 * s + 1]);
    }
    __device__ void add_values(state& mine, weights_of_warp const& weights, element const* values,
                               int block) const {
#pragma unroll
        for (int piece = 0; piece < Plan::pieces; ++piece) {
            if (16 * piece >= e.width) break;
            mma_sum came[Plan::share][2] = {};
#pragma unroll
            for (int s = 0; s < columns / 16; ++s)
                add_tensor_weighted<Plan>(came, weights[s], values, s, piece, Plan::stride);
            this->fold(mine, came, piece, block);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
