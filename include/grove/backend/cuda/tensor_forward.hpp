// SPDX-License-Identifier: Apache-2.0
/// @file
/// What causal attention has on tensor cores whatever the heads: which keys a block walks, a
/// thread's share of its rows, and the folds of attention.hpp. What a row's bits depend on is the
/// same there and here.
#pragma once

#include "grove/backend/cuda/attention.hpp"
#include "grove/backend/cuda/tensor_panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks.
template <class Plan, bool Shares>
struct tensor_forward {
    using element = typename Plan::element;
    static constexpr int threads = Plan::threads, rows = Plan::rows, columns = Plan::columns;
    attention_extents e;
    attention_tiling tiling;
    element const *q, *k, *v;
    float scale;
    bool aligned;
    index_t splits;
    attention_partials<float> partials;
    element* out;
    float* log_normalizer;

    /// One more than there is work for: to check, while the others go ahead.
    index_t blocks() const {
        index_t const working = tiling.tiles * e.key_heads * splits;
        return working == 0 ? 0 : working + 1;
    }

protected:
    /// Key blocks begin, begin + by, ... before `end`, for a tile of rows.
    struct task {
        attention_tile tile;
        index_t key_head;
        int slot;  ///< of the first block's partial result; -1: no partial results
        int begin, by, end;
    };
    /// A thread's rows.
    struct state {
        running_softmax<float> softmax[Plan::share][2];
        packet<float> result[Plan::share][2][Plan::pieces] = {};
        int visible[Plan::share][2];  ///< keys; 0 where there is no such row
        int head[Plan::share][2];     ///< where there are partial results
        int least, most;              ///< keys that all, or any, of the warp's rows see
        int slot;
    };

