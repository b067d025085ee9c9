// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention of wide heads, such as latent ones, with its products on tensor cores: the
/// walk, the blocks of keys and the folds of attention.hpp. Every plan has the same arithmetic, so
/// that a row has the same bits in all of them.
#pragma once

#include "grove/backend/cuda/tensor_forward.hpp"
#include "grove/backend/cuda/tensor_wide.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of rows of each key head; where `Shares`, times `splits` that share out
/// its key blocks.
template <class Plan, bool Shares>
struct wide_attention_forward : tensor_forward<Plan, Shares> {
    using base = tensor_forward<Plan, Shares>;
    using element = typename base::element;
    using base::columns, base::rows, base::e, base::q, base::k, base::v, base::aligned;

    static bool fits(attention_extents const& e) { return e.width <= Plan::width; }
    static std::size_t shared_bytes(attention_extents const& e) {
        std::size_t const lefts = rows / 16 * (Plan::steps(e.dim) + columns / 16);
        return wide_block<Plan>::bytes(e) + lefts * stored_left<Plan>::bytes +
               2 * rows * sizeof(float4);
    }
    __device__ void operator()(index_t block) const {
        this->find(block, [&](task const& t) { this->walk(t); });
    }

private:
    using typename base::state;
    using typename base::task;
    using step = typename Plan::step;
    using scores_of_warp = mma_sum[Plan::share][2];
    using weights_of_warp = typename step::left[columns / 16][Plan::share];

    /// What the four warps of some rows tell each other.
    struct exchange {
        stored_left<Plan> weights;
        float *tops, *sums;  ///< [rows, 4]: of each warp's keys
    };

    __device__ void walk(task const& t) const {
        auto const& span = t.tile.span;
        int const steps = Plan::steps(e.dim);
        element* const memory = dynamic_memory<element>();
        wide_block<Plan> keys(memory, e, span, k + e.key(span, t.key_head, 0),
                              v + e.value(span, t.key_head, 0), aligned, t.begin, t.by, t.end);
        stored_left<Plan> const queries{reinterpret_cast<uint4*>(memory + columns * keys.stride())};
        stored_left<Plan> const weights{queries.memory +
                                        rows / 16 * steps * stored_left<Plan>::parts * 32};
        auto* const tops = reinterpret_cast<float*>(
            weights.memory + rows / 16 * (columns / 16) * stored_left<Plan>::parts * 32);
        exchange const told{weights, tops, tops + rows * Plan::across};

        queries.fill(e.queries_at(q, span, t.key_head, t.tile.first, t.tile.rows), t.tile.rows,
                     e.dim, aligned);
        state mine;
        this->start(mine, t);
        bool const idle = Plan::first_row() >= t.tile.rows;
        for (int b = t.begin; b < t.end; b += t.by) {
            scores_of_warp scores = {};
            for (int slot = 0; slot < keys.key_slots(); ++slot) {
                keys.arrive_keys(slot);
                if (!idle) add_dots_of(scores, queries, keys, slot, steps);
            }
            weigh(mine, scores, told, keys, b);
            weights_of_warp left;
            if (Plan::holds) read(left, weights);
#pragma unroll
            for (int i = 0; i < Plan::pieces; ++i) {
                if (i * Plan::depth >= e.width) break;
                keys.arrive_values(i);
                if (!idle && 16 * Plan::piece(i) < e.width) {
                    mma_sum came[Plan::share][2] = {};
                    if (!Plan::holds) read(left, weights);
#pragma unroll
                    for (int s = 0; s < columns / 16; ++s)
                        add_tensor_weighted<Plan>(came, left[s], keys.values(), s, Plan::piece(i),
                                                  keys.stride());
                    this->fold(mine, came, i, b);
                }
                __syncthreads();
                keys.leave_values(i);
            }
            keys.next();
        }
        this->finish(mine, t);
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
        element const* const of_warp =
            keys.keys() + Plan::first_key() * keys.stride() + slot * Plan::depth;
        int const first = slot * most;
#pragma unroll
        for (int s = 0; s < most; ++s) {
            if (first + s >= steps) break;
            typename step::left x[Plan::share];
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                x[m] = queries.get((Plan::first_tile() + m) * steps + first + s);
            typename step::right y[2];
            step::load_along(y, of_warp, keys.stride(), s);
#pragma unroll
            for (int j = 0; j < 2; ++j)
#pragma unroll
                for (int m = 0; m < Plan::share; ++m) step::add(sum[m][j], x[m], y[j]);
        }
    }

    /// Scores become e^(score · scale - top of the block), which all four warps get to see; the
    /// row's softmax takes them in.
    __device__ void weigh(state& mine, scores_of_warp& scores, exchange const& told,
                          wide_block<Plan>& keys, int block) const {
        this->hide(mine, scores, block);
        this->each_row([&](int m, int half) {
            float const top = this->top_of(scores[m], half);
            if (Plan::lane() == 0) told.tops[of_warp(m, half)] = top;
        });
        __syncthreads();
        keys.leave_keys();
        float tops[Plan::share][2];
        this->each_row([&](int m, int half) {
            float4 const all = of_row(told.tops, m, half);
            float const top = fmaxf(fmaxf(all.x, all.y), fmaxf(all.z, all.w));
            float const sum = this->raise(scores[m], half, top);
            if (Plan::lane() == 0) told.sums[of_warp(m, half)] = sum;
            tops[m][half] = multiply_rounded(top, this->scale);
        });
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
            told.weights.put((Plan::first_tile() + m) * (columns / 16) + Plan::part(),
                             as_left<Plan>(scores[m][0], scores[m][1]));
        __syncthreads();
        this->each_row([&](int m, int half) {
            float4 const all = of_row(told.sums, m, half);
            float const sum = add_rounded(add_rounded(all.x, all.y), add_rounded(all.z, all.w));
            this->fold(mine, m, half, block, tops[m][half], sum);
        });
    }
    __device__ static int of_warp(int m, int half) {
        return Plan::row(m, half) * Plan::across + Plan::part();
    }
    __device__ static float4 of_row(float const* told, int m, int half) {
        return *reinterpret_cast<float4 const*>(told + Plan::row(m, half) * Plan::across);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
