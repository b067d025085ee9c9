// SPDX-License-Identifier: Apache-2.0
/// @file
/// Distributions over actions: what the last layer of an actor means.
///
/// A head says how many numbers it reads per state (`outputs`), draws an action from them on the
/// host, and gives log-probability and entropy on any backend.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "grove/nn/parameter.hpp"
#include "grove/ops/token_statistics.hpp"

namespace grove::inline GROVE_ISA {

namespace law {
/// log N(action; mean, σ) from (mean, action, log σ).
struct gaussian_log_density {
    template <class N>
    GROVE_HD N operator()(N mean, N action, N log_deviation) const {
        N const z = (action - mean) * math::exp(-log_deviation);
        return N(-0.5) * z * z - log_deviation - N(0.91893853320467274178);  // ½·log 2π
    }
};
}  // namespace law

/// softmax over `action_count` logits.
template <class B, class T = float>
struct categorical_head {
    using action = std::int32_t;

    index_t outputs;  ///< logits: actions to choose from

    static categorical_head make(parameter_maker<B, T>&, index_t action_count, double = 0) {
        return {action_count};
    }
    /// Numbers of one action.
    index_t width() const { return 1; }

    /// {log-probability of the actions, entropy} [rows] from logits [rows, outputs].
    template <class On>
    std::array<tensor<On, T>, 2> statistics(tensor<On, T> const& logits,
                                            std::span<action const> actions) const {
        On& on = logits.backend();
        return token_statistics(logits,
                                index_tensor<On>(on, on.upload(actions), {std::ssize(actions)}));
    }
    /// f(logits, key, action): draws one action.
    auto sampler() const {
        return [](std::span<T const> logits, random_key const& key, std::span<action> drawn) {
            T const top = *std::max_element(logits.begin(), logits.end());
            double sum = 0;
            for (T const x : logits) sum += std::exp(static_cast<double>(x - top));
            double u = key.uniform<double>(0) * sum;
            std::size_t a = 0;
            while (a + 1 < logits.size() &&
                   (u -= std::exp(static_cast<double>(logits[a] - top))) >= 0)
                ++a;
            drawn[0] = static_cast<action>(a);
        };
    }
    /// The likeliest action, in place of `sampler`'s.
    void mode(std::span<T const> logits, std::span<action> chosen) const {
        chosen[0] =
            static_cast<action>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
    template <class Visit>
    void visit(Visit&&) {}
};

/// Independent normal distributions whose deviations are learned, but do not depend on the state.
/// Actions are not bounded here: the environment does that, after the fact.
template <class B, class T = float>
struct gaussian_head {
    using action = T;

    index_t outputs;                ///< means: numbers of one action
    parameter<B, T> log_deviation;  ///< [outputs]

    static gaussian_head make(parameter_maker<B, T>& make, index_t action_size,
                              double log_deviation = 0) {
        return {action_size,
                make.constant("log_deviation", {action_size}, static_cast<T>(log_deviation))};
    }
    index_t width() const { return outputs; }

    /// {log-density of the actions, entropy} [rows] from means [rows, outputs].
    template <class On>
    std::array<tensor<On, T>, 2> statistics(tensor<On, T> const& means,
                                            std::span<action const> actions) const {
        On& on = means.backend();
        index_t const rows = means.rows();
        auto const spread = lift(on, log_deviation);
        tensor<On, T> const taken(on, on.upload(actions), {rows, outputs});
        auto const density = map(law::gaussian_log_density{}, means, taken, spread);
        T const half_log_two_pi_e = T(1.41893853320467274178);
        auto const entropy = affine(sum(spread), T(1), static_cast<T>(outputs) * half_log_two_pi_e);
        return {sum_columns(density).reshape({rows}), zeros<T>(on, {rows}) + entropy};
    }
    /// f(means, key, action): draws one action.
    auto sampler() const {
        std::vector<T> deviation = to_host(log_deviation.value);
        for (T& x : deviation) x = std::exp(x);
        return [deviation](std::span<T const> means, random_key const& key,
                           std::span<action> drawn) {
            for (std::size_t j = 0; j < means.size(); ++j)
                drawn[j] = means[j] +
                           deviation[j] * static_cast<T>(key.normal(static_cast<std::uint32_t>(j)));
        };
    }
    void mode(std::span<T const> means, std::span<action> chosen) const {
        std::copy(means.begin(), means.end(), chosen.begin());
    }
    template <class Visit>
    void visit(Visit&& f) {
        f(log_deviation);
    }
};

}  // namespace grove::inline GROVE_ISA
