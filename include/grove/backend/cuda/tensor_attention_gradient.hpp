// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gradients of attention with their products on tensor cores: the two kernels of
/// attention_gradient.hpp. Keys walk the query heads of their group, one after the other or each in
/// a block of its own. What a head gives is summed by itself and added to the heads before it, in
/// float, so that both have the same bits.
#pragma once

#include <algorithm>

#include "grove/backend/cuda/attention_gradient.hpp"
#include "grove/backend/cuda/head_sums.hpp"
#include "grove/backend/cuda/tensor_panel.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block for each tile of each key head: of rows of queries, or of keys where `OfKeys`. Scores
/// are tile · walkedᵀ; what is walked are the keys and values, or the queries and gradients. Where
/// `partials` are apart, a block for each query head of a tile of keys. Else heads add up in them,
/// which in float are dk and dv, and in bf16 are only needed for more than one head. `Stages` of
/// walked rows are in shared memory. The kernel by queries comes first: it writes `mean`.
template <class Plan, int Walked, bool OfKeys, int Stages = 2>
struct tensor_attention_backward {
    using step = typename Plan::step;
    using element = typename Plan::element;
    static constexpr int threads = Plan::threads, rows = Plan::rows;
    static_assert(Walked <= threads && Walked % 16 == 0);
    attention_extents e;
    attention_tiling tiling;
    attention_operands<element> x;
    float scale;
    bool aligned;
    head_partials partials = {};

    static bool fits(attention_extents const& e) {
        return e.dim <= Plan::depth && e.width <= Plan::depth;
    }
    static std::size_t shared_bytes(attention_extents const&) { return bytes; }
    index_t blocks() const { return tiling.tiles * e.key_heads * members(); }

    __device__ void operator()(index_t block) const {
        if (!OfKeys && block == 0) e.check();
        auto const number = static_cast<unsigned>(block), parts = static_cast<unsigned>(members()),
                   heads = static_cast<unsigned>(e.key_heads), of_tile = number / parts;
        unsigned const at = of_tile / heads;
        // Tiles with much work come first, and heads whose rows lie side by side come together.
        auto const tile = tiling.find(e, OfKeys ? at : tiling.tiles - 1 - at);
        if (tile.rows > 0) walk(tile, of_tile % heads, static_cast<int>(number % parts));
    }

private:
    static constexpr int tiles = Walked / 8;
    using stage = tensor_stage<Plan, Walked>;
    using ring = panel_ring<stage, Stages>;
    using kept_rows = tile_rows<Plan>;
    using scores_of_warp = mma_sum[Plan::share][tiles];
    using sums = mma_sum[Plan::steps][Plan::share][2];
    static constexpr std::size_t bytes = (2 * kept_rows::size + ring::size) * sizeof(element);

public:
    /// For dq of up to 128 columns the compiler would take the registers of a third block.
    static constexpr int together =
        OfKeys || Plan::depth <= 64 ? 0 : std::min(3, blocks_with(bytes));

private:
    /// What a softmax's gradient is made of, for a row of queries.
    struct query_row {
        float shift, mean;
        int visible;  ///< keys; 0 where there is no such row
    };
    /// Where the walk is: a head of the group, and a block of rows.
    struct place {
        int head, block;
    };

    /// Blocks that share a tile.
    __host__ __device__ int members() const { return partials.are_apart() ? e.group : 1; }

