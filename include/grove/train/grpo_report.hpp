// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a step of GRPO did, gathered update by update.
#pragma once

#include <cmath>

#include "grove/io/metric_record.hpp"
#include "grove/rl/advantage.hpp"
#include "grove/rl/statistics.hpp"
#include "grove/train/scored_rollout.hpp"

namespace grove::inline GROVE_ISA {

/// What one step did.
struct grpo_report {
    index_t step = 0;
    metric_record metrics;
    std::vector<scored_completion> completions;
    index_t sampled_tokens = 0;
    double logprob_max_abs_diff =
        0;  ///< max |trainer's − sampler's log-probability| before any update
};

/// What the updates on one rollout have measured so far.
struct step_record {
    rl::evaluation evaluation;    ///< sums over the updates
    double entropy = 0;           ///< sum over the tokens that were learned from, in nats
    double gradient_norm = 0;     ///< the largest, before clipping
    double learning_rate = 0;     ///< the last
    double max_abs_diff = 0;      ///< max |trainer's − sampler's log-probability| at first
    double sampling_seconds = 0;  ///< of the rollout
    double seconds = 0;           ///< of the rollout and the updates
};

/// Calls f(name, number&) for everything in a record, so that it can be saved and loaded.
template <class Record, class Visit>
void visit_numbers(Record& record, Visit&& f) {
    auto const visit = [&](std::string const& name, auto& average) {
        f(name + ".sum", average.sum);
        f(name + ".count", average.count);
    };
    auto& statistics = record.evaluation.statistics;
    f("loss", record.evaluation.loss);
    f("sequences", statistics.sequences);
    f("tokens", statistics.tokens);
    visit("ratio", statistics.ratio);
    f("ratio_deviation", statistics.ratio_deviation);
    visit("advantage", statistics.advantage);
    visit("clipped_low", statistics.clipped_low);
    visit("clipped_high", statistics.clipped_high);
    visit("kl", statistics.kl);
    f("entropy", record.entropy);
    f("gradient_norm", record.gradient_norm);
    f("learning_rate", record.learning_rate);
    f("max_abs_diff", record.max_abs_diff);
    f("sampling_seconds", record.sampling_seconds);
    f("seconds", record.seconds);
}

/// The report of a step whose `updates` updates on `rollout`, groups of `group_size`, are done.
template <class T>
grpo_report summarize(index_t step, scored_rollout<T> rollout, index_t group_size, index_t updates,
                      step_record const& record) {
    auto const n = static_cast<double>(rollout.size());
    double reward = 0, magnitude = 0, truncated = 0;
    for (auto const& c : rollout.completions) {
        reward += static_cast<double>(c.reward) / n;
        truncated += (c.reason == finish_reason::length) / n;
    }
    for (T a : rollout.advantage) magnitude += std::abs(static_cast<double>(a)) / n;
    auto const groups =
        rl::equal_groups(static_cast<index_t>(rollout.size()) / group_size, group_size);
    auto const& s = record.evaluation.statistics;
    grpo_report report;
    report.step = step;
    report.sampled_tokens = rollout.tokens();
    report.logprob_max_abs_diff = record.max_abs_diff;
    auto const tokens = static_cast<double>(report.sampled_tokens);
    report.metrics = {
        step,
        {{"reward/mean", reward},
         {"advantage/mean_magnitude", magnitude},
         {"groups/zero_variance",
          rl::zero_variance_share(rollout.rewards(), groups, rollout.scored())},
         {"ratio/mean", s.ratio.value()},
         {"ratio/max_deviation", s.ratio_deviation},
         {"clipped/low", s.clipped_low.value()},
         {"clipped/high", s.clipped_high.value()},
         {"kl", s.kl.value()},
         {"entropy", record.entropy / static_cast<double>(std::max<index_t>(s.tokens, 1))},
         {"loss", record.evaluation.loss / static_cast<double>(updates)},
         {"gradient_norm", record.gradient_norm},
         {"learning_rate", record.learning_rate},
         {"response/length", tokens / n},
         {"response/truncated", truncated},
         {"tokens_per_second/sampling", tokens / record.sampling_seconds},
         {"tokens_per_second/step", tokens / record.seconds}}};
    report.completions = std::move(rollout.completions);
    return report;
}

}  // namespace grove::inline GROVE_ISA
