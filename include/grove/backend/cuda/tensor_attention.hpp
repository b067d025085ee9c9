// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention with its products on tensor cores, for heads of which a warp holds whole rows:
/// the walk, the blocks of keys and the folds of attention.hpp.
#pragma once

#include <algorithm>

#include "grove/backend/cuda/tensor_forward.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks. Keys and values arrive by themselves, or in `Pairs`; `Stages` of them are in
/// shared memory.
template <class Plan, bool Shares, bool Pairs = false, int Stages = 2>
struct tensor_attention_forward : tensor_forward<Plan, Shares> {
    using base = tensor_forward<Plan, Shares>;
    using element = typename base::element;
    using base::columns, base::e, base::q, base::k, base::v, base::aligned;

    /// Whether warps share rows: in decoding.
    static constexpr bool joint = Plan::across > 1;

    static bool fits(attention_extents const& e) {
        return e.dim <= Plan::depth && e.width <= Plan::depth;
    }
    static std::size_t shared_bytes(attention_extents const&) { return bytes; }
    __device__ void operator()(index_t block) const {
        this->find(block, [&](task const& t) {
            if constexpr (joint)
                this->walk_jointly(t);
            else
                this->walk(t);
        });
    }

private:
    using typename base::state;
    using typename base::task;
    using step = typename Plan::step;
    static constexpr int tiles = columns / 8, own_tiles = tiles / Plan::across;
    static constexpr int panel = columns * Plan::stride;
    struct stage {
        using value_type = element;
        static constexpr int stride = Plan::stride, columns = (Pairs ? 2 : 1) * Plan::columns;
    };
    using ring = panel_ring<stage, Stages>;
    static_assert(!joint || (Plan::share == 1 && Plan::rows == 16));
    static constexpr int pairs = joint ? 2 * tiles * 32 : 0;  ///< of scores, for other warps
    static constexpr std::size_t bytes =
        (tile_rows<Plan>::size + (joint ? 2 * panel : ring::size)) * sizeof(element) +
        pairs * sizeof(float2);
    using scores_of_warp = mma_sum[Plan::share][own_tiles];
    using scores_of_rows = mma_sum[Plan::share][tiles];
    using weights_of_warp = typename step::left[columns / 16][Plan::share];

public:
    /// Where warps share rows, each has little to do: as many blocks as shared memory has room for
    /// hide each other's latencies, though no thread gets fewer than 64 registers.
    static constexpr int together = joint ? std::min(8, blocks_with(bytes)) : 0;

private:
    __device__ void fetch_keys(element* to, task const& t, int block) const {
        fetch(to, e.keys_at(k, t.tile.span, t.key_head, block * columns), t, block, e.dim);
    }
    __device__ void fetch_values(element* to, task const& t, int block) const {
        fetch(to, e.values_at(v, t.tile.span, t.key_head, block * columns), t, block, e.width);
    }
    __device__ void fetch(element* to, row_source<element> const& from, task const& t, int block,
                          int width) const {
        fetch_panel<Plan, columns>(to, Plan::stride,
                                   static_cast<int>(t.tile.span.keys) - block * columns, 0, width,
                                   aligned, from);
    }
    __device__ void fetch_queries(tile_rows<Plan>& queries, element* to, task const& t) const {
        auto const& tile = t.tile;
        queries.fetch(to, e.queries_at(q, tile.span, t.key_head, tile.first, tile.rows), tile.rows,
                      e.dim, aligned);
    }

    // What is not worked on is on its way.
    __device__ void walk(task const& t) const {
        element* const kept = dynamic_memory<element>();
        ring arriving(kept + tile_rows<Plan>::size);
        int next = t.begin;
        bool values_are_next = false;
        auto const start_next = [&] {
            if (next < t.end) {
                element* const to = arriving.next();
                bool const with_values = Pairs || values_are_next;
                if (Pairs || !values_are_next) fetch_keys(to, t, next);
                if (with_values) fetch_values(to + (Pairs ? panel : 0), t, next);
                if (with_values) next += t.by;
                values_are_next = !values_are_next;
            }
            arriving.started();
        };
        auto const turn = [&] {
            element const* const arrived = arriving.turn();
            start_next();
            return arrived;
        };

        tile_rows<Plan> queries;
        fetch_queries(queries, kept, t);
        for (int i = 1; i < Stages; ++i) start_next();
        state mine;
        this->start(mine, t);
        for (int b = t.begin; b < t.end; b += t.by) {
            bool const seen = b * columns < mine.most;
            weights_of_warp weights;
            element const* const keys = turn();
            if (seen) {
                scores_of_warp scores = {};
                add_tensor_dots<Plan>(scores, queries, keys, e.dim);
                this->hide(mine, scores, b);
                weigh(mine, scores, weights, b);
            }
            element const* const values = Pairs ? keys + panel : turn();
            if (seen) add_values(mine, weights, values, b);
        }
        this->finish(mine, t);
    }

