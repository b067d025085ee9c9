// SPDX-License-Identifier: Apache-2.0
/// @file
/// The terms that an objective takes of whole responses: scalar, in double, since log-probabilities
/// of responses are sums, and their differences small.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "grove/rl/batch.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/statistics.hpp"

namespace grove::inline GROVE_ISA::rl::detail {

/// Number i of `numbers`, in double.
template <class T>
double number_at(std::span<T const> numbers, index_t i) {
    return static_cast<double>(numbers[static_cast<std::size_t>(i)]);
}

/// The mean of log π − log π_old over the `length` tokens of a response that count.
template <class T>
double mean_log_ratio(token_batch<T> const& batch, index_t sequence, index_t length) {
    double sum = 0;
    for (index_t t = batch.begin(sequence); t < batch.end(sequence); ++t)
        if (batch.counts(t))
            sum += number_at(batch.log_probability, t) - number_at(batch.old_log_probability, t);
    return sum / static_cast<double>(length);
}

/// Token t's share of its response's log-ratio, with its derivative by log π.
template <class Ratio, class T>
dual<double, 1> log_ratio_of_token(Ratio const& ratio, token_batch<T> const& batch, index_t t,
                                   double advantage) {
    using number = dual<double, 1>;
    number const log_ratio = number::variable(
        number_at(batch.log_probability, t) - number_at(batch.old_log_probability, t), 0);
    if constexpr (requires { ratio.of_token(log_ratio, number(advantage)); }) {
        return ratio.of_token(log_ratio, number(advantage));
    } else {
        return log_ratio;
    }
}

template <class Objective>
void merge_response(unit_terms<dual<double, 2>> const& terms, double advantage, bool with_kl,
                    objective_statistics& statistics) {
    if constexpr (Objective::template surrogate_at<level::sequence>) {
        auto const& slope = terms.surrogate.derivative;
        bool const flat = advantage != 0 && slope[0] == 0 && slope[1] == 0;
        double const r = terms.ratio.value;
        statistics.ratio += {r, 1};
        statistics.advantage += {advantage, 1};
        statistics.clipped_low += {flat && r < 1 ? 1.0 : 0.0, 1};
        statistics.clipped_high += {flat && r > 1 ? 1.0 : 0.0, 1};
        statistics.ratio_deviation = std::max(statistics.ratio_deviation, std::abs(r - 1));
    }
    if constexpr (Objective::template kl_at<level::sequence>)
        if (with_kl) statistics.kl += {terms.kl.value, 1};
}

/// One response as a whole: adds its terms to `result`, and its gradient to those of its tokens.
/// False where a number that counts, or what became of it, is not finite.
template <class Objective, class T>
bool evaluate_response(Objective const& objective, token_batch<T> const& batch, index_t sequence,
                       index_t length, double weight, std::span<T> gradient, evaluation& result) {
    using number = dual<double, 2>;  // by Σ log π, and by the sum of the tokens' log-ratios
    bool const with_kl = !batch.reference_log_probability.empty();
    auto const size = static_cast<double>(length);
    double advantage = 0;
    if constexpr (Objective::advantage_per_sequence)
        advantage = number_at(batch.advantage, sequence);
    double now = 0, log_ratio = 0, reference = 0, correction = 0;
    for (index_t t = batch.begin(sequence); t < batch.end(sequence); ++t) {
        if (!batch.counts(t)) continue;
        now += number_at(batch.log_probability, t);
        log_ratio += log_ratio_of_token(objective.ratio, batch, t, advantage).value;
        if (with_kl) reference += number_at(batch.reference_log_probability, t);
        correction += batch.correction.empty() ? 1.0 : number_at(batch.correction, t);
    }
    unit_numbers<number> const response{number::variable(now, 0), number::variable(log_ratio, 1),
                                        number(reference), number(advantage), number(size)};
    auto const terms = rl::terms<level::sequence>(objective, response, with_kl);
    number const term =
        number(correction / size) * terms.surrogate - number(objective.kl_coefficient) * terms.kl;
    merge_response<Objective>(terms, advantage, with_kl, result.statistics);
    result.loss -= weight * size * term.value;
    bool finite = std::isfinite(now + log_ratio + reference + advantage) &&
                  std::isfinite(term.value + term.derivative[0] + term.derivative[1]);
    for (index_t t = batch.begin(sequence); t < batch.end(sequence); ++t) {
        if (!batch.counts(t)) continue;
        auto const own = log_ratio_of_token(objective.ratio, batch, t, advantage);
        double const slope = term.derivative[0] + term.derivative[1] * own.derivative[0];
        gradient[static_cast<std::size_t>(t)] += static_cast<T>(-weight * size * slope);
        finite &= std::isfinite(number_at(batch.old_log_probability, t));
    }
    return finite;
}

}  // namespace grove::inline GROVE_ISA::rl::detail
