// SPDX-License-Identifier: Apache-2.0
// What the two units of this program share: a policy of its own, and one counter.
#pragma once

#include <grove/grove.hpp>

// One for the whole program, however many units include this header.
inline int& backward_calls() {
    static int calls = 0;
    return calls;
}

// A coin that learns its bias: P(heads) = sigmoid(logit).
struct coin_policy {
    double logit = 0;
    double gradient = 0;
    std::vector<bool> seen{};

    double heads() const { return grove::math::sigmoid(logit); }
    grove::rl::token_statistics<double> evaluate(std::vector<bool> const& input,
                                                 grove::rl::statistics_request) {
        seen = input;
        grove::rl::token_statistics<double> now;
        for (bool head : seen)
            now.log_probability.push_back(std::log(head ? heads() : 1 - heads()));
        return now;
    }
    void backward(grove::rl::token_statistics<double> const& slope) {
        ++backward_calls();
        for (std::size_t t = 0; t < seen.size(); ++t)
            gradient += slope.log_probability[t] * ((seen[t] ? 1.0 : 0.0) - heads());
    }
};

// P(heads) after `steps` of GRPO, where heads are rewarded.
double heads_after(int steps);
