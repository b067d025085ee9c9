// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a step of PPO in environments did.
#pragma once

#include "grove/env/vector_environment.hpp"
#include "grove/train/ppo_record.hpp"

namespace grove::inline GROVE_ISA {

/// What one step in environments did.
struct control_report {
    index_t step = 0;
    metric_record metrics;
    std::vector<episode> episodes;  ///< that ended during the rollout
};

/// The report of a step over `rows` decisions.
inline control_report summarize(index_t step, std::vector<episode> episodes, index_t rows,
                                ppo_record const& record) {
    rl::average reward, length;
    for (auto const& e : episodes) {
        reward += {e.reward, 1};
        length += {static_cast<double>(e.length), 1};
    }
    auto const n = static_cast<double>(rows);
    control_report report{step, {}, std::move(episodes)};
    report.metrics = ppo_metrics(step,
                                 {{"episode/return", reward.value()},
                                  {"episode/length", length.value()},
                                  {"steps_per_second/sampling", n / record.sampling_seconds},
                                  {"steps_per_second/step", n / record.seconds}},
                                 record);
    return report;
}

}  // namespace grove::inline GROVE_ISA
