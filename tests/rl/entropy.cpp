// SPDX-License-Identifier: Apache-2.0
// The divergence over the vocabulary and the entropy as terms of an objective, the controller of
// the latter, and the tokens and responses that do not learn. Golden values: Python, plain loops
// (the quantiles: numpy).
#include "grove/rl/entropy.hpp"

#include <doctest/doctest.h>

#include "golden.hpp"
#include "grove/rl/correction.hpp"
#include "grove/rl/describe.hpp"
#include "grove/rl/policy.hpp"

using namespace grove;
using namespace grove_test;

namespace {

using numbers = std::vector<double>;
using flags = std::vector<std::uint8_t>;
double const none = std::numeric_limits<double>::quiet_NaN();

using exact_kl = rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped,
                               rl::vocabulary_kl, rl::sequence_mean>;

/// small_batch with two more statistics; what does not count holds NaN.
struct observed_batch {
    recorded_batch<double> record = small_batch();
    numbers kl{0.05, 0.15, 0.25, 0.35, 0.05, 0.15, none, 0.35, 0.05, 0.15, none, none};
    numbers entropy{0.3, 0.65, 1.0, 0.58, 0.93, 0.51, none, 0.44, 0.79, 0.37, none, none};

    rl::token_batch<double> view() const {
        auto batch = record.view();
        batch.kl = kl;
        batch.entropy = entropy;
        return batch;
    }
};
/// Gives what it is told, and keeps the gradient that it gets.
struct recorded_policy {
    observed_batch const* recorded;
    rl::token_statistics<double> gradient{};
    rl::statistics_request asked{};

    rl::token_statistics<double> evaluate(int, rl::statistics_request request) {
        asked = request;
        rl::token_statistics<double> now{.log_probability = recorded->record.log_probability};
        if (request.entropy) now.entropy = recorded->entropy;
        if (request.kl) now.kl = recorded->kl;
        return now;
    }
    void backward(rl::token_statistics<double> const& slope) { gradient = slope; }
};

numbers const by_log_probability{-0.0,
                                 -0.09512294245007138,
                                 -0.10100501670841679,
                                 -0.0,
                                 0.03170764748335714,
                                 0.0522770728496723,
                                 0.0,
                                 0.0336683389028056,
                                 -0.11477265075301003,
                                 -0.0,
                                 0.0,
                                 0.0};
numbers const by_kl{0.008333333333333333,
                    0.008333333333333333,
                    0.008333333333333333,
                    0.025,
                    0.008333333333333333,
                    0.008333333333333333,
                    0.0,
                    0.008333333333333333,
                    0.0125,
                    0.0125,
                    0.0,
                    0.0};

}  // namespace

TEST_CASE("vocabulary_kl and entropy: golden loss and gradients by each statistic") {
    observed_batch const batch;
    exact_kl const objective{.kl_coefficient = 0.1, .entropy_coefficient = 0.02};
    numbers slope(12, -1.0), kl_slope(12, -1.0), entropy_slope(12, -1.0);
    auto const result = rl::evaluate(objective, batch.view(), rl::count(batch.view()),
                                     {slope, kl_slope, entropy_slope});
    check_near(result.loss, -0.30084755067566327, slope, by_log_probability);
    check_near(result.loss, -0.30084755067566327, kl_slope, by_kl);
    numbers by_entropy;
    for (double g : by_kl) by_entropy.push_back(-0.2 * g);
    check_near(result.loss, -0.30084755067566327, entropy_slope, by_entropy);
    CHECK(result.statistics.kl.value() == doctest::Approx(1.55 / 9));
    CHECK(result.statistics.kl.count == 9);
}

TEST_CASE("entropy can be punished, under any aggregation, without any divergence") {
    observed_batch const batch;
    rl::dapo_objective const objective{.entropy_coefficient = -0.5};
    numbers slope(12), entropy_slope(12);
    auto const result =
        rl::evaluate(objective, batch.view(), rl::count(batch.view()), {slope, {}, entropy_slope});
    CHECK(result.loss == doctest::Approx(-0.11498666723287979).epsilon(1e-13));
    for (std::size_t t = 0; t < 12; ++t)
        CHECK(entropy_slope[t] ==
              (batch.record.mask[t] ? doctest::Approx(0.05555555555555555) : doctest::Approx(0.0)));
}

