// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/evaluate.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "../thrown.hpp"
#include "recorded_batch.hpp"

using namespace grove;
using doctest::Approx;
using grove_test::random_batch;
using grove_test::recorded_batch;
using grove_test::small_batch;

namespace {

/// A ratio per response beside a divergence per token: both levels at once.
using mixed =
    rl::objective<rl::group_normalized, rl::sequence_ratio, rl::clipped, rl::k3, rl::token_mean>;

/// A surrogate as a user would write it.
struct soft_gate {
    double temperature = 1.0;

    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        Number const gate = math::sigmoid(Number(temperature) * (ratio - Number(1)));
        return Number(4.0 / temperature) * gate * advantage;
    }
};
using soft =
    rl::objective<rl::group_normalized, rl::token_ratio, soft_gate, rl::k2, rl::token_mean>;

struct per_token_advantage {
    static constexpr rl::level unit = rl::level::token;
};
using per_token = rl::objective<per_token_advantage, rl::token_ratio, rl::clipped,
                                rl::sequence_kl<rl::k3>, rl::token_mean>;

template <class Objective>
void check_gradient(Objective const& objective) {
    auto batch = small_batch();
    std::vector<double> gradient(12), ignored(12);
    rl::evaluate(objective, batch.view(), gradient);
    for (std::size_t t = 0; t < gradient.size(); ++t) {
        CAPTURE(t);
        double const step = 1e-5, x = batch.log_probability[t];
        batch.log_probability[t] = x + step;
        double const above = rl::evaluate(objective, batch.view(), ignored).loss;
        batch.log_probability[t] = x - step;
        double const below = rl::evaluate(objective, batch.view(), ignored).loss;
        batch.log_probability[t] = x;
        CHECK(gradient[t] == Approx((above - below) / (2 * step)).epsilon(1e-7));
    }
}

void check_same(rl::evaluation const& a, rl::evaluation const& b) {
    CHECK(a.loss == Approx(b.loss).epsilon(1e-12));
    CHECK(a.statistics.tokens == b.statistics.tokens);
    CHECK(a.statistics.sequences == b.statistics.sequences);
    CHECK(a.statistics.ratio.value() == Approx(b.statistics.ratio.value()).epsilon(1e-12));
    CHECK(a.statistics.ratio_deviation == b.statistics.ratio_deviation);
    CHECK(a.statistics.kl.value() == Approx(b.statistics.kl.value()).epsilon(1e-12));
    CHECK(a.statistics.clipped_low.sum == b.statistics.clipped_low.sum);
    CHECK(a.statistics.clipped_high.sum == b.statistics.clipped_high.sum);
}

template <class Objective>
void check_micro_batches(Objective const& objective) {
    auto const whole = random_batch<double>(7, 40, 11);
    auto const all = rl::count(whole.view());
    std::vector<double> gradient(whole.log_probability.size()), joined;
    auto const expected = rl::evaluate(objective, whole.view(), all, gradient);
    rl::evaluation sum;
    for (auto [first, last] : {std::pair{0, 3}, std::pair{3, 4}, std::pair{4, 7}}) {
        recorded_batch<double> part;
        for (index_t i = first; i < last; ++i) part.append(whole, i);
        std::vector<double> own(part.log_probability.size());
        sum += rl::evaluate(objective, part.view(), all, own);
        joined.insert(joined.end(), own.begin(), own.end());
    }
    check_same(sum, expected);
    CHECK(joined == gradient);
}

}  // namespace

TEST_CASE("gradients agree with finite differences") {
    SUBCASE("grpo") { check_gradient(rl::grpo{.kl_coefficient = 0.5}); }
    SUBCASE("r1_paper") { check_gradient(rl::r1_paper()); }
    SUBCASE("r1_equation_1") { check_gradient(rl::r1_equation_1({.kl_coefficient = 0.5})); }
    SUBCASE("both levels") { check_gradient(mixed{.surrogate = {2, 2}, .kl_coefficient = 0.5}); }
    SUBCASE("a user's surrogate") { check_gradient(soft{.surrogate = {.temperature = 2}}); }
}

TEST_CASE_TEMPLATE("packs agree with a scalar loop", T, float, double) {
    auto const batch = random_batch<T>(9, 70, 3);
    auto const all = rl::count(batch.view());
    std::vector<T> packed(batch.log_probability.size()), scalar;
    auto const check = [&](auto const& objective) {
        double const tolerance = sizeof(T) == 4 ? 1e-6 : 1e-13;
        double const loss = rl::evaluate(objective, batch.view(), all, packed).loss;
        CHECK(std::abs(loss - grove_test::scalar_evaluate(objective, batch.view(), all, scalar)) <
              tolerance);
        for (std::size_t t = 0; t < scalar.size(); ++t) {
            CAPTURE(t);
            CHECK(std::abs(packed[t] - scalar[t]) <= tolerance * (1 + std::abs(scalar[t])));
        }
    };
    check(rl::grpo{.kl_coefficient = 0.1});
    check(rl::r1_paper());
    check(soft{});
}

