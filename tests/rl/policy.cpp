// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/policy.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <span>

#include "recorded_batch.hpp"

using namespace grove;

namespace {

/// One softmax distribution over actions.
struct softmax_policy {
    std::vector<double> logits, gradient = std::vector<double>(logits.size());
    std::span<int const> actions{};

    double probability(std::size_t action) const {
        double sum = 0;
        for (double x : logits) sum += std::exp(x);
        return std::exp(logits[action]) / sum;
    }
    rl::token_statistics<double> evaluate(std::vector<int> const& input, rl::statistics_request) {
        actions = input;
        rl::token_statistics<double> now;
        for (int a : input)
            now.log_probability.push_back(std::log(probability(static_cast<std::size_t>(a))));
        return now;
    }
    void backward(rl::token_statistics<double> const& slope) {
        for (std::size_t t = 0; t < actions.size(); ++t)
            for (std::size_t k = 0; k < logits.size(); ++k)
                gradient[k] += slope.log_probability[t] *
                               ((static_cast<int>(k) == actions[t] ? 1.0 : 0.0) - probability(k));
    }
};
static_assert(rl::policy<softmax_policy, std::vector<int>, double>);
static_assert(!rl::policy<softmax_policy, std::vector<int>, float>);
static_assert(!rl::policy<int, std::vector<int>, double>);

/// One response of one token per action, sampled by `old`.
struct rollout {
    std::vector<int> actions;
    std::vector<double> old, advantage;
    std::vector<index_t> offsets{0};

    rl::token_batch<double> view() const {
        return {.old_log_probability = old, .advantage = advantage, .offsets = offsets};
    }
};

rollout sample(softmax_policy& policy, rl::grpo const& objective, std::uint32_t visit) {
    rollout result;
    std::vector<double> rewards;
    for (std::uint32_t i = 0; i < 32; ++i) {
        double u = random_key{.seed = 4, .visit = visit, .sample = i}.uniform<double>(0);
        int action = 0;
        while (action < 2 && (u -= policy.probability(static_cast<std::size_t>(action))) > 0)
            ++action;
        result.actions.push_back(action);
        rewards.push_back(action == 2 ? 1.0 : 0.0);
        result.offsets.push_back(i + 1);
    }
    result.old = policy.evaluate(result.actions, {}).log_probability;
    result.advantage = rl::advantages(objective.advantage, rewards, rl::equal_groups(4, 8));
    return result;
}

}  // namespace

TEST_CASE("learn adds the gradient of the loss by the parameters") {
    softmax_policy policy{.logits = {0.3, -0.2, 0.1}};
    rl::grpo const objective{.surrogate = {10, 10}, .kl_coefficient = 0};
    auto const recorded = sample(policy, objective, 0);
    policy.logits = {0.1, 0.2, -0.3};
    rl::totals const all{.sequences = 32, .tokens = 32};
    rl::learn(policy, recorded.actions, recorded.view(), objective, all);
    auto const gradient = policy.gradient;
    for (std::size_t k = 0; k < 3; ++k) {
        auto const loss = [&](double shift) {
            softmax_policy moved{.logits = policy.logits};
            moved.logits[k] += shift;
            return rl::learn(moved, recorded.actions, recorded.view(), objective, all).loss;
        };
        CHECK(gradient[k] == doctest::Approx((loss(1e-5) - loss(-1e-5)) / 2e-5).epsilon(1e-7));
    }
    rl::learn(policy, recorded.actions, recorded.view(), objective, all);
    for (std::size_t k = 0; k < 3; ++k)
        CHECK(policy.gradient[k] == doctest::Approx(2 * gradient[k]).epsilon(1e-12));
}

TEST_CASE("a hand-written policy learns a bandit with GRPO") {
    softmax_policy policy{.logits = {1.0, 1.0, 0.0}};
    rl::grpo const objective{.kl_coefficient = 0};
    double const before = policy.probability(2);
    for (std::uint32_t step = 0; step < 60; ++step) {
        auto const recorded = sample(policy, objective, step);
        for (int epoch = 0; epoch < 2; ++epoch) {
            policy.gradient.assign(3, 0.0);
            auto const result = rl::learn(policy, recorded.actions, recorded.view(), objective);
            if (epoch == 0) CHECK(result.statistics.ratio_deviation == 0.0);
            for (std::size_t k = 0; k < 3; ++k) policy.logits[k] -= 0.5 * policy.gradient[k];
        }
    }
    CHECK(before < 0.2);
    CHECK(policy.probability(2) > 0.95);
}

TEST_CASE("learn leaves the policy alone when the batch is bad") {
    softmax_policy policy{.logits = {0.0, 0.0, 0.0}};
    auto recorded = sample(policy, rl::grpo{}, 0);
    recorded.old.pop_back();
    CHECK_THROWS_AS(rl::learn(policy, recorded.actions, recorded.view(), rl::grpo{},
                              {.sequences = 32, .tokens = 32}),
                    shape_error);
    CHECK(policy.gradient == std::vector<double>(3, 0.0));
}