    __device__ void walk(attention_tile const& tile, index_t key_head, int member) const {
        auto const& span = tile.span;
        element* const kept = dynamic_memory<element>();
        ring arriving(kept + 2 * kept_rows::size);

        int const all = OfKeys ? static_cast<int>(span.queries) : visible(tile, tile.rows - 1);
        index_t const hidden = tile.first - (span.keys - span.queries);
        int const begin = OfKeys && hidden > 0 ? static_cast<int>(hidden / Walked) : 0;
        int const end = (all + Walked - 1) / Walked;
        int const heads = !OfKeys ? 1 : members() > 1 ? member + 1 : e.group;
        place next{member, begin};
        auto const start_next = [&] {
            if (next.block < end) {
                fetch(arriving.next(), span, key_head, next);
                if (++next.block == end && ++next.head < heads) next.block = begin;
            }
            arriving.started();
        };

        kept_rows left, left_values;
        auto const keep = [&](kept_rows& y, element* memory, bool of_dim) {
            auto const source = [&] {
                if constexpr (OfKeys)
                    return of_dim ? e.keys_at(x.k, span, key_head, tile.first)
                                  : e.values_at(x.v, span, key_head, tile.first);
                else
                    return of_dim ? e.queries_at(x.q, span, key_head, tile.first, tile.rows)
                                  : e.outputs_at(x.g, span, key_head, tile.first, tile.rows);
            }();
            y.fetch(memory, source, tile.rows, of_dim ? e.dim : e.width, aligned);
        };
        auto const keep_both = [&] {
            keep(left, kept, true);
            keep(left_values, kept + kept_rows::size, false);
        };
        // Copies of the tile arrive with the first stage; loads into registers would be waited for.
        if (!Plan::holds) keep_both();
        for (int i = 1; i < Stages; ++i) start_next();
        if (Plan::holds) keep_both();
        query_row own[Plan::share][2] = {};
        if (!OfKeys) read_rows(own, tile, key_head);

        int const first = Plan::first_row(), last = first + Plan::rows_of_warp - 1;
        int const least = OfKeys || last >= tile.rows ? 0 : visible(tile, first);
        int const most = OfKeys || first >= tile.rows ? 0 : visible(tile, min(last, tile.rows - 1));
        for (int head = member; head < heads; ++head) {
            sums result = {}, value_result = {};
            for (int from = begin * Walked; from < end * Walked; from += Walked) {
                element const* const walked = arriving.turn();
                start_next();
                int const to = from + Walked;
                // Does any row of this warp see anything; do all see all?
                bool some = from < most, full = to <= least;
                if constexpr (OfKeys) {
                    index_t const key = tile.first + first;
                    some = first < tile.rows && key < span.visible(min(to, all) - 1);
                    full = to <= all && key + Plan::rows_of_warp <= span.visible(from);
                }
                if (!some) continue;
                scores_of_warp scores = {}, slopes = {};
                add_tensor_dots<Plan>(scores, left, walked, e.dim);
                add_tensor_dots<Plan>(slopes, left_values, walked + stage::panel, e.width);
                differentiate(scores, slopes, own, known_of(walked),
                              OfKeys ? static_cast<int>(tile.first) : from, full);
                if (OfKeys) collect(value_result, scores, walked + stage::panel, e.width);
                collect(result, slopes, walked, e.dim);
            }
            if (OfKeys)
                write_head(result, value_result, tile, key_head,
                           {head, head == member, head + 1 == heads});
            else
                write(
                    result, tile, x.dq, nullptr,
                    [&](index_t r) { return e.query(tile.span, key_head, r); }, e.dim);
        }
    }