TEST_CASE("float agrees with double for ratios of whole responses") {
    auto const batch = random_batch<float>(5, 30, 8);
    recorded_batch<double> wide;
    auto const widen = [](std::vector<float> const& x) {
        return std::vector<double>(x.begin(), x.end());
    };
    wide.log_probability = widen(batch.log_probability);
    wide.old_log_probability = widen(batch.old_log_probability);
    wide.reference_log_probability = widen(batch.reference_log_probability);
    wide.advantage = widen(batch.advantage);
    wide.offsets = batch.offsets;
    wide.mask = batch.mask;
    std::vector<float> narrow(batch.log_probability.size());
    std::vector<double> exact(narrow.size());
    auto const objective = rl::r1_equation_1();
    CHECK(rl::evaluate(objective, batch.view(), narrow).loss ==
          rl::evaluate(objective, wide.view(), exact).loss);
    for (std::size_t t = 0; t < exact.size(); ++t) CHECK(narrow[t] == static_cast<float>(exact[t]));
}

TEST_CASE("micro-batches under common totals add up to the whole") {
    SUBCASE("grpo") { check_micro_batches(rl::grpo{}); }
    SUBCASE("r1_paper") { check_micro_batches(rl::r1_paper()); }
    SUBCASE("r1_equation_1") { check_micro_batches(rl::r1_equation_1({.clip = 0.2})); }
    SUBCASE("both levels") { check_micro_batches(mixed{}); }
}

TEST_CASE("the order of the responses does not matter") {
    auto const batch = random_batch<double>(6, 40, 5);
    recorded_batch<double> reversed;
    for (index_t i = 5; i >= 0; --i) reversed.append(batch, i);
    std::vector<double> gradient(batch.log_probability.size()), other(gradient.size());
    check_same(rl::evaluate(rl::grpo{}, batch.view(), gradient),
               rl::evaluate(rl::grpo{}, reversed.view(), other));
    for (index_t i = 0; i < 6; ++i) {
        auto const size = batch.view().end(i) - batch.view().begin(i);
        for (index_t t = 0; t < size; ++t)
            CHECK(gradient[static_cast<std::size_t>(batch.view().begin(i) + t)] ==
                  other[static_cast<std::size_t>(reversed.view().begin(5 - i) + t)]);
    }
}

TEST_CASE("what stands where nothing counts leaks nowhere") {
    auto const check = [](auto const& objective) {
        auto batch = small_batch();
        std::vector<double> clean(12), poisoned(12);
        auto const expected = rl::evaluate(objective, batch.view(), clean);
        double const inf = std::numeric_limits<double>::infinity(),
                     nan = std::numeric_limits<double>::quiet_NaN();
        for (double bad : {nan, inf, -inf, 1e300}) {
            for (std::size_t t : {6u, 10u, 11u}) {
                batch.log_probability[t] = bad;
                batch.old_log_probability[t] = -bad;
                batch.reference_log_probability[t] = bad;
            }
            batch.advantage[4] = bad;
            auto const actual = rl::evaluate(objective, batch.view(), poisoned);
            CHECK(actual.loss == expected.loss);
            CHECK(actual.statistics.ratio_deviation == expected.statistics.ratio_deviation);
            CHECK(actual.statistics.kl.sum == expected.statistics.kl.sum);
            CHECK(actual.statistics.advantage.sum == expected.statistics.advantage.sum);
            CHECK(poisoned == clean);
            for (std::size_t t : {6u, 10u, 11u}) CHECK(poisoned[t] == 0.0);
        }
    };
    SUBCASE("tokens") { check(rl::grpo{}); }
    SUBCASE("responses") { check(rl::r1_equation_1()); }
    SUBCASE("both") { check(mixed{}); }
}

TEST_CASE_TEMPLATE("on policy the ratio is exactly 1", T, float, double) {
    auto batch = random_batch<T>(6, 50, 21);
    batch.old_log_probability = batch.log_probability;
    std::vector<T> gradient(batch.log_probability.size());
    auto const s = rl::evaluate(rl::grpo{}, batch.view(), gradient).statistics;
    CHECK(s.ratio_deviation == 0.0);
    CHECK(s.ratio.value() == 1.0);
    CHECK(s.clipped_low.sum + s.clipped_high.sum == 0.0);
}

TEST_CASE("a token's gradient does not depend on where it stands") {
    recorded_batch<float> batch;
    for (int t = 0; t < 37; ++t) {
        batch.log_probability.push_back(-0.7f);
        batch.old_log_probability.push_back(-0.61f);
        batch.reference_log_probability.push_back(-0.9f);
    }
    batch.advantage = {0.3f};
    batch.offsets = {0, 37};
    std::vector<float> gradient(37);
    rl::evaluate(rl::grpo{}, batch.view(), gradient);
    for (float g : gradient) CHECK(g == gradient[0]);
    CHECK(gradient[0] != 0.0f);
}