TEST_CASE("entropy and divergence reach objectives over whole responses") {
    observed_batch const batch;
    rl::objective<rl::group_normalized, rl::geometric_ratio, rl::clipped, rl::vocabulary_kl,
                  rl::sequence_mean> const objective{.kl_coefficient = 0.1,
                                                     .entropy_coefficient = 0.02};
    auto const bare = rl::gspo_objective{};
    numbers slope(12), kl_slope(12), entropy_slope(12), other(12);
    double const loss = rl::evaluate(objective, batch.view(), rl::count(batch.view()),
                                     {slope, kl_slope, entropy_slope})
                            .loss;
    double const without = rl::evaluate(bare, batch.view(), other).loss;
    double terms = 0;
    for (std::size_t t = 0; t < 12; ++t)
        if (batch.record.mask[t])
            terms += by_kl[t] * batch.kl[t] - 0.2 * by_kl[t] * batch.entropy[t];
    CHECK(loss - without == doctest::Approx(terms));
    CHECK(slope == other);
    check_near(loss, loss, kl_slope, by_kl);
}

TEST_CASE("learn asks the policy for what the objective reads, and hands each gradient back") {
    observed_batch const batch;
    recorded_policy policy{&batch};
    auto record = batch.record.view();
    record.log_probability = {};
    rl::learn(policy, 0, record, rl::grpo{.kl_coefficient = 0});
    CHECK_FALSE(policy.asked.entropy);
    CHECK_FALSE(policy.asked.kl);
    CHECK(policy.gradient.entropy.empty());
    rl::learn(policy, 0, record, exact_kl{.kl_coefficient = 0.1, .entropy_coefficient = 0.02});
    CHECK(policy.asked.entropy);
    CHECK(policy.asked.kl);
    check_near(0, 0, policy.gradient.log_probability, by_log_probability);
    check_near(0, 0, policy.gradient.kl, by_kl);
    CHECK(policy.gradient.entropy.size() == 12);
    rl::learn(policy, 0, record, exact_kl{.kl_coefficient = 0});
    CHECK_FALSE(policy.asked.kl);
    CHECK(policy.gradient.kl.empty());
}

TEST_CASE("statistics that are missing, or have no place for their gradient, are refused") {
    observed_batch batch;
    numbers slope(12), other(12);
    auto const all = rl::count(batch.view());
    exact_kl const exact{.kl_coefficient = 0.1};
    rl::grpo const rewarded{.kl_coefficient = 0, .entropy_coefficient = 0.1};
    CHECK_THROWS_AS(rl::evaluate(exact, batch.view(), slope), shape_error);
    CHECK_THROWS_AS(rl::evaluate(rewarded, batch.view(), slope), shape_error);
    CHECK_THROWS_AS(rl::evaluate(exact, batch.record.view(), all, {slope, other, {}}), shape_error);
    CHECK_THROWS_AS(rl::evaluate(rewarded, batch.record.view(), all, {slope, {}, other}),
                    shape_error);
    CHECK_THROWS_AS(
        rl::evaluate(rl::grpo{.kl_coefficient = 0}, batch.view(), all, {slope, other, {}}),
        shape_error);
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{.kl_coefficient = 0, .entropy_coefficient = none},
                                 batch.view(), all, {slope, {}, other}),
                    configuration_error);
    batch.entropy[4] = none;
    CHECK_THROWS_WITH_AS(rl::evaluate(rewarded, batch.view(), all, {slope, {}, other}),
                         "[evaluate] expected finite numbers, got nan in entropy at 4 (response 2)",
                         value_error);
    batch.entropy[4] = 0.93;
    batch.kl[7] = std::numeric_limits<double>::infinity();
    CHECK_THROWS_WITH_AS(rl::evaluate(exact, batch.view(), all, {slope, other, {}}),
                         "[evaluate] expected finite numbers, got inf in kl at 7 (response 2)",
                         value_error);
}

TEST_CASE("describe names the divergence over the vocabulary and the reward of entropy") {
    CHECK(rl::describe(exact_kl{.kl_coefficient = 0.1, .entropy_coefficient = 0.02}) ==
          "J = Σ 1/(S·|o|)·(min(r·A, clip(r, 0.8, 1.2)·A) − 0.1·kl + 0.02·H)\n"
          "r = exp(log π − log π_old), per token\n"
          "A = (R − mean_group) / (std_group + 0), per response\n"
          "kl = Σᵥ π(v)·(log π(v) − log π_ref(v)) over the vocabulary, per token\n");
    CHECK(rl::describe(rl::dapo_objective{.entropy_coefficient = -0.5})
              .starts_with("J = Σ 1/N·(min(r·A, clip(r, 0.8, 1.2)·A) − 0.5·H)\n"));
}

