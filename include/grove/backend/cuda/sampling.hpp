// SPDX-License-Identifier: Apache-2.0
/// @file
/// Drawing a token from each row of logits, a block a row: rollout/sampler.hpp's algorithm without
/// its sort. A row's draw depends on that row alone.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/fault.hpp"
#include "grove/backend/cuda/row_block.hpp"
#include "grove/backend/sampling_options.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA::detail {

/// The bits of numbers ≥ 0, which are ordered as the numbers are; of those ≤ 1 up to `top_bit`.
template <class T>
struct ordered_bits;
template <>
struct ordered_bits<float> {
    using type = std::uint32_t;
    static constexpr int top_bit = 29;
    __device__ static float number(type bits) { return __uint_as_float(bits); }
};
template <>
struct ordered_bits<double> {
    using type = std::uint64_t;
    static constexpr int top_bit = 61;
    __device__ static double number(type bits) {
        return __longlong_as_double(static_cast<std::int64_t>(bits));
    }
};

/// e^((z − max z) / temperature) of a row of logits.
template <class T>
struct row_weights {
    T const* logits;
    T top, inverse_temperature;
    __device__ T operator()(index_t i) const {
        return math::exp((logits[i] - top) * inverse_temperature);
    }
};

/// Which columns of a row are kept: weights above `least`, of those equal to it the columns up to
/// `last`; none below `floor`.
template <class T>
struct kept_rule {
    T top, least, floor;
    index_t last;
    __device__ bool operator()(T weight, index_t i) const {
        return weight >= floor && (weight > least || (weight == least && i <= last));
    }
};

/// A token for each row, the rule by which columns were kept, and how many were. Any number of
/// threads gives the same bits.
template <class T, int Threads>
struct drawn_token {
    static constexpr int threads = Threads;
    using block_type = row_block<Threads>;
    T const* logits;
    index_t columns;
    double const* uniforms;
    sampling_options options;
    fault_report report;
    std::int32_t* tokens;
    kept_rule<T>* rules;
    std::int32_t* counts;

    __device__ void operator()(index_t row) const {
        T const* const z = logits + row * columns;
        index_t const best = leader(z);
        if (best < 0) {
            finish(row, 0, {T(0), T(0), T(2), 0}, 0);  // keeps nothing
            return;
        }
        kept_rule<T> rule{z[best], T(0), T(0), columns - 1};
        if (options.temperature == 0.0) return finish(row, best, rule, columns);
        row_weights<T> const weight{z, rule.top, static_cast<T>(1.0 / options.temperature)};
        block_type const block{columns};
        auto const is_kept = [&](index_t i) { return rule(weight(i), i); };
        auto const kept = [&](index_t i) {
            T const w = weight(i);
            return rule(w, i) ? static_cast<double>(w) : 0.0;
        };
        if (options.top_k > 0 && options.top_k < columns)
            rule = cut(
                block, weight, rule, [&](T) { return 1.0; }, static_cast<double>(options.top_k));
        if (options.top_p < 1.0)
            rule = cut(
                block, weight, rule, [](T w) { return static_cast<double>(w); },
                options.top_p * block.total(kept));
        rule.floor = least_at_least(options.min_p);
        index_t const token =
            block.first_beyond(kept, [&](double total) { return uniforms[row] * total; });
        auto const count = options.truncates()
                               ? block.total([&](index_t i) { return is_kept(i) ? 1.0 : 0.0; })
                               : static_cast<double>(columns);
        finish(row, token, rule, static_cast<index_t>(count));
    }

private:
    __device__ void finish(index_t row, index_t token, kept_rule<T> const& rule,
                           index_t count) const {
        if (threadIdx.x > 0) return;
        tokens[row] = static_cast<std::int32_t>(token);
        if (rules == nullptr) return;
        rules[row] = rule;
        counts[row] = static_cast<std::int32_t>(count);
    }
    /// The smallest T that is not below `limit`.
    __device__ static T least_at_least(double limit) {
        T const y = static_cast<T>(limit);
        if constexpr (sizeof(T) == 4)
            return static_cast<double>(y) < limit ? nextafterf(y, T(2)) : y;
        return y;
    }