    /// walk(task), where there is one for this block.
    template <class Walk>
    __device__ void find(index_t block, Walk const& walk) const {
        if (block == 0) return e.check();
        auto const at = static_cast<unsigned>(block - 1), parts = static_cast<unsigned>(splits),
                   heads = static_cast<unsigned>(e.key_heads), of_tile = at / parts;
        index_t const key_head = of_tile % heads;
        // Late tiles have the most keys: they come first. Heads whose rows lie side by side come
        // together.
        auto const tile = tiling.find(e, tiling.tiles - 1 - of_tile / heads);
        if (tile.rows == 0) return;
        index_t const slot =
            Shares ? partials.first_slot(e, tile.span, e.member_token(tile.first)) : index_t{-1};
        int const split = static_cast<int>(at % parts);
        int const end = (visible(tile, tile.rows - 1) + columns - 1) / columns;
        if (slot >= 0 || split == 0)
            walk(task{tile, key_head, static_cast<int>(slot), split,
                      slot >= 0 ? static_cast<int>(splits) : 1, end});
    }
    __device__ int visible(attention_tile const& tile, int row) const {
        return static_cast<int>(tile.span.visible(e.member_token(tile.first + row)));
    }
    __device__ void start(state& mine, task const& t) const {
        auto const& tile = t.tile;
        mine.slot = t.slot;
        each_row([&](int m, int half) {
            int const r = Plan::row(m, half);
            mine.visible[m][half] = r < tile.rows ? visible(tile, r) : 0;
            mine.head[m][half] = Shares ? static_cast<int>(e.head(t.key_head, tile.first + r)) : 0;
        });
        int const first = Plan::first_row(), last = first + Plan::rows_of_warp - 1;
        mine.least = last < tile.rows ? visible(tile, first) : 0;
        mine.most = first >= tile.rows ? 0 : visible(tile, min(last, tile.rows - 1));
    }
    template <class Body>
    __device__ static void each_row(Body&& body) {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) body(m, half);
    }

    static constexpr float hidden = -std::numeric_limits<float>::infinity();
    /// Scores of keys that a row does not see.
    template <int Tiles>
    __device__ static void hide(state const& mine, mma_sum (&scores)[Plan::share][Tiles],
                                int block) {
        if (mine.least >= (block + 1) * columns) return;
        int const key = block * columns + Plan::first_key() + 2 * Plan::lane();
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int j = 0; j < Tiles; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (key + 8 * j + i % 2 >= mine.visible[m][i / 2]) scores[m][j][i] = hidden;
    }
    /// The largest score of a row among the warp's.
    template <int Tiles>
    __device__ static float top_of(mma_sum const (&scores)[Tiles], int half) {
        float top = hidden;
#pragma unroll
        for (int j = 0; j < Tiles; ++j)
            top = fmaxf(top, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(~0U, top, 1));
        return fmaxf(top, __shfl_xor_sync(~0U, top, 2));
    }
    /// Scores of a row become e^((score - top) · scale); their sum.
    template <int Tiles>
    __device__ float raise(mma_sum (&scores)[Tiles], int half, float top) const {
        float const factor = multiply_rounded(scale, binary_logarithm);
        float const shift = top == hidden ? 0.0F : -multiply_rounded(top, factor);
        float sum = 0.0F;
#pragma unroll
        for (int j = 0; j < Tiles; ++j)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
                float& x = scores[j][i];
                x = binary_exponential(math::fma(x, factor, shift));
                sum = add_rounded(sum, x);
            }
        sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 1));
        return add_rounded(sum, __shfl_xor_sync(~0U, sum, 2));
    }

    /// A block's softmax, to those of the blocks before.
    __device__ void fold(state& mine, int m, int half, int block, float top, float sum) const {
        if (block * columns >= mine.visible[m][half]) return;
        if (!Shares || mine.slot < 0) {
            mine.softmax[m][half].fold(top, sum);
        } else if (Plan::leads()) {
            index_t const at = partial(mine, m, half, block);
            partials.tops[at] = top;
            partials.sums[at] = sum;
        }
    }
    /// A block's weighted values, the i-th of a thread's pieces, to those of the blocks before.
    __device__ void fold(state& mine, mma_sum const (&came)[Plan::share][2], int i,
                         int block) const {
        each_row([&](int m, int half) {
            if (block * columns >= mine.visible[m][half]) return;
            auto const next = Plan::step::share(came[m][0], came[m][1], half);
            if (Shares && mine.slot >= 0)
                write_share<Plan>(next, partials.values + partial(mine, m, half, block) * e.width,
                                  Plan::piece(i), e.width);
            else
#pragma unroll
                for (int x = 0; x < packet<float>::size; ++x) {
                    float& was = mine.result[m][half][i].at[x];
                    was = mine.softmax[m][half].weigh(was, next.at[x]);
                }
        });
    }
    __device__ index_t partial(state const& mine, int m, int half, int block) const {
        return index_t{mine.slot + block} * e.heads + mine.head[m][half];
    }
    /// Writes what no other block has a part in.
    __device__ void finish(state& mine, task const& t) const {
        if (Shares && mine.slot >= 0) return;
        each_row([&](int m, int half) {
            if (Plan::row(m, half) >= t.tile.rows) return;
            index_t const r = t.tile.first + Plan::row(m, half);
            auto const& softmax = mine.softmax[m][half];
            float const inverse = 1.0F / softmax.sum;
            element* const target = out + e.output(t.tile.span, t.key_head, r);
#pragma unroll
            for (int i = 0; i < Plan::pieces; ++i) {
                if (16 * Plan::piece(i) >= e.width) break;
                auto& y = mine.result[m][half][i];
                for (float& x : y.at) x = multiply_rounded(x, inverse);
                write_share<Plan>(y, target, Plan::piece(i), e.width);
            }
            if (Plan::leads())
                log_normalizer[e.normalizer(t.tile.span, t.key_head, r)] =
                    softmax.top + math::log(softmax.sum);
        });
    }
};

}  // namespace grove::inline GROVE_ISA::detail
