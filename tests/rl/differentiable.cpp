// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/differentiable.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/nn/parameter.hpp"
#include "grove/ops/token_statistics.hpp"
#include "grove/rl/preset.hpp"

using namespace grove;
using doctest::Approx;

namespace {

using numbers = std::vector<double>;
using actions = std::vector<std::int32_t>;

/// One softmax distribution over three actions, as a function of tensors. The forward function's
/// switches say what else it gives.
struct softmax_policy {
    eigen_backend backend{1};
    parameter<eigen_backend, double> logits{"logits",
                                            from_host(backend, {1, 3}, numbers{0.3, -0.2, 0.7})};
    bool with_entropy = true, with_auxiliary = false;

    auto make() {
        return rl::differentiable<double>(backend, [this](auto& on, actions const& input) {
            using on_type = std::remove_reference_t<decltype(on)>;
            auto const weight = lift(on, logits);
            auto const rows = gather_rows(weight, indices_from(on, actions(input.size(), 0)));
            auto const y = token_statistics(rows, indices_from(on, input));
            rl::policy_tensors<on_type, double> result{y[0]};
            if (with_entropy) result.entropy = y[1];
            if (with_auxiliary) result.auxiliary = sum(weight * weight);
            return result;
        });
    }
    numbers probabilities() const {
        auto const z = to_host(logits.value);
        double total = 0;
        for (double x : z) total += std::exp(x);
        numbers p;
        for (double x : z) p.push_back(std::exp(x) / total);
        return p;
    }
    double entropy() const {
        double h = 0;
        for (double p : probabilities()) h -= p * std::log(p);
        return h;
    }
};
using policy_type = decltype(std::declval<softmax_policy&>().make());
static_assert(rl::policy<policy_type, actions, double>);

actions const input{2, 0, 2, 1};
numbers const slope{0.5, -1.25, 2, 0.75}, entropy_slope{1, -0.5, 0.25, 3};

/// Σₜ slopeₜ (δ(k, aₜ) − pₖ) − Σₜ entropy_slopeₜ pₖ (log pₖ + H)
numbers gradient_by_hand(softmax_policy const& model, bool with_entropy) {
    auto const p = model.probabilities();
    numbers gradient(3);
    for (std::size_t k = 0; k < 3; ++k)
        for (std::size_t t = 0; t < input.size(); ++t) {
            gradient[k] += slope[t] * ((input[t] == static_cast<int>(k) ? 1 : 0) - p[k]);
            if (with_entropy)
                gradient[k] -= entropy_slope[t] * p[k] * (std::log(p[k]) + model.entropy());
        }
    return gradient;
}
void check_close(numbers const& got, numbers const& expected) {
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == Approx(expected[i]).epsilon(1e-12));
}

}  // namespace

TEST_CASE("a differentiable policy gives the statistics and gradients written by hand") {
    softmax_policy model;
    auto policy = model.make();
    auto const now = policy.evaluate(input, {.entropy = true});
    auto const p = model.probabilities();
    check_close(now.log_probability,
                {std::log(p[2]), std::log(p[0]), std::log(p[2]), std::log(p[1])});
    check_close(now.entropy, numbers(4, model.entropy()));
    CHECK(now.value.empty());

    policy.backward({.log_probability = slope});
    check_close(to_host(model.logits.gradient), gradient_by_hand(model, false));

    model.logits.clear_gradient();
    policy.evaluate(input, {.entropy = true});
    policy.backward({.log_probability = slope, .entropy = entropy_slope});
    check_close(to_host(model.logits.gradient), gradient_by_hand(model, true));

    auto const once = to_host(model.logits.gradient);
    policy.evaluate(input, {.entropy = true});
    policy.backward({.log_probability = slope, .entropy = entropy_slope});
    check_close(to_host(model.logits.gradient), {2 * once[0], 2 * once[1], 2 * once[2]});
}

TEST_CASE("an auxiliary loss is learned with weight one") {
    softmax_policy model;
    model.with_auxiliary = true;
    auto policy = model.make();
    policy.evaluate(input, {});
    policy.backward({.log_probability = slope});
    auto expected = gradient_by_hand(model, false);
    auto const z = to_host(model.logits.value);
    for (std::size_t k = 0; k < 3; ++k) expected[k] += 2 * z[k];
    check_close(to_host(model.logits.gradient), expected);
}

TEST_CASE("learn drives a differentiable policy") {
    softmax_policy model;
    auto policy = model.make();
    numbers const old{-1.1, -0.9, -0.8, -1.3}, advantage{1, -1, 0.5, -0.5};
    std::vector<index_t> const offsets{0, 1, 2, 3, 4};
    rl::token_batch<double> const batch{
        .old_log_probability = old, .advantage = advantage, .offsets = offsets};
    rl::grpo const objective{.surrogate = {10, 10}, .kl_coefficient = 0};
    rl::learn(policy, input, batch, objective);

    auto const p = model.probabilities();
    numbers expected(3);
    for (std::size_t t = 0; t < 4; ++t) {
        double const ratio = p[static_cast<std::size_t>(input[t])] / std::exp(old[t]);
        for (std::size_t k = 0; k < 3; ++k)
            expected[k] -= ratio * advantage[t] / 4 *
                           ((input[t] == static_cast<int>(k) ? 1 : 0) - p[k]);
    }
    check_close(to_host(model.logits.gradient), expected);
}

TEST_CASE("a differentiable policy says what it lacks") {
    softmax_policy model;
    auto policy = model.make();
    CHECK_THROWS_WITH_AS(policy.backward({.log_probability = slope}),
                         "[differentiable_policy] expected evaluate before backward, got neither "
                         "input nor tape", value_error);
    CHECK_THROWS_AS(policy.evaluate(input, {.value = true}), configuration_error);

    policy.evaluate(input, {});
    CHECK_THROWS_WITH_AS(policy.backward({.log_probability = {1, 2}}),
                         "[differentiable_policy] expected 4 gradients, got 2", shape_error);
    CHECK_THROWS_AS(policy.backward({.log_probability = slope, .value = slope}),
                    configuration_error);
    CHECK(model.logits.gradient.empty());

    policy.evaluate(input, {});
    policy.backward({.log_probability = slope});
    CHECK_THROWS_AS(policy.backward({.log_probability = slope}), value_error);

    model.with_entropy = false;
    CHECK(policy.evaluate(input, {}).entropy.empty());
    CHECK_THROWS_WITH_AS(policy.backward({.log_probability = slope, .entropy = entropy_slope}),
                         "[differentiable_policy] expected 0 gradients, got 4", shape_error);
    CHECK_THROWS_AS(policy.evaluate(input, {.entropy = true}), configuration_error);
    CHECK_THROWS_AS(policy.evaluate(actions{3}, {}), value_error);
}