    /// The column of the largest logit, the first of equal ones; −1, and a report, where there is a
    /// NaN or the largest is not finite.
    __device__ index_t leader(T const* z) const {
        constexpr int warps = block_type::warps;
        __shared__ T top_of[warps];
        __shared__ index_t best_of[warps], bad_of[warps];
        T top = T(0);
        index_t best = columns, bad = columns;
        auto const take = [&](T other, index_t at, index_t invalid) {
            if (at < columns && (best == columns || other > top || (other == top && at < best))) {
                top = other;
                best = at;
            }
            if (invalid < bad) bad = invalid;
        };
        block_type::each(
            threadIdx.x, columns, threads, [&](index_t i) { return z[i]; },
            [&](T logit, index_t i) {
                logit == logit ? take(logit, i, columns) : take(T(0), columns, i);
            });
        for (int step = 16; step > 0; step /= 2) {
            T const other = __shfl_xor_sync(~0U, top, step);
            index_t const at = __shfl_xor_sync(~0U, best, step);
            index_t const invalid = __shfl_xor_sync(~0U, bad, step);
            take(other, at, invalid);
        }
        if (block_type::lane() == 0) {
            top_of[block_type::warp()] = top;
            best_of[block_type::warp()] = best;
            bad_of[block_type::warp()] = bad;
        }
        __syncthreads();
        for (int w = 0; w < warps; ++w) take(top_of[w], best_of[w], bad_of[w]);
        if (bad == columns && isfinite(top)) return best;
        if (threadIdx.x == 0) bad < columns ? report.not_a_number(bad) : report.infinite(best);
        return -1;
    }

    /// The fewest columns of `rule`, in descending order of weight and ascending order of column,
    /// whose sum of f(weight) reaches `target`; two bits of the least weight at a time.
    template <class F>
    __device__ static kept_rule<T> cut(block_type const& block, row_weights<T> const& weight,
                                       kept_rule<T> rule, F const& f, double target) {
        using bits = ordered_bits<T>;
        auto const sum_kept = [&](auto& sums, auto const& add) {
            block.sums(sums, weight, [&](auto& own, T w, index_t i) {
                if (rule(w, i)) add(own, w);
            });
        };
        typename bits::type least = 0;
        for (int bit = bits::top_bit - 1; bit >= 0; bit -= 2) {
            auto const raised = [&](int by) {
                return least | static_cast<typename bits::type>(by) << bit;
            };
            double above[3];
            sum_kept(above, [&](double(&own)[3], T w) {
                for (int k = 0; k < 3; ++k)
                    if (w >= bits::number(raised(k + 1))) own[k] += f(w);
            });
            int by = 3;
            while (by > 0 && above[by - 1] < target) --by;
            least = raised(by);
        }
        T const bound = bits::number(least);
        double beyond[2];  // the sum above the bound, the number of those that equal it
        sum_kept(beyond, [&](double(&own)[2], T w) {
            if (w > bound) own[0] += f(w);
            if (w == bound) own[1] += 1;
        });
        double taken = 1;
        for (double sum = beyond[0] + f(bound); sum < target && taken < beyond[1]; sum += f(bound))
            taken += 1;
        if (beyond[1] > 0)
            rule.last = block.first_beyond(
                [&](index_t i) {
                    T const w = weight(i);
                    return w == bound && rule(w, i) ? 1.0 : 0.0;
                },
                [&](double) { return taken - 1; });
        rule.least = bound;
        return rule;
    }
};

/// The kept columns of each row, ascending, row behind row, and where they begin.
template <class T>
struct kept_lists {
    static constexpr int threads = 512;
    using block_type = row_block<threads>;
    T const* logits;
    index_t columns;
    T inverse_temperature;
    kept_rule<T> const* rules;
    std::int32_t const* counts;
    std::int32_t *offsets, *kept;

    __device__ void operator()(index_t row) const {
        block_type const block{columns};
        auto const first = static_cast<index_t>(
            block_type{row}.total([&](index_t i) { return static_cast<double>(counts[i]); }));
        if (threadIdx.x == 0) {
            if (row == 0) offsets[0] = 0;
            offsets[row + 1] = static_cast<std::int32_t>(first) + counts[row];
        }
        kept_rule<T> const rule = rules[row];
        row_weights<T> const weight{logits + row * columns, rule.top, inverse_temperature};
        index_t const begin = block_type::warp() * block.share();
        auto const is_kept = [&](index_t i) { return i < columns && rule(weight(i), i); };
        __shared__ int of_warp[block_type::warps];
        int own = 0;
        for (index_t i = begin; i < begin + block.share(); i += 32)
            own += __popc(__ballot_sync(~0U, is_kept(i + block_type::lane())));
        if (block_type::lane() == 0) of_warp[block_type::warp()] = own;
        __syncthreads();
        index_t to = first;
        for (int w = 0; w < block_type::warp(); ++w) to += of_warp[w];
        for (index_t i = begin; i < begin + block.share(); i += 32) {
            index_t const at = i + block_type::lane();
            unsigned const mask = __ballot_sync(~0U, is_kept(at));
            unsigned const mine = 1U << block_type::lane();
            if ((mask & mine) != 0)
                kept[to + __popc(mask & (mine - 1))] = static_cast<std::int32_t>(at);
            to += __popc(mask);
        }
    }
};

}  // namespace grove::inline GROVE_ISA::detail
