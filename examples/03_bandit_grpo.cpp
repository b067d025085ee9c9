// SPDX-License-Identifier: Apache-2.0
// GRPO from nothing: a bandit with five arms and a policy of five numbers, written by hand. What
// grove adds is the advantage of each pull over its group, and the gradient by its log-probability.
#include <cmath>
#include <iostream>

#include "grove/core/random.hpp"
#include "grove/io/table.hpp"
#include "grove/rl/evaluate.hpp"
#include "grove/rl/preset.hpp"

namespace rl = grove::rl;

constexpr std::size_t arms = 5, pulls = 32;
constexpr double pays[arms] = {0.1, 0.5, 0.2, 0.9, 0.6};  // chance of a reward of 1

using distribution = std::array<double, arms>;

distribution softmax(distribution const& logits) {
    distribution p;
    double sum = 0;
    for (std::size_t a = 0; a < arms; ++a) sum += p[a] = std::exp(logits[a]);
    for (double& x : p) x /= sum;
    return p;
}

int main() {
    distribution logits{};
    grove::table results({"step", "expected reward", "P(best arm)"});
    for (std::uint32_t step = 0; step <= 60; ++step) {
        distribution const p = softmax(logits);
        double expected = 0;
        for (std::size_t a = 0; a < arms; ++a) expected += p[a] * pays[a];
        if (step % 10 == 0) results.row({step, expected, p[3]});

        // A group of pulls; each is a response of one token.
        std::vector<std::size_t> pulled;
        std::vector<double> rewards, old;
        for (std::uint32_t i = 0; i < pulls; ++i) {
            grove::random_sequence random({.seed = 1, .visit = step, .sample = i});
            double u = random.uniform();
            std::size_t arm = 0;
            while (arm + 1 < arms && (u -= p[arm]) > 0) ++arm;
            pulled.push_back(arm);
            rewards.push_back(random.uniform() < pays[arm] ? 1.0 : 0.0);
            old.push_back(std::log(p[arm]));
        }
        rl::grpo const objective{.kl_coefficient = 0};
        auto const advantage =
            rl::advantages(objective.advantage, rewards, rl::equal_groups(1, pulls));
        auto const offsets = rl::equal_groups(pulls, 1);

        // Two updates on the same pulls: in the second, the policy is no longer the one that
        // pulled.
        for (int update = 0; update < 2; ++update) {
            distribution const q = softmax(logits);
            std::vector<double> now, gradient(pulls);
            for (std::size_t arm : pulled) now.push_back(std::log(q[arm]));
            rl::evaluate(objective,
                         rl::token_batch<double>{.log_probability = now,
                                                 .old_log_probability = old,
                                                 .advantage = advantage,
                                                 .offsets = offsets},
                         gradient);
            for (std::size_t i = 0; i < pulls; ++i)  // ∂ log q(arm) / ∂ logit = [same] − q
                for (std::size_t a = 0; a < arms; ++a)
                    logits[a] -= 0.3 * gradient[i] * ((a == pulled[i]) - q[a]);
        }
    }
    std::cout << results.text();
    return softmax(logits)[3] > 0.8 ? 0 : 1;
}