    __device__ int visible(attention_tile const& tile, int row) const {
        return static_cast<int>(tile.span.visible(e.member_token(tile.first + row)));
    }
    /// Writes the rows' means as well, for the kernel behind.
    __device__ void read_rows(query_row (&own)[Plan::share][2], attention_tile const& tile,
                              index_t key_head) const {
        row_numbers g, out;
        if (aligned)
            read_numbers<true>(g, out, tile, key_head);
        else
            read_numbers<false>(g, out, tile, key_head);
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int const r = Plan::row(m, half), known = min(r, tile.rows - 1);
                index_t const at = e.normalizer(tile.span, key_head, tile.first + known);
                float const shift = -multiply_rounded(x.log_normalizer[at], binary_logarithm);
                float const mean = dot(g[m][half], out[m][half]);
                if (r >= tile.rows) continue;
                own[m][half] = {shift, mean, visible(tile, r)};
                if (Plan::lane() == 0) x.mean[at] = mean;
            }
    }
    /// Of each of the thread's rows, the numbers that are this one's of the four that share it.
    using numbers = packet<element>;
    static constexpr int packets = Plan::depth / (4 * numbers::size);
    using row_numbers = numbers[Plan::share][2][packets];
    /// The first number of the i-th packet.
    __device__ static int place_of(int i) { return (4 * i + Plan::lane()) * numbers::size; }
    /// All are on their way before one is waited for: where there is none, another is read.
    template <bool Aligned>
    __device__ void read_numbers(row_numbers& g, row_numbers& out, attention_tile const& tile,
                                 index_t key_head) const {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int const r = min(Plan::row(m, half), tile.rows - 1);
                index_t const at = e.output(tile.span, key_head, tile.first + r);
#pragma unroll
                for (int i = 0; i < packets; ++i) {
                    int const first = place_of(i) < e.width ? place_of(i) : 0;
                    g[m][half][i] = load_packet(x.g + at, first, e.width, Aligned);
                    out[m][half][i] = load_packet(x.out + at, first, e.width, Aligned);
                }
            }
    }
    __device__ float dot(numbers const (&a)[packets], numbers const (&b)[packets]) const {
        float sum = 0.0F;
#pragma unroll
        for (int i = 0; i < packets; ++i)
#pragma unroll
            for (int j = 0; j < numbers::size; ++j)
                if (place_of(i) < e.width)
                    sum = math::fma(static_cast<float>(a[i].at[j]), static_cast<float>(b[i].at[j]),
                                    sum);
        sum = add_rounded(sum, __shfl_xor_sync(~0U, sum, 1));
        return add_rounded(sum, __shfl_xor_sync(~0U, sum, 2));
    }

    /// What is known of rows of queries that are walked: [3, Walked].
    __device__ static float* known_of(element* arrived) {
        return reinterpret_cast<float*>(arrived + 2 * stage::panel);
    }
    __device__ static float const* known_of(element const* arrived) {
        return reinterpret_cast<float const*>(arrived + 2 * stage::panel);
    }
    /// Starts to copy what the walk meets at `at`.
    __device__ void fetch(element* to, key_span const& span, index_t key_head, place at) const {
        int const first = at.block * Walked;
        auto const panels = [&](row_source<element> const& of_dim,
                                row_source<element> const& of_width, index_t count) {
            int const rows_left = static_cast<int>(count) - first;
            fetch_panel<Plan, Walked>(to, Plan::stride, rows_left, 0, e.dim, aligned, of_dim);
            fetch_panel<Plan, Walked>(to + stage::panel, Plan::stride, rows_left, 0, e.width,
                                      aligned, of_width);
        };
        if constexpr (OfKeys) {
            index_t const token = span.first_query + first;
            index_t const head = key_head * e.group + at.head;
            panels({x.q + token * e.query_columns + head * e.dim, e.query_columns},
                   {x.g + token * e.output_columns + head * e.width, e.output_columns},
                   span.queries);
            int const i = static_cast<int>(threadIdx.x);
            if (i >= Walked) return;
            bool const exists = first + i < span.queries;
            float* const known = known_of(to) + i;
            index_t const number = (token + i) * e.heads + head;
            for (int what = 0; what < 2; ++what) {
                float const* const from = what == 0 ? x.log_normalizer : x.mean;
                if (exists)
                    __pipeline_memcpy_async(known + what * Walked, from + number, sizeof(float));
                else
                    known[what * Walked] = 0.0F;
            }
            known[2 * Walked] =
                __int_as_float(exists ? static_cast<int>(span.visible(first + i)) : 0);
        } else {
            panels(e.keys_at(x.k, span, key_head, first), e.values_at(x.v, span, key_head, first),
                   span.keys);
        }
    }

    /// Scores become probabilities p, and their gradients dp become p · (dp - mean) · scale. The
    /// first key is the tile's, or the first that is walked.
    __device__ void differentiate(scores_of_warp& scores, scores_of_warp& slopes,
                                  query_row const (&own)[Plan::share][2], float const* known,
                                  int first_key, bool full) const {
        float const factor = multiply_rounded(scale, binary_logarithm);
#pragma unroll
        for (int j = 0; j < tiles; ++j) {
            query_row of_column[2] = {};
            if constexpr (OfKeys) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    int const c = 8 * j + 2 * Plan::lane() + i;
                    of_column[i] = {-multiply_rounded(known[c], binary_logarithm),
                                    known[Walked + c], __float_as_int(known[2 * Walked + c])};
                }
            }
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    query_row const row = OfKeys ? of_column[i % 2] : own[m][i / 2];
                    int const key = first_key + (OfKeys ? Plan::row(m, i / 2)
                                                        : 8 * j + 2 * Plan::lane() + i % 2);
                    float& p = scores[m][j][i];
                    p = binary_exponential(math::fma(p, factor, row.shift));
                    if (!full && key >= row.visible) p = 0.0F;
                    slopes[m][j][i] = p * (slopes[m][j][i] - row.mean) * scale;
                }
        }
    }

    /// to += weights · panel
    __device__ void collect(sums& to, scores_of_warp const& weights, element const* panel,
                            int width) const {
#pragma unroll
        for (int s = 0; s < Walked / 16; ++s) {
            typename step::left left[Plan::share];
#pragma unroll
            for (int m = 0; m < Plan::share; ++m)
                left[m] = as_left<Plan>(weights[m][2 * s], weights[m][2 * s + 1]);
            auto const there = [&](int piece) { return 16 * piece < width; };
            each_step<Plan::steps>(there, [&](int piece) {
                add_tensor_weighted<Plan>(to[piece], left, panel, s, piece, Plan::stride);
            });
        }
    }
    /// A query head of the group, the first or last one that adds to some sums.
    struct head_turn {
        int head;
        bool first, last;
    };
    /// What a query head gives, to those before it.
    __device__ void write_head(sums const& of_keys, sums const& of_values,
                               attention_tile const& tile, index_t key_head,
                               head_turn const& turn) const {
        auto const put = [&](sums const& from, float* partial, element* whole, auto const& place,
                             int width) {
            float const* const before = turn.first ? nullptr : partial;
            if (std::is_same_v<element, float> || partials.are_apart() || !turn.last)
                this->write(from, tile, partial, before, place, width);
            else
                this->write(from, tile, whole, before, place, width);
        };
        put(
            of_keys, partials.dk + turn.head * partials.keys, x.dk,
            [&](index_t r) { return e.key(tile.span, key_head, r); }, e.dim);
        put(
            of_values, partials.dv + turn.head * partials.values, x.dv,
            [&](index_t r) { return e.value(tile.span, key_head, r); }, e.width);
    }
    /// With what was there, if anything.
    template <class T, class Place>
    __device__ void write(sums const& from, attention_tile const& tile, T* to, float const* before,
                          Place const& place, int width) const {
#pragma unroll
        for (int m = 0; m < Plan::share; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if (Plan::row(m, half) >= tile.rows) continue;
                index_t const at = place(tile.first + Plan::row(m, half));
#pragma unroll
                for (int piece = 0; piece < Plan::pieces; ++piece) {
                    if (16 * piece >= width) break;
                    auto y = step::share(from[piece][m][0], from[piece][m][1], half);
                    if (before != nullptr) {
                        auto const was = read_share<Plan>(before + at, piece, width);
                        for (int i = 0; i < packet<float>::size; ++i)
                            y.at[i] = add_rounded(was.at[i], y.at[i]);
                    }
                    write_share<Plan>(y, to + at, piece, width);
                }
            }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
