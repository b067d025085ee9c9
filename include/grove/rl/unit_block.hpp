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

/// Units of one level that share a weight: the tokens of a response, or a single response.
template <class T>
struct unit_block {
    std::span<T const> log_probability;
    std::span<T const> old_log_probability;
    std::span<T const> reference_log_probability;  ///< or empty
    std::span<T const> advantage;                  ///< one for all, or one each
    std::span<std::uint8_t const> mask;            ///< or empty
    T length = T(1);                               ///< tokens in a unit
    index_t counted = 0;                           ///< units that count
    double weight = 0;

    /// Which of the `count` lanes from unit `i` on count.
    pack_mask<T> counted_lanes(std::ptrdiff_t i, int count) const {
        alignas(64) T lanes[pack<T>::size] = {};
        for (int lane = 0; lane < count; ++lane)
            lanes[lane] = mask.empty() ? T(1) : static_cast<T>(mask.data()[i + lane]);
        return pack<T>(T(0)) < pack<T>::load(lanes);
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

/// Sums over the units of a block that count. Lanes that do not count hold zeros in all operands,
/// so that every law yields a finite number there, which `keep` discards.
template <level Unit, class Objective, class T>
struct block_sums {
    using number = dual<pack<T>, 1>;

    lane_sum<T> value, ratio, advantage, clipped_low, clipped_high, kl;
    pack<T> ratio_deviation = T(0);
    pack<T> not_finite = T(0);  ///< 0 while everything read and derived is finite, else NaN

    void add(unit_numbers<number> const& unit, unit_terms<number> const& terms, number term,
             pack_mask<T> counted) {
        pack<T> const zero(T(0)), one(T(1));
        auto const keep = [&](pack<T> x) { return pack<T>::select(counted, x, zero); };
        pack<T> const r = terms.ratio.value, a = unit.advantage.value;
        value.add(keep(term.value));
        if constexpr (Objective::template kl_at<Unit>) kl.add(keep(terms.kl.value));
        if constexpr (Objective::template surrogate_at<Unit>) {
            auto const flat = (terms.surrogate.derivative[0] == zero) & ((a < zero) | (zero < a));
            ratio.add(keep(r));
            advantage.add(a);
            clipped_low.add(pack<T>::select(flat & (r < one), one, zero));
            clipped_high.add(pack<T>::select(flat & (one < r), one, zero));
            ratio_deviation = math::max(ratio_deviation, keep(math::abs(r - one)));
        }
        pack<T> const all = unit.log_probability.value + unit.old_log_probability.value +
                            unit.reference_log_probability.value + a +
                            keep(term.value + term.derivative[0]);
        not_finite += all - all;
    }

    void merge_into(objective_statistics& statistics, index_t counted, bool with_kl) const {
        if constexpr (Objective::template surrogate_at<Unit>) {
            statistics.ratio += {ratio.total(), counted};
            statistics.advantage += {advantage.total(), counted};
            statistics.clipped_low += {clipped_low.total(), counted};
            statistics.clipped_high += {clipped_high.total(), counted};
            statistics.ratio_deviation =
                std::max(statistics.ratio_deviation, largest(ratio_deviation));
        }
        if constexpr (Objective::template kl_at<Unit>)
            if (with_kl) statistics.kl += {kl.total(), counted};
    }
};

/// Adds the terms that `objective` takes at level `Unit` to `result`, and writes the derivative of
/// the loss by each unit's log-probability to `slope` (0 where a unit does not count). False where
/// a number that counts, or what became of it, is not finite.
template <level Unit, class Objective, class T>
bool evaluate_block(Objective const& objective, unit_block<T> const& block, T* slope,
                    evaluation& result) {
    using number = dual<pack<T>, 1>;
    bool const with_kl = !block.reference_log_probability.empty();
    pack<T> const zero(T(0)), negative_weight(static_cast<T>(-block.weight));
    number const beta(static_cast<T>(objective.kl_coefficient));
    block_sums<Unit, Objective, T> sums;
    auto const size = static_cast<std::ptrdiff_t>(block.log_probability.size());
    for_each_pack<T>(size, [&](std::ptrdiff_t i, int count) {
        auto const counted = block.counted_lanes(i, count);
        auto const load = [&](std::span<T const> source) {
            pack<T> const x =
                source.size() == 1 ? pack<T>(source[0]) : load_pack(source.data() + i, count);
            return pack<T>::select(counted, x, zero);
        };
        unit_numbers<number> const unit{number::variable(load(block.log_probability), 0),
                                        load(block.old_log_probability),
                                        with_kl ? load(block.reference_log_probability) : zero,
                                        load(block.advantage), pack<T>(block.length)};
        unit_terms<number> const terms = rl::terms<Unit>(objective, unit, with_kl);
        number const term = terms.surrogate - beta * terms.kl;
        sums.add(unit, terms, term, counted);
        pack<T> const derivative = negative_weight * term.derivative[0];
        store_pack(pack<T>::select(counted, derivative, zero), slope + i, count);
    });
    result.loss -= block.weight * sums.value.total();
    sums.merge_into(result.statistics, block.counted, with_kl);
    return largest(pack<T>::select(sums.not_finite == zero, zero, pack<T>(T(1)))) == 0;
}

}  // namespace grove::inline GROVE_ISA::rl::detail
