// SPDX-License-Identifier: Apache-2.0
/// @file
/// Causal attention without a [tokens × keys] matrix: one kernel to act and to learn.
///
/// A row walks its keys in blocks of 64 from its sequence's first one: the block's own softmax and
/// its weighted values, then one fold into what came before (Dao et al. 2022). Each of these has
/// one order of addition, whatever the plan: a row has the same bits alone in decoding, in a packed
/// pass, and where few rows have their key blocks shared out among thread blocks and folded by a
/// second kernel.
#pragma once

#include <limits>

#include "grove/backend/cuda/attention_layout.hpp"
#include "grove/backend/cuda/panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Softmax over the blocks so far: the largest score and Σ e^(score − top).
template <class T>
struct running_softmax {
    T top = -std::numeric_limits<T>::infinity();
    T sum = T(0);
    T keep = T(0), add = T(0);  ///< factors of what was and of what came in the last fold

    __device__ void fold(T block_top, T block_sum) {
        T const next = math::max(top, block_top);
        keep = math::exp(add_rounded(top, -next));
        add = math::exp(add_rounded(block_top, -next));
        sum = weigh(sum, block_sum);
        top = next;
    }
    __device__ T weigh(T was, T came) const {
        return math::fma(was, keep, multiply_rounded(came, add));
    }
};

/// What a fold needs of each (token, key block, head), where folding is left to `attention_fold`:
/// `slots` of (token, key block), in the order of the sequences. Those of sequences that share keys
/// may be more than the host has counted: what has no slot is folded at once.
template <class T>
struct attention_partials {
    index_t slots = 0;
    T *tops, *sums, *values;  ///< [slots, heads], the last times width

    /// The first slot of a sequence's token i; −1 where it has none. By all lanes of a warp.
    __device__ index_t first_slot(attention_extents const& e, key_span const& s, index_t i) const {
        if (slots == 0) return -1;
        auto const blocks = [&](index_t t) {
            return (e.keys(t) + tile_columns - 1) / tile_columns;
        };
        index_t before = 0;
        for (index_t t = threadIdx.x % 32; t < s.sequence; t += 32)
            before += e.queries(t) * blocks(t);
        index_t const first = warp_sum(before) + i * blocks(s.sequence);
        return first + blocks(s.sequence) <= slots ? first : -1;
    }
};

/// A block for each tile of rows of each key head, times `splits` where key blocks are shared out.
template <class Plan, int Panels>
struct attention_forward {
    using T = typename Plan::value_type;
    static constexpr int threads = Plan::threads, rows = Plan::rows, columns = Plan::columns;
    attention_extents e;
    attention_tiling tiling;
    T const *q, *k, *v;
    T scale;
    bool aligned;
    index_t splits;
    attention_partials<T> partials;
    T *out, *log_normalizer;

    static bool fits(attention_extents const& e) { return sums::fits(e.width); }
    static std::size_t shared_bytes(attention_extents const& e) {
        int const tile = Plan::rows * (Plan::wide_stride(e.dim) + Plan::weight_stride);
        return static_cast<std::size_t>(tile + sums::size(e.width) + panel_ring<Plan>::size) *
               sizeof(T);
    }
    index_t blocks() const { return tiling.tiles * e.key_heads * splits; }

    __device__ void operator()(index_t block) const {
        if (block == 0) e.check();
        index_t const key_head = block / splits / tiling.tiles;
        auto const tile = tiling.find(e, block / splits % tiling.tiles);
        if (tile.rows == 0) return;
        index_t const slot = partials.first_slot(e, tile.span, tile.first / e.group);
        int const split = static_cast<int>(block % splits);
        if (slot >= 0 || split == 0)
            walk(tile, key_head, slot, split, slot >= 0 ? static_cast<int>(splits) : 1);
    }

private:
    using sums = tile_sums<Plan, Panels>;

