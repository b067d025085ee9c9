// SPDX-License-Identifier: Apache-2.0
/// @file
/// What the updates of PPO measure, whatever they learn.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "grove/io/metric_record.hpp"
#include "grove/rl/actor_critic.hpp"

namespace grove::inline GROVE_ISA {

/// What the updates on one rollout measured.
struct ppo_record {
    rl::actor_critic_evaluation evaluation;  ///< sums over the updates
    index_t updates = 0;                     ///< made; fewer where the divergence passed its limit
    double gradient_norm = 0;                ///< the largest, before clipping
    double learning_rate = 0;                ///< the last
    double explained_variance = 0;  ///< 1 − Var(target − value) / Var(target), before the updates
    rl::average kl;                 ///< from the reference, nats per token, before the updates
    double kl_coefficient = 0;
    double max_abs_diff = 0;  ///< max |trainer's − sampler's log-probability|, likewise
    double sampling_seconds = 0;
    double seconds = 0;  ///< of the rollout and the updates
};

/// 1 − Var(target − value) / Var(target): 1 for a critic that knows, 0 for one that knows the mean,
/// and NaN where all targets are equal.
template <class T>
double explained_variance(std::span<T const> value, std::span<T const> target) {
    rl::detail::check_size("explained_variance", "value", value.size(), target.size());
    auto const squares = [&](auto const& number) {
        auto const m = rl::detail::moments_of([&](auto&& body) {
            for (std::size_t i = 0; i < target.size(); ++i) body(number(i), 1.0);
        });
        return m.flat() ? 0.0 : m.scale * m.scale * m.squares;
    };
    auto const at = [&](std::size_t i) { return static_cast<double>(target[i]); };
    return 1 - squares([&](std::size_t i) { return at(i) - static_cast<double>(value[i]); }) /
                   squares(at);
}

/// The metrics that every kind of PPO has, after those in `first`.
inline metric_record ppo_metrics(index_t step, std::vector<metric> first, ppo_record const& r) {
    auto const& [policy, value_loss, entropy, divergence] = r.evaluation;
    metric_record record{step, std::move(first)};
    auto& all = record.values;
    auto const add = [&](char const* name, double x) { all.push_back({name, x}); };
    add("ratio/mean", policy.statistics.ratio.value());
    add("ratio/max_deviation", policy.statistics.ratio_deviation);
    add("clipped/low", policy.statistics.clipped_low.value());
    add("clipped/high", policy.statistics.clipped_high.value());
    add("divergence", divergence.value());
    if (entropy.count > 0) add("entropy", entropy.value());
    add("loss", policy.loss / static_cast<double>(std::max<index_t>(r.updates, 1)));
    add("value/loss", value_loss.value());
    add("value/explained_variance", r.explained_variance);
    add("updates", static_cast<double>(r.updates));
    add("gradient_norm", r.gradient_norm);
    add("learning_rate", r.learning_rate);
    return record;
}

}  // namespace grove::inline GROVE_ISA
