// SPDX-License-Identifier: Apache-2.0
// GRPO on a policy of your own: plain vectors, no tensor, no framework. The compiler needs to know
// C++20, grove's include/ and Eigen's headers: -std=c++20 -I include -isystem /usr/include/eigen3
#include <cmath>
#include <cstdio>

#include "grove/core/random.hpp"
#include "grove/rl/policy.hpp"
#include "grove/rl/preset.hpp"

namespace rl = grove::rl;

constexpr std::size_t rooms = 3, moves = 4, attempts = 16;
constexpr std::size_t door[rooms] = {2, 0, 3};  // the move that opens each room

struct decision {
    std::size_t room, move;
};

// One softmax distribution over moves per room. Log-probabilities out, their gradients in: that is
// all grove asks of a policy.
struct table_policy {
    std::vector<double> logits = std::vector<double>(rooms * moves);
    std::vector<double> gradient = std::vector<double>(rooms * moves);
    std::vector<decision> seen{};

    double probability(decision d) const {
        double sum = 0;
        for (std::size_t m = 0; m < moves; ++m) sum += std::exp(logits[d.room * moves + m]);
        return std::exp(logits[d.room * moves + d.move]) / sum;
    }
    rl::token_statistics<double> evaluate(std::vector<decision> const& input,
                                          rl::statistics_request) {
        seen = input;
        rl::token_statistics<double> now;
        for (decision d : input) now.log_probability.push_back(std::log(probability(d)));
        return now;
    }
    void backward(rl::token_statistics<double> const& slope) {
        for (std::size_t t = 0; t < seen.size(); ++t)
            for (std::size_t m = 0; m < moves; ++m)
                gradient[seen[t].room * moves + m] +=
                    slope.log_probability[t] *
                    ((m == seen[t].move) - probability({seen[t].room, m}));
    }
    void descend(double learning_rate) {
        for (std::size_t k = 0; k < logits.size(); ++k) logits[k] -= learning_rate * gradient[k];
        gradient.assign(gradient.size(), 0.0);
    }
};

int main() {
    table_policy policy;
    rl::grpo const objective{.kl_coefficient = 0};  // clipped at 0.2, without a reference model
    double expected = 0;
    for (std::uint32_t step = 0; step < 30; ++step) {
        // Rollout: a group of attempts at every room; a response is one token, the move.
        std::vector<decision> taken;
        std::vector<double> rewards;
        for (std::uint32_t i = 0; i < rooms * attempts; ++i) {
            decision d{i / attempts, 0};
            double u = grove::random_key{.seed = 1, .visit = step, .sample = i}.uniform<double>(0);
            while (d.move + 1 < moves && (u -= policy.probability(d)) > 0) ++d.move;
            taken.push_back(d);
            rewards.push_back(d.move == door[d.room] ? 1.0 : 0.0);
        }
        auto const old = policy.evaluate(taken, {}).log_probability;
        auto const groups = rl::equal_groups(rooms, attempts);
        auto const advantage = rl::advantages(objective.advantage, rewards, groups);
        auto const offsets = rl::equal_groups(rooms * attempts, 1);  // a token per response
        rl::token_batch<double> const batch{
            .old_log_probability = old, .advantage = advantage, .offsets = offsets};

        // Learn: two passes over the rollout; in the second the ratios differ from 1.
        rl::evaluation result;
        for (int pass = 0; pass < 2; ++pass) {
            result = rl::learn(policy, taken, batch, objective);
            policy.descend(1.0);
        }
        expected = 0;
        for (std::size_t r = 0; r < rooms; ++r)
            expected += policy.probability({r, door[r]}) / rooms;
        if (step % 5 == 4)
            std::printf("step %2u  expected reward %.3f  largest |ratio - 1| %.3f\n", step + 1,
                        expected, result.statistics.ratio_deviation);
    }
    return expected > 0.95 ? 0 : 1;
}