TEST_CASE("an advantage per token, and a divergence per response beside a ratio per token") {
    auto batch = small_batch();
    auto const expected_kl = [&] {
        std::vector<double> ignored(12);
        return rl::evaluate(rl::r1_equation_1(), batch.view(), ignored).statistics.kl.sum;
    }();
    std::vector<double> per_response(12), gradient(12);
    rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped, rl::no_kl,
                  rl::token_mean> const reference;
    auto const expected = rl::evaluate(reference, batch.view(), per_response);
    std::vector<double> spread;
    for (index_t i = 0; i < 5; ++i)
        spread.insert(spread.end(),
                      static_cast<std::size_t>(batch.view().end(i) - batch.view().begin(i)),
                      batch.advantage[static_cast<std::size_t>(i)]);
    batch.advantage = spread;
    auto const actual = rl::evaluate(per_token{.kl_coefficient = 0}, batch.view(), gradient);
    CHECK(actual.loss == Approx(expected.loss).epsilon(1e-14));
    CHECK(gradient == per_response);
    CHECK(actual.statistics.kl.sum == Approx(expected_kl).epsilon(1e-14));
    std::vector<double> with_kl(12);
    rl::evaluate(per_token{.kl_coefficient = 0.5}, batch.view(), with_kl);
    CHECK(with_kl[0] != gradient[0]);
    CHECK(with_kl[0] - gradient[0] == Approx(with_kl[1] - gradient[1]).epsilon(1e-12));
}

TEST_CASE("a batch in which nothing counts has no loss") {
    auto batch = small_batch();
    batch.mask.assign(12, 0);
    std::vector<double> gradient(12, 7.0);
    auto const result = rl::evaluate(rl::grpo{}, batch.view(), gradient);
    CHECK(result.loss == 0.0);
    CHECK(result.statistics.tokens == 0);
    CHECK(std::isnan(result.statistics.ratio.value()));
    CHECK(gradient == std::vector<double>(12, 0.0));
    recorded_batch<double> const none;
    CHECK(rl::evaluate(rl::grpo{}, none.view(), {}).loss == 0.0);
}

TEST_CASE("without a reference the divergence is unmeasured, and a coefficient is refused") {
    auto batch = small_batch();
    batch.reference_log_probability.clear();
    std::vector<double> gradient(12);
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(), gradient), shape_error);
    auto const s = rl::evaluate(rl::grpo{.kl_coefficient = 0}, batch.view(), gradient).statistics;
    CHECK(std::isnan(s.kl.value()));
    CHECK(rl::evaluate(rl::r1_equation_1({.kl_coefficient = 0}), batch.view(), gradient)
              .statistics.kl.count == 0);
}

TEST_CASE("arguments that do not fit together are refused") {
    auto batch = small_batch();
    std::vector<double> gradient(12), narrow(11);
    auto const all = rl::count(batch.view());
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(), narrow), shape_error);
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(),
                                 {.sequences = all.sequences - 1, .tokens = 99}, gradient),
                    value_error);
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(),
                                 {.sequences = 99, .tokens = all.tokens - 1}, gradient),
                    value_error);
    for (double beta : {-0.1, std::numeric_limits<double>::quiet_NaN()})
        CHECK_THROWS_AS(rl::evaluate(rl::grpo{.kl_coefficient = beta}, batch.view(), gradient),
                        configuration_error);
    rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped, rl::no_kl, rl::token_mean>
        without;
    without.kl_coefficient = 0.1;
    CHECK_THROWS_AS(rl::evaluate(without, batch.view(), gradient), configuration_error);
    CHECK_THROWS_AS(rl::evaluate(per_token{}, batch.view(), gradient), shape_error);
    batch.advantage.pop_back();
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(), gradient), shape_error);
    batch = small_batch();
    batch.log_probability.clear();
    CHECK_THROWS_AS(rl::evaluate(rl::grpo{}, batch.view(), gradient), shape_error);
}

TEST_CASE("a number that is not finite is named") {
    auto batch = small_batch();
    std::vector<double> gradient(12);
    double const inf = std::numeric_limits<double>::infinity();
    auto const message = [&](auto const& objective) {
        return grove_test::message_of<value_error>(
            [&] { rl::evaluate(objective, batch.view(), gradient); });
    };
    auto const both = [&](char const* part) {
        CHECK(message(rl::grpo{}).find(part) != std::string::npos);
        CHECK(message(rl::r1_equation_1()).find(part) != std::string::npos);
    };
    SUBCASE("log_probability") {
        batch.log_probability[5] = std::numeric_limits<double>::quiet_NaN();
        both("got nan in log_probability at 5 (response 2)");
    }
    SUBCASE("an infinity that would only make the ratio 0") {
        batch.old_log_probability[5] = inf;
        both("got inf in old_log_probability at 5");
    }
    SUBCASE("reference") {
        batch.reference_log_probability[9] = -inf;
        both("got -inf in reference_log_probability at 9");
    }
    SUBCASE("advantage") {
        batch.advantage[1] = inf;
        both("got inf in advantage at 1");
    }
    SUBCASE("overflow") {
        batch.old_log_probability[3] = -800;
        both("got an overflow in response 1");
    }
}