    /// A thread's rows.
    struct state {
        running_softmax<T> softmax[Plan::share];
        int visible[Plan::share];  ///< keys; 0 where there is no such row
        index_t slot;  ///< of the first block's partial result; −1: no partial results
    };

    /// Key blocks begin, begin + step, …
    __device__ void walk(attention_tile const& tile, index_t key_head, index_t slot, int begin,
                         int step) const {
        auto const& span = tile.span;
        int const dim_panels = Plan::panels(e.dim), panels = dim_panels + Plan::panels(e.width);
        int const query_stride = Plan::wide_stride(e.dim);
        T* const queries = dynamic_memory<T>();
        T* const weights = queries + Plan::rows * query_stride;
        panel_ring<Plan> ring(weights + Plan::rows * Plan::weight_stride);

        int const last = static_cast<int>(span.visible((tile.first + tile.rows - 1) / e.group));
        int const end = (last + columns - 1) / columns;
        int next_block = begin, next_panel = 0;
        auto const start_next = [&] {
            if (next_block >= end) return;
            bool const of_keys = next_panel < dim_panels;
            int const first = next_block * columns;
            fetch_panel<Plan, columns>(
                ring.next(), Plan::stride, static_cast<int>(span.keys) - first,
                Plan::depth * (of_keys ? next_panel : next_panel - dim_panels),
                of_keys ? e.dim : e.width, aligned,
                of_keys ? e.keys_at(k, span, key_head, first)
                        : e.values_at(v, span, key_head, first));
            ring.started();
            if (++next_panel == panels) {
                next_panel = 0;
                next_block += step;
            }
        };

        auto const source = e.queries_at(q, span, key_head, tile.first, tile.rows);
        for (int first = 0; first < e.dim; first += Plan::depth)
            fetch_panel<Plan, Plan::rows>(queries + first, query_stride, tile.rows, first, e.dim,
                                          aligned, source);
        start_next();
        state mine = start(tile, slot);
        sums result(weights + Plan::rows * Plan::weight_stride + panel_ring<Plan>::size, e.width);
        for (int b = begin; b < end; b += step) {
            T scores[Plan::share][Plan::own] = {};
            for (int p = 0; p < dim_panels; ++p) {
                T const* const keys = ring.turn();
                start_next();
                add_dots<Plan>(scores, queries + p * Plan::depth, query_stride, keys,
                               math::min(Plan::depth, e.dim - p * Plan::depth));
            }
            weigh(mine, scores, b, tile, key_head);
            store_weights<Plan>(scores, weights);
            result.visit([&](typename sums::part& was, int first) {
                T const* const values = ring.turn();
                start_next();
                typename sums::part came = {};
                add_weighted<Plan>(came, weights, values);
                fold(mine, was, came, first, b, tile, key_head);
            });
        }
        if (slot < 0) finish(mine, result, tile, key_head);
    }

