// SPDX-License-Identifier: Apache-2.0
#include "bandit.hpp"

namespace rl = grove::rl;

double heads_after(int steps) {
    coin_policy policy;
    rl::grpo const objective{.kl_coefficient = 0};
    std::vector<bool> const throws{true, false, true, false};
    std::vector<double> const rewards{1, 0, 1, 0};
    auto const group = rl::equal_groups(1, throws.size());
    auto const tokens = rl::equal_groups(throws.size(), 1);
    auto const advantage = rl::advantages(objective.advantage, rewards, group);
    for (int step = 0; step < steps; ++step) {
        auto const old = policy.evaluate(throws, {}).log_probability;
        rl::learn(policy, throws,
                  rl::token_batch<double>{
                      .old_log_probability = old, .advantage = advantage, .offsets = tokens},
                  objective);
        policy.logit -= std::exchange(policy.gradient, 0.0);
    }
    return policy.heads();
}