    // The same where warps share rows. Both keys and values are on their way from the start: most
    // such sequences are of a block or two.
    __device__ void walk_jointly(task const& t) const {
        element* const kept = dynamic_memory<element>();
        element *const keys = kept + tile_rows<Plan>::size, *const values = keys + panel;
        auto* const told = reinterpret_cast<float2*>(values + panel);
        auto const start_keys = [&](int block) {
            if (block < t.end) fetch_keys(keys, t, block);
            __pipeline_commit();
        };
        auto const start_values = [&](int block) {
            if (block < t.end) fetch_values(values, t, block);
            __pipeline_commit();
        };
        auto const arrive = [] {
            __pipeline_wait_prior(1);
            __syncthreads();
        };

        tile_rows<Plan> queries;
        fetch_queries(queries, kept, t);
        start_keys(t.begin);
        start_values(t.begin);
        state mine;
        this->start(mine, t);
        for (int b = t.begin; b < t.end; b += t.by) {
            weights_of_warp weights;
            arrive();
            scores_of_warp scores = {};
            add_tensor_dots<Plan>(scores, queries, keys + Plan::first_key() * Plan::stride, e.dim);
            this->hide(mine, scores, b);
            tell(told, scores);
            __syncthreads();
            start_keys(b + t.by);
            weigh_told(mine, told, weights, b, t.tile.rows);
            arrive();
            add_values(mine, weights, values, b);
            __syncthreads();
            start_values(b + t.by);
        }
        this->finish(mine, t);
    }

    /// Scores become weights, e^(score · scale - top of the block); the row's softmax takes them
    /// in.
    __device__ void weigh(state& mine, scores_of_rows& scores, weights_of_warp& weights,
                          int block) const {
        this->each_row([&](int m, int half) { raise_row(mine, scores[m], m, half, block); });
#pragma unroll
        for (int s = 0; s < columns / 16; ++s)
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                weights[s][m] = as_left<Plan>(scores[m][2 * s], scores[m][2 * s + 1]);
    }
    template <int Tiles>
    __device__ void raise_row(state& mine, mma_sum (&scores)[Tiles], int m, int half,
                              int block) const {
        float const top = this->top_of(scores, half);
        float const sum = this->raise(scores, half, top);
        this->fold(mine, m, half, block, multiply_rounded(top, this->scale), sum);
    }

    /// The warp's scores, to all that have the same rows.
    __device__ static void tell(float2* told, scores_of_warp const& scores) {
        float2* const mine = told + Plan::part() * own_tiles * 32 + threadIdx.x % 32;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int j = 0; j < own_tiles; ++j)
                mine[(half * tiles + j) * 32] = {scores[0][j][2 * half],
                                                 scores[0][j][2 * half + 1]};
    }
    /// The same as `weigh`, of eight rows at a time, which takes fewer registers; none where the
    /// tile ends before the lower ones.
    __device__ void weigh_told(state& mine, float2 const* told, weights_of_warp& weights, int block,
                               int rows) const {
#pragma unroll
        for (auto& x : weights) x[0] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (8 * half >= rows) break;
            mma_sum scores[tiles];
#pragma unroll
            for (int j = 0; j < tiles; ++j) {
                float2 const x = told[(half * tiles + j) * 32 + threadIdx.x % 32];
                scores[j][2 * half] = x.x;
                scores[j][2 * half + 1] = x.y;
            }
            raise_row(mine, scores, 0, half, block);
#pragma unroll
            for (int s = 0; s < columns / 16; ++s)
                step::put(weights[s][0], half,
                          {{scores[2 * s][2 * half], scores[2 * s][2 * half + 1],
                            scores[2 * s + 1][2 * half], scores[2 * s + 1][2 * half + 1]}});
        }
    }
    __device__ void add_values(state& mine, weights_of_warp const& weights, element const* values,
                               int block) const {
#pragma unroll
        for (int i = 0; i < Plan::pieces; ++i) {
            int const piece = Plan::piece(i);
            if (16 * piece >= e.width) break;
            mma_sum came[Plan::share][2] = {};
#pragma unroll
            for (int s = 0; s < columns / 16; ++s)
                add_tensor_weighted<Plan>(came, weights[s], values, s, piece, Plan::stride);
            this->fold(mine, came, i, block);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
