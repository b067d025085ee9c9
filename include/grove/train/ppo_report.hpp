// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a step of PPO for a decoder did.
#pragma once

#include "grove/train/ppo_record.hpp"
#include "grove/train/scored_rollout.hpp"

namespace grove::inline GROVE_ISA {

/// What one step of a decoder did.
struct ppo_report {
    index_t step = 0;
    metric_record metrics;
    std::vector<scored_completion> completions;
    index_t sampled_tokens = 0;
    double logprob_max_abs_diff = 0;  ///< before any update
};

/// The report of a step of a decoder.
template <class T>
ppo_report summarize(index_t step, scored_rollout<T> rollout, ppo_record const& record) {
    rl::average reward, truncated;
    for (auto const& c : rollout.completions) {
        if (c.scored) reward += {static_cast<double>(c.reward), 1};
        truncated += {c.reason == finish_reason::length ? 1.0 : 0.0, 1};
    }
    ppo_report report;
    report.step = step;
    report.sampled_tokens = rollout.tokens();
    report.logprob_max_abs_diff = record.max_abs_diff;
    auto const tokens = static_cast<double>(report.sampled_tokens);
    std::vector<metric> first{{"reward/mean", reward.value()}};
    if (record.kl.count > 0) {
        first.push_back({"kl", record.kl.value()});
        first.push_back({"kl/coefficient", record.kl_coefficient});
    }
    first.push_back({"response/length", tokens / static_cast<double>(rollout.size())});
    first.push_back({"response/truncated", truncated.value()});
    first.push_back({"tokens_per_second/sampling", tokens / record.sampling_seconds});
    first.push_back({"tokens_per_second/step", tokens / record.seconds});
    report.metrics = ppo_metrics(step, std::move(first), record);
    report.completions = std::move(rollout.completions);
    return report;
}

}  // namespace grove::inline GROVE_ISA
