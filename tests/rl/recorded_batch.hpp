// SPDX-License-Identifier: Apache-2.0
/// @file
/// Batches that own their numbers, and the scalar oracle of the packed evaluation.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "grove/core/random.hpp"
#include "grove/rl/evaluate.hpp"
#include "grove/rl/preset.hpp"

namespace grove_test {

using grove::index_t;
namespace rl = grove::rl;

template <class T>
struct recorded_batch {
    std::vector<T> log_probability{}, old_log_probability{}, reference_log_probability{};
    std::vector<T> advantage{};
    std::vector<index_t> offsets{0};
    std::vector<std::uint8_t> mask{};
    std::vector<T> correction{};
    std::vector<std::uint8_t> selected{};

    rl::token_batch<T> view() const {
        return {.log_probability = log_probability,
                .old_log_probability = old_log_probability,
                .reference_log_probability = reference_log_probability,
                .advantage = advantage,
                .offsets = offsets,
                .mask = mask,
                .correction = correction,
                .selected = selected};
    }
    /// Appends response `i` of another batch.
    void append(recorded_batch const& other, index_t i) {
        auto const view = other.view();
        for (index_t t = view.begin(i); t < view.end(i); ++t) {
            auto const at = static_cast<std::size_t>(t);
            log_probability.push_back(other.log_probability[at]);
            old_log_probability.push_back(other.old_log_probability[at]);
            reference_log_probability.push_back(other.reference_log_probability[at]);
            mask.push_back(other.mask[at]);
        }
        advantage.push_back(other.advantage[static_cast<std::size_t>(i)]);
        offsets.push_back(static_cast<index_t>(log_probability.size()));
    }
};

/// Five responses, the last one masked out; clips at 0.2 bind on both sides.
inline recorded_batch<double> small_batch() {
    return {.log_probability = {-0.70, -1.30, -0.20, -2.10, -0.45, -0.90, -3.00, -0.05, -1.10,
                                -0.60, -0.30, -0.80},
            .old_log_probability = {-1.00, -1.25, -0.21, -1.70, -0.40, -1.35, -2.50, -0.06, -1.12,
                                    -0.95, -0.35, -0.70},
            .reference_log_probability = {-0.90, -1.00, -0.30, -2.00, -0.70, -0.80, -2.70, -0.04,
                                          -1.50, -0.55, -0.10, -0.90},
            .advantage = {1.2, -0.7, -0.4, 0.9, 2.0},
            .offsets = {0, 3, 4, 8, 10, 12},
            .mask = {1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0}};
}

/// Five responses with ratios from 0.7 to 7.8, so that every bound of the family binds somewhere;
/// one token within and two at the end do not count, three are selected.
inline recorded_batch<double> varied_batch() {
    return {.log_probability = {-0.70, -1.30, -0.20, -2.10, -0.45, -0.90, -3.00, -0.05, -1.10,
                                -0.60, -0.30, -0.80, -1.90},
            .old_log_probability = {-1.00, -1.25, -0.21, -1.68, -1.75, -0.75, -2.50, -1.15, -1.12,
                                    -2.65, -0.35, -0.70, -0.40},
            .reference_log_probability = {-0.90, -1.00, -0.30, -2.00, -0.70, -0.80, -2.70, -0.04,
                                          -1.50, -0.55, -0.10, -0.90, -1.60},
            .advantage = {1.2, -0.7, -0.4, 0.9, 2.0},
            .offsets = {0, 3, 4, 8, 11, 13},
            .mask = {1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0},
            .selected = {0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}};
}

/// Responses of 0 to `longest` tokens; about one token in eight does not count and holds NaN or ±∞.
template <class T>
recorded_batch<T> random_batch(index_t sequences, index_t longest, std::uint64_t seed) {
    grove::random_sequence random({.seed = seed});
    T const poison[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                        -std::numeric_limits<T>::infinity()};
    recorded_batch<T> batch;
    for (index_t i = 0; i < sequences; ++i) {
        index_t const length = random.integer(0, longest);
        for (index_t t = 0; t < length; ++t) {
            bool const counts = random.uniform() > 0.125;
            T const now = static_cast<T>(-3 * random.uniform());
            T const bad = poison[random.integer(0, 2)];
            batch.log_probability.push_back(counts ? now : bad);
            batch.old_log_probability.push_back(counts ? now + static_cast<T>(0.3 * random.normal())
                                                       : bad);
            batch.reference_log_probability.push_back(
                counts ? now + static_cast<T>(0.3 * random.normal()) : bad);
            batch.mask.push_back(counts);
        }
        batch.advantage.push_back(static_cast<T>(random.normal()));
        batch.offsets.push_back(static_cast<index_t>(batch.log_probability.size()));
    }
    return batch;
}

/// The loss and gradient of a separable objective by plain scalar loops in T.
template <class Objective, class T>
double scalar_evaluate(Objective const& objective, rl::token_batch<T> const& batch,
                       rl::totals const& all, std::vector<T>& gradient) {
    using number = grove::dual<T, 1>;
    double loss = 0;
    gradient.assign(batch.log_probability.size(), T(0));
    for (index_t i = 0; i < batch.sequences(); ++i) {
        for (index_t t = batch.begin(i); t < batch.end(i); ++t) {
            if (!batch.counts(t)) continue;
            auto const at = static_cast<std::size_t>(t);
            number const now = number::variable(batch.log_probability[at], 0);
            number const ratio =
                objective.ratio(now - number(batch.old_log_probability[at]), number(T(1)));
            number const term =
                objective.surrogate(ratio, number(batch.advantage[static_cast<std::size_t>(i)])) -
                number(objective.kl_coefficient) *
                    objective.kl(now, number(batch.reference_log_probability[at]));
            double const weight = objective.aggregation(batch.length(i), all);
            loss -= weight * static_cast<double>(term.value);
            gradient[at] = static_cast<T>(-weight) * term.derivative[0];
        }
    }
    return loss;
}

}  // namespace grove_test