TEST_CASE("adaptive_entropy moves by its step, within its range, and rests above the target") {
    rl::adaptive_entropy controller{.target = 0.2, .step = 0.005, .highest = 0.012};
    CHECK(controller.coefficient() == 0.0);
    controller.update(0.15);
    CHECK(controller.coefficient() == doctest::Approx(0.005));
    controller.update(0.1);
    controller.update(0.1);
    CHECK(controller.coefficient() == doctest::Approx(0.012));
    controller.update(0.3);
    CHECK(controller.value == doctest::Approx(0.007));
    CHECK(controller.coefficient() == 0.0);
    controller.update(0.2);
    CHECK(controller.coefficient() == doctest::Approx(0.007));
    controller.update(0.5);
    controller.update(0.5);
    CHECK(controller.value == 0.0);
    CHECK_THROWS_AS(controller.update(none), value_error);
    CHECK_THROWS_AS((rl::adaptive_entropy{.lowest = 2}.update(0.1)), configuration_error);
    CHECK_THROWS_AS((rl::adaptive_entropy{.step = -1}.update(0.1)), configuration_error);
}

TEST_CASE("top_entropy keeps the tokens above the quantile, and what does not count") {
    observed_batch const batch;
    auto const keep = [&](double share) {
        return rl::top_entropy{share}(std::span<double const>(batch.entropy), batch.record.mask);
    };
    CHECK(keep(0.2) == numbers{0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1});
    CHECK(keep(0.5) == numbers{0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1});
    CHECK(keep(1.0) == numbers(12, 1));
    CHECK(rl::top_entropy{}(std::span<double const>{}).empty());
    for (double share : {0.0, 1.1, none}) CHECK_THROWS_AS(keep(share), configuration_error);
    CHECK_THROWS_AS(rl::top_entropy{}(std::span<double const>(batch.entropy)), value_error);
    CHECK_THROWS_AS(
        rl::top_entropy{}(std::span<double const>(batch.entropy).first(3), batch.record.mask),
        shape_error);
}

TEST_CASE("top_entropy silences the surrogate alone: tokens still count, the divergence holds") {
    auto batch = small_batch();
    numbers const entropy{0.3, 0.65, 1.0, 0.58, 0.93, 0.51, 0.86, 0.44, 0.79, 0.37, 0.72, 0.3};
    batch.correction = rl::top_entropy{0.2}(std::span<double const>(entropy), batch.mask);
    numbers slope(12), full(12);
    rl::grpo const objective{.kl_coefficient = 0};
    rl::evaluate(objective, batch.view(), slope);
    rl::evaluate(objective, small_batch().view(), full);
    for (std::size_t t = 0; t < 12; ++t) CHECK(slope[t] == full[t] * batch.correction[t]);
    rl::evaluate(rl::grpo{.kl_coefficient = 0.5}, batch.view(), slope);
    CHECK(slope[0] != 0.0);
}

TEST_CASE("off_policy_mask drops bad responses that the policy has left, and only these") {
    // mean drift of the responses: −0.087, 0.4, −0.137, −0.185; advantages 1.2, −0.7, −0.4, 0.9
    auto const factors = [](double threshold, double second = -0.7) {
        auto batch = small_batch();
        batch.old_log_probability[3] = -1.70;
        batch.log_probability[3] = -2.10;
        batch.advantage[1] = second;
        numbers result(12, 2.0);
        rl::off_policy_mask{threshold}(batch.view(), std::span<double>(result));
        return result;
    };
    CHECK(factors(0.5) == numbers(12, 2.0));
    CHECK(factors(0.3) == numbers{2, 2, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2});
    CHECK(factors(0.3, 0.0) == numbers(12, 2.0));
    CHECK(factors(-0.2) == numbers{2, 2, 2, 0, 0, 0, 2, 0, 2, 2, 2, 2});
    auto bad = small_batch();
    numbers result(12, 1.0);
    bad.log_probability[0] = none;
    CHECK_THROWS_AS(rl::off_policy_mask{}(bad.view(), std::span<double>(result)), value_error);
    bad = small_batch();
    bad.advantage.pop_back();
    CHECK_THROWS_AS(rl::off_policy_mask{}(bad.view(), std::span<double>(result)), shape_error);
    CHECK_THROWS_AS(rl::off_policy_mask{}(small_batch().view(), std::span(result).first(3)),
                    shape_error);
}
