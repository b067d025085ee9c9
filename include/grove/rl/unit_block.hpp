// SPDX-License-Identifier: Apache-2.0
/// @file
/// The loop in which the laws of an objective meet arrays: dual numbers over packs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "grove/core/number.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/statistics.hpp"

namespace grove::inline GROVE_ISA::rl::detail {

/// The tokens of a response.
template <class T>
struct unit_block {
    std::span<T const> log_probability;
    std::span<T const> old_log_probability;
    std::span<T const> reference_log_probability;  ///< or empty
    std::span<T const> advantage;                  ///< one for all, or one each
    std::span<T const> correction;                 ///< or empty
    std::span<std::uint8_t const> mask;            ///< or empty
    std::span<std::uint8_t const> selected;        ///< or empty
    std::span<T const> kl;                         ///< or empty
    T response_log_ratio = T(0);                   ///< mean over the tokens that count
    index_t counted = 0;                           ///< tokens that count
    double weight = 0;

    /// `flags` of the `count` lanes from token `i` on as numbers; `otherwise` where there are none.
    static pack<T> load_flags(std::span<std::uint8_t const> flags, T otherwise, std::ptrdiff_t i,
                              int count) {
        if (flags.empty() && count == pack<T>::size) return pack<T>(otherwise);
        alignas(64) T lanes[pack<T>::size] = {};
        for (int lane = 0; lane < count; ++lane)
            lanes[lane] = flags.empty() ? otherwise : static_cast<T>(flags.data()[i + lane] != 0);
        return pack<T>::load(lanes);
    }
    /// Which of the `count` lanes from token `i` on count.
    pack_mask<T> counted_lanes(std::ptrdiff_t i, int count) const {
        return pack<T>(T(0)) < load_flags(mask, T(1), i, count);
    }
};

/// A sum of packs, each lane in double: its order is fixed by the positions alone.
template <class T>
struct lane_sum {
    double lanes[pack<T>::size] = {};

    void add(pack<T> x) {
        alignas(64) T values[pack<T>::size];
        x.store(values);
        for (int i = 0; i < pack<T>::size; ++i) lanes[i] += static_cast<double>(values[i]);
    }
    double total() const {
        double sum = 0;
        for (double lane : lanes) sum += lane;
        return sum;
    }
};

/// The largest lane of a pack.
template <class T>
double largest(pack<T> x) {
    T lanes[pack<T>::size];
    x.store(lanes);
    return static_cast<double>(*std::max_element(lanes, lanes + pack<T>::size));
}

/// Sums over the tokens of a block that count. Lanes that do not count hold zeros in all operands,
/// and what a law makes of them is discarded by `keep`.
template <class Objective, class T>
struct block_sums {
    /// Derivatives by log π, and by the divergence where it is a statistic of the policy.
    using number = dual<pack<T>, Objective::whole_vocabulary ? 2 : 1>;
    static constexpr level unit = level::token;

    lane_sum<T> value, ratio, advantage, clipped_low, clipped_high, kl;
    pack<T> ratio_deviation = T(0);
    pack<T> not_finite = T(0);  ///< 0 while everything read and derived is finite, else NaN

    void add(unit_numbers<number> const& token, unit_terms<number> const& terms, number term,
             pack_mask<T> counted) {
        pack<T> const zero(T(0)), one(T(1));
        auto const keep = [&](pack<T> x) { return pack<T>::select(counted, x, zero); };
        pack<T> const r = terms.ratio.value, a = token.advantage.value;
        value.add(keep(term.value));
        if constexpr (Objective::template kl_at<unit>) kl.add(keep(terms.kl.value));
        if constexpr (Objective::template surrogate_at<unit>) {
            auto const flat = (terms.surrogate.derivative[0] == zero) & ((a < zero) | (zero < a));
            ratio.add(keep(r));
            advantage.add(a);
            clipped_low.add(pack<T>::select(flat & (r < one), one, zero));
            clipped_high.add(pack<T>::select(flat & (one < r), one, zero));
            ratio_deviation = math::max(ratio_deviation, keep(math::abs(r - one)));
        }
        pack<T> const all = token.log_probability.value + token.log_ratio.value +
                            token.reference_log_probability.value + token.vocabulary_kl.value + a +
                            keep(term.value + term.derivative[0]);
        not_finite += all - all;
    }

    void merge_into(objective_statistics& statistics, index_t counted, bool with_kl) const {
        if constexpr (Objective::template surrogate_at<unit>) {
            statistics.ratio += {ratio.total(), counted};
            statistics.advantage += {advantage.total(), counted};
            statistics.clipped_low += {clipped_low.total(), counted};
            statistics.clipped_high += {clipped_high.total(), counted};
            statistics.ratio_deviation =
                std::max(statistics.ratio_deviation, largest(ratio_deviation));
        }
        if constexpr (Objective::template kl_at<unit>)
            if (with_kl) statistics.kl += {kl.total(), counted};
    }
};

/// Adds the terms that `objective` takes per token to `result`, and writes the derivative of the
/// loss by each log-probability to `slope` (0 where a token does not count), that by each
/// divergence over the vocabulary to `kl_slope`, which is null where there is none. False where a
/// number that counts, or what became of it, is not finite.
template <class Objective, class T>
bool evaluate_block(Objective const& objective, unit_block<T> const& block, T* slope, T* kl_slope,
                    evaluation& result) {
    using number = typename block_sums<Objective, T>::number;
    bool const with_reference = !block.reference_log_probability.empty();
    bool const with_kl = Objective::whole_vocabulary ? kl_slope != nullptr : with_reference;
    pack<T> const zero(T(0)), negative_weight(static_cast<T>(-block.weight));
    number const beta(static_cast<T>(objective.kl_coefficient));
    block_sums<Objective, T> sums;
    auto const size = static_cast<std::ptrdiff_t>(block.log_probability.size());
    for_each_pack<T>(size, [&](std::ptrdiff_t i, int count) {
        auto const counted = block.counted_lanes(i, count);
        auto const load = [&](std::span<T const> source) {
            pack<T> const x =
                source.size() == 1 ? pack<T>(source[0]) : load_pack(source.data() + i, count);
            return pack<T>::select(counted, x, zero);
        };
        number const now = number::variable(load(block.log_probability), 0);
        unit_numbers<number> token{now, now - number(load(block.old_log_probability)),
                                   with_reference ? load(block.reference_log_probability) : zero,
                                   load(block.advantage)};
        token.response_log_ratio = number(block.response_log_ratio);
        if constexpr (Objective::selects)
            token.selected = number(block.load_flags(block.selected, T(0), i, count));
        if constexpr (Objective::whole_vocabulary)
            if (with_kl) token.vocabulary_kl = number::variable(load(block.kl), 1);
        unit_terms<number> const terms = rl::terms<level::token>(objective, token, with_kl);
        number surrogate = terms.surrogate;
        if (!block.correction.empty()) surrogate *= number(load(block.correction));
        number const term = surrogate - beta * terms.kl;
        sums.add(token, terms, term, counted);
        auto const store = [&](T* target, pack<T> derivative) {
            store_pack(pack<T>::select(counted, negative_weight * derivative, zero), target + i,
                       count);
        };
        store(slope, term.derivative[0]);
        if constexpr (Objective::whole_vocabulary)
            if (with_kl) store(kl_slope, term.derivative[1]);
    });
    result.loss -= block.weight * sums.value.total();
    sums.merge_into(result.statistics, block.counted, with_kl);
    return largest(pack<T>::select(sums.not_finite == zero, zero, pack<T>(T(1)))) == 0;
}

}  // namespace grove::inline GROVE_ISA::rl::detail
