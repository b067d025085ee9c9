// SPDX-License-Identifier: Apache-2.0
// The whole run, once for each backend: units compiled apart.
#pragma once

#include <cstdint>
#include <string>

namespace digits {

struct settings {
    std::string backend = "cpu";
    std::string method = "ppo";
    std::string checkpoint = GROVE_CHECKPOINT;
    std::string out = "runs/digit_completion";
    std::int64_t steps = 0;       // 0: 200 of PPO, 500 of GRPO
    std::int64_t explore = 2400;  // of GRPO: steps before that learn from the best of each group
    double entropy = -1;  // nats per token held at the beginning; none: 0 of PPO, 0.3 of GRPO
    double fall = 0.75;   // share of the steps within which it falls to 0
    double grip = 0.002;  // by which the entropy's coefficient moves in a step
    double rate = 1e-4;   // of PPO's policy; the critic's is 1e-3
    std::uint64_t seed = 0;
};

// Trains, prints what was reached, and returns whether upstream's mark was passed.
bool run_on_cpu(settings const& s);
// In builds with CUDA.
bool run_on_cuda(settings const& s);

}  // namespace digits
