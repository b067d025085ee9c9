// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention of wide heads, such as latent ones, with its products on tensor cores: the
/// walk, the blocks of keys and the folds of attention.hpp. Every plan has the same arithmetic, so
/// that a row has the same bits in all of them.
#pragma once

#include "grove/backend/cuda/attention.hpp"
#include "grove/backend/cuda/tensor_wide.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks.
template <class Plan, bool Shares>
struct wide_attention_forward {
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

    static bool fits(attention_extents const& e) { return e.width <= Plan::width; }
    static std::size_t shared_bytes(attention_extents const& e) {
        std::size_t const lefts = rows / 16 * (Plan::steps(e.dim) + columns / 16);
        return wide_block<Plan>::bytes(e) + lefts * stored_left<Plan>::bytes +
               2 * rows * sizeof(float4);
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
    using scores_of_warp = mma_sum[Plan::share][2];
    using weights_of_warp = typename step::left[columns / 16][Plan::share];

    /// What the four warps of some rows tell each other.
    struct exchange {
        stored_left<Plan> weights;
        float *tops, *sums;  ///< [rows, 4]: of each warp's keys
    };
    /// A thread's rows.
    struct state {
        running_softmax<float> softmax[Plan::share][2];
        packet<float> result[Plan::stages][Plan::share][2] = {};
        int visible[Plan::share][2];  ///< keys; 0 where there is no such row
        int head[Plan::share][2];     ///< where there are partial results
        int least;                    ///< keys that all of the warp's rows see
        int slot;  ///< of the first block's partial result; -1: no partial results
    };

    /// Key blocks begin, begin + by, ...
    __device__ void walk(attention_tile const& tile, index_t key_head, index_t slot, int begin,
                         int by) const {
        auto const& span = tile.span;
        int const steps = Plan::steps(e.dim);
        int const end = (visible(tile, tile.rows - 1) + columns - 1) / columns;
        float* const memory = dynamic_memory<float>();
        wide_block<Plan> keys(memory, e, span, k + e.key(span, key_head, 0),
                              v + e.value(span, key_head, 0), aligned, begin, by, end);
        stored_left<Plan> const queries{reinterpret_cast<uint4*>(memory + columns * keys.stride())};
        stored_left<Plan> const weights{queries.memory +
                                        rows / 16 * steps * stored_left<Plan>::parts * 32};
        auto* const tops = reinterpret_cast<float*>(
            weights.memory + rows / 16 * (columns / 16) * stored_left<Plan>::parts * 32);
        exchange const told{weights, tops, tops + rows * Plan::across};

        queries.fill(e.queries_at(q, span, key_head, tile.first, tile.rows), tile.rows, e.dim,
                     aligned);
        state mine;
        start(mine, tile, key_head, slot);
        bool const idle = Plan::first_row() >= tile.rows;
        for (int b = begin; b < end; b += by) {
            scores_of_warp scores = {};
            for (int slot_of_dim = 0; slot_of_dim < keys.key_slots(); ++slot_of_dim) {
                keys.arrive_keys(slot_of_dim);
                if (!idle) add_dots_of(scores, queries, keys, slot_of_dim, steps);
            }
            weigh(mine, scores, told, keys, b);
            weights_of_warp left;
            if (Plan::holds) read(left, weights);
#pragma unroll
            for (int stage = 0; stage < Plan::stages; ++stage) {
                if (stage * Plan::depth >= e.width) break;
                int const piece = stage * Plan::across + Plan::part();
                keys.arrive_values(stage);
                if (!idle && 16 * piece < e.width) {
                    mma_sum came[Plan::share][2] = {};
                    if (!Plan::holds) read(left, weights);
#pragma unroll
                    for (int s = 0; s < columns / 16; ++s)
                        add_tensor_weighted<Plan>(came, left[s], keys.values(), s, piece,
                                                  keys.stride());
                    fold(mine, came, stage, piece, b);
                }
                __syncthreads();
                keys.leave_values(stage);
            }
            keys.next();
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
    }

    __device__ static void read(weights_of_warp& to, stored_left<Plan> const& from) {
#pragma unroll
        for (int s = 0; s < columns / 16; ++s)
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                to[s][m] = from.get((Plan::first_tile() + m) * (columns / 16) + s);
    }

    /// sum += queries · keysᵀ for the warp's 16 keys, over the columns of one slot.
    __device__ static void add_dots_of(scores_of_warp& sum, stored_left<Plan> const& queries,
                                       wide_block<Plan> const& keys, int slot, int steps) {
        constexpr int most = Plan::depth / 16;
        float const* const of_line =
            keys.keys() + (16 * Plan::part() + Plan::line()) * keys.stride() + slot * Plan::depth;
        int const first = slot * most;
#pragma unroll
        for (int s = 0; s < most; ++s) {
            if (first + s >= steps) break;
            typename step::left x[Plan::share];
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                x[m] = queries.get((Plan::first_tile() + m) * steps + first + s);
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                auto const read = *reinterpret_cast<packet<float> const*>(
                    of_line + 8 * j * keys.stride() + Plan::inner(s));
                auto const y = step::right_of(read.at[0], read.at[1], read.at[2], read.at[3]);
#pragma unroll
                for (int m = 0; m < Plan::share; ++m) step::add(sum[m][j], x[m], y);
            }
        }
    }

    /// Scores become e^(score · scale - top of the block), which all four warps get to see; the
    /// row's softmax takes them in.
    __device__ void weigh(state& mine, scores_of_warp& scores, exchange const& told,
                          wide_block<Plan>& keys, int block) const {
        constexpr float hidden = -std::numeric_limits<float>::infinity();
        if (mine.least < (block + 1) * columns) {
            int const key = block * columns + 16 * Plan::part() + 2 * Plan::lane();
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
#pragma unroll
                for (int j = 0; j < 2; ++j)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        if (key + 8 * j + i % 2 >= mine.visible[m][i / 2]) scores[m][j][i] = hidden;
        }
        each_row([&](int m, int half) {
            float top = hidden;
#pragma unroll
            for (int j = 0; j < 2; ++j)
                top = fmaxf(top, fmaxf(scores[m][j][2 * half], scores[m][j][2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0U, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0U, top, 2));
            if (Plan::lane() == 0) told.tops[of_warp(m, half)] = top;
        });
        __syncthreads();
        keys.leave_keys();
        float const factor = multiply_rounded(scale, binary_logarithm);
        float tops[Plan::share][2];
        each_row([&](int m, int half) {
            float4 const all = of_row(told.tops, m, half);
            float const top = fmaxf(fmaxf(all.x, all.y), fmaxf(all.z, all.w));
            float const shift = top == hidden ? 0.0F : -multiply_rounded(top, factor);
            float sum = 0.0F;
#pragma unroll
            for (int j = 0; j < 2; ++j)
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    float& x = scores[m][j][i];
                    x = binary_exponential(math::fma(x, factor, shift));
                    sum = add_rounded(sum, x);
                }
            sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 1));
            sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 2));
            if (Plan::lane() == 0) told.sums[of_warp(m, half)] = sum;
            tops[m][half] = multiply_rounded(top, scale);
        });
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
            told.weights.put((Plan::first_tile() + m) * (columns / 16) + Plan::part(),
                             as_left<Plan>(scores[m][0], scores[m][1]));
        __syncthreads();
        each_row([&](int m, int half) {
            if (block * columns >= mine.visible[m][half]) return;
            float4 const all = of_row(told.sums, m, half);
            float const sum = add_rounded(add_rounded(all.x, all.y), add_rounded(all.z, all.w));
            if (!Shares || mine.slot < 0) {
                mine.softmax[m][half].fold(tops[m][half], sum);
            } else if (Plan::lane() == 0 && Plan::part() == 0) {
                index_t const at = partial(mine, m, half, block);
                partials.tops[at] = tops[m][half];
                partials.sums[at] = sum;
            }
        });
    }
    template <class Body>
    __device__ static void each_row(Body&& body) {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) body(m, half);
    }
    __device__ static int of_warp(int m, int half) {
        return Plan::row(m, half) * Plan::across + Plan::part();
    }
    __device__ static float4 of_row(float const* told, int m, int half) {
        return *reinterpret_cast<float4 const*>(told + Plan::row(m, half) * Plan::across);
    }

    /// The block's weighted values, of one piece, to those of the blocks before.
    __device__ void fold(state& mine, mma_sum const (&came)[Plan::share][2], int stage, int piece,
                         int block) const {
        each_row([&](int m, int half) {
            if (block * columns >= mine.visible[m][half]) return;
            auto const next = side_by_side(came[m][0], came[m][1], half);
            if (Shares && mine.slot >= 0)
                write_packet(next, partials.values + partial(mine, m, half, block) * e.width,
                             Plan::outer(piece), e.width);
            else
#pragma unroll
                for (int x = 0; x < Plan::vector; ++x) {
                    float& was = mine.result[stage][m][half].at[x];
                    was = mine.softmax[m][half].weigh(was, next.at[x]);
                }
        });
    }
    __device__ index_t partial(state const& mine, int m, int half, int block) const {
        return index_t{mine.slot + block} * e.heads + mine.head[m][half];
    }
    __device__ void finish(state& mine, attention_tile const& tile, index_t key_head) const {
        each_row([&](int m, int half) {
            if (Plan::row(m, half) >= tile.rows) return;
            index_t const r = tile.first + Plan::row(m, half);
            auto const& softmax = mine.softmax[m][half];
            float const inverse = 1.0F / softmax.sum;
            float* const target = out + e.output(tile.span, key_head, r);
#pragma unroll
            for (int stage = 0; stage < Plan::stages; ++stage) {
                int const first = Plan::outer(stage * Plan::across + Plan::part());
                if (first >= e.width) break;
                auto& y = mine.result[stage][m][half];
                for (float& x : y.at) x = multiply_rounded(x, inverse);
                write_packet(y, target, first, e.width);
            }
            if (Plan::lane() == 0 && Plan::part() == 0)
                log_normalizer[e.normalizer(tile.span, key_head, r)] =
                    softmax.top + math::log(softmax.sum);
        });
    }
};

}  // namespace grove::inline GROVE_ISA::detail