    __device__ state start(attention_tile const& tile, index_t slot) const {
        state mine;
        mine.slot = slot;
        for (int i = 0; i < Plan::share; ++i) {
            int const r = Plan::row(i);
            mine.visible[i] =
                r < tile.rows ? static_cast<int>(tile.span.visible((tile.first + r) / e.group)) : 0;
        }
        return mine;
    }
    /// Scores become e^(score · scale − top of the block); the row's softmax takes them in.
    __device__ void weigh(state& mine, T (&scores)[Plan::share][Plan::own], int block,
                          attention_tile const& tile, index_t key_head) const {
        int const key = block * columns + Plan::lane();
#pragma unroll
        for (int i = 0; i < Plan::share; ++i) {
            T top = -std::numeric_limits<T>::infinity();
#pragma unroll
            for (int j = 0; j < Plan::own; ++j)
                if (key + j * Plan::lanes < mine.visible[i]) top = math::max(top, scores[i][j]);
            top = multiply_rounded(row_max<Plan>(top), scale);
            T addend[Plan::own];
#pragma unroll
            for (int j = 0; j < Plan::own; ++j)
                addend[j] = scores[i][j] = key + j * Plan::lanes < mine.visible[i]
                                               ? math::exp(math::fma(scores[i][j], scale, -top))
                                               : T(0);
            T const sum = row_sum<Plan>(addend);
            if (block * columns >= mine.visible[i]) continue;
            if (mine.slot < 0) {
                mine.softmax[i].fold(top, sum);
            } else if (Plan::lane() == 0) {
                index_t const at = partial(mine, tile, key_head, i, block);
                partials.tops[at] = top;
                partials.sums[at] = sum;
            }
        }
    }
    /// The block's weighted values, from column `first` on, to those of the blocks before.
    __device__ void fold(state const& mine, typename sums::part& was,
                         typename sums::part const& came, int first, int block,
                         attention_tile const& tile, index_t key_head) const {
#pragma unroll
        for (int i = 0; i < Plan::share; ++i) {
            if (block * columns >= mine.visible[i]) continue;
#pragma unroll
            for (int p = 0; p < Plan::pieces; ++p) {
                if (mine.slot >= 0)
                    store_packet(
                        came[i][p],
                        partials.values + partial(mine, tile, key_head, i, block) * e.width,
                        first + Plan::column(p), e.width, false);
                else
#pragma unroll
                    for (int x = 0; x < Plan::vector; ++x)
                        was[i][p].at[x] = mine.softmax[i].weigh(was[i][p].at[x], came[i][p].at[x]);
            }
        }
    }
    __device__ index_t partial(state const& mine, attention_tile const& tile, index_t key_head,
                               int i, int block) const {
        return (mine.slot + block) * e.heads + e.head(key_head, tile.first + Plan::row(i));
    }
    __device__ void finish(state const& mine, sums& result, attention_tile const& tile,
                           index_t key_head) const {
        result.visit([&](typename sums::part& y, int first) {
#pragma unroll
            for (int i = 0; i < Plan::share; ++i) {
                if (Plan::row(i) >= tile.rows) continue;
                T const inverse = T(1) / mine.softmax[i].sum;
                T* const target = out + e.output(tile.span, key_head, tile.first + Plan::row(i));
#pragma unroll
                for (int p = 0; p < Plan::pieces; ++p) {
                    for (T& x : y[i][p].at) x = multiply_rounded(x, inverse);
                    write_packet(y[i][p], target, first + Plan::column(p), e.width);
                }
            }
        });
        for (int i = 0; i < Plan::share; ++i)
            if (Plan::row(i) < tile.rows && Plan::lane() == 0)
                log_normalizer[e.normalizer(tile.span, key_head, tile.first + Plan::row(i))] =
                    mine.softmax[i].top + math::log(mine.softmax[i].sum);
    }
};

/// Folds the key blocks of one (token, head) in their order; writes Out.
template <class Out>
struct attention_fold {
    using T = sum_type<Out>;
    static constexpr int threads = 128;
    attention_extents e;
    attention_partials<T> partials;
    Out* out;
    T* log_normalizer;

    __device__ void operator()(index_t row) const {
        index_t const token = row / e.heads;
        auto const span = e.owner(token);
        index_t const slot = partials.first_slot(e, span, token - span.first_query);
        if (slot < 0) return;
        int const visible = static_cast<int>(span.visible(token - span.first_query));
        for (int d = static_cast<int>(threadIdx.x); d < e.width; d += threads) {
            running_softmax<T> softmax;
            T result = T(0);
            for (int b = 0; b * tile_columns < visible; ++b) {
                index_t const at = (slot + b) * e.heads + row % e.heads;
                softmax.fold(partials.tops[at], partials.sums[at]);
                result = softmax.weigh(result, partials.values[at * e.width + d]);
            }
            out[row * e.width + d] = rounded_to<Out>(multiply_rounded(result, T(1) / softmax.sum));
            if (d == 0) log_normalizer[row] = softmax.top + math::log(softmax.sum);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
