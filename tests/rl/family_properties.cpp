// SPDX-License-Identifier: Apache-2.0
// What must hold for every member of the family, and the traps of single ones.
#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/preset/nemo.hpp"
#include "grove/rl/preset/trl.hpp"
#include "grove/rl/preset/verl.hpp"
#include "recorded_batch.hpp"

using namespace grove;
using doctest::Approx;
using grove_test::random_batch;
using grove_test::recorded_batch;
using grove_test::varied_batch;

namespace {

struct token_advantage {
    static constexpr rl::level unit = rl::level::token;
};

template <class Objective>
void check_differences(Objective const& objective) {
    auto batch = varied_batch();
    batch.correction = {1, 0.5, 2, 1, 1, 0.25, 1, 0, 1, 1.5, 1, 1, 1};
    std::vector<double> gradient(13), ignored(13);
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

/// Micro-batches under common totals, masked numbers that are no numbers, and float against double.
template <class Objective>
void check_packing(Objective const& objective) {
    auto whole = random_batch<double>(7, 40, 11);
    whole.selected.assign(whole.log_probability.size(), 0);
    auto const all = rl::count(whole.view());
    std::vector<double> gradient(whole.log_probability.size()), joined;
    double const expected = rl::evaluate(objective, whole.view(), all, gradient).loss;
    double loss = 0;
    for (auto [first, last] : {std::pair{0, 2}, std::pair{2, 7}}) {
        recorded_batch<double> part;
        for (index_t i = first; i < last; ++i) part.append(whole, i);
        part.selected.assign(part.log_probability.size(), 0);
        std::vector<double> own(part.log_probability.size());
        loss += rl::evaluate(objective, part.view(), all, own).loss;
        joined.insert(joined.end(), own.begin(), own.end());
    }
    CHECK(loss == Approx(expected).epsilon(1e-12));
    CHECK(joined == gradient);
    auto const narrow = [](std::vector<double> const& x) {
        return std::vector<float>(x.begin(), x.end());
    };
    recorded_batch<float> const single{
        .log_probability = narrow(whole.log_probability),
        .old_log_probability = narrow(whole.old_log_probability),
        .reference_log_probability = narrow(whole.reference_log_probability),
        .advantage = narrow(whole.advantage),
        .offsets = whole.offsets,
        .mask = whole.mask,
        .selected = whole.selected};
    std::vector<float> rough(gradient.size());
    CHECK(rl::evaluate(objective, single.view(), all, rough).loss ==
          Approx(expected).epsilon(1e-4));
    for (std::size_t t = 0; t < rough.size(); ++t)
        CHECK(std::abs(static_cast<double>(rough[t]) - gradient[t]) <
              1e-4 * (0.01 + std::abs(gradient[t])));
}

template <class Ratio, class Surrogate, class Aggregation = rl::token_mean>
using with = rl::objective<rl::group_normalized, Ratio, Surrogate, rl::no_kl, Aggregation>;

}  // namespace

TEST_CASE("gradients agree with finite differences where nothing is stopped") {
    SUBCASE("dual_clipped") { check_differences(rl::verl_grpo()); }
    SUBCASE("two_sided") {
        check_differences(with<rl::token_ratio, rl::two_sided_clipped>{.surrogate = {.cap = 1.5}});
    }
    SUBCASE("soft_gate") { check_differences(rl::sapo{}); }
    SUBCASE("geometric") { check_differences(rl::gspo_objective{}); }
    SUBCASE("geometric_clipped") { check_differences(rl::verl_gmpo()); }
    SUBCASE("sequence with a limit") {
        check_differences(with<rl::sequence_ratio, rl::unclipped>{.ratio = {.limit = 0.4}});
    }
    SUBCASE("reinforce") { check_differences(rl::gpg{}); }
    SUBCASE("sequence reinforce") { check_differences(rl::rloo{}); }
    SUBCASE("direct_quadratic") { check_differences(rl::dro{}); }
    SUBCASE("clip_cov") { check_differences(rl::clip_cov{}); }
    SUBCASE("kl_cov") { check_differences(rl::kl_cov{}); }
    SUBCASE("constant_length") { check_differences(rl::dr_grpo{.aggregation = {100}}); }
    SUBCASE("importance-corrected divergence") {
        check_differences(
            rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped,
                          rl::importance_corrected<rl::k3>, rl::token_mean>{.kl_coefficient = 0.5});
    }
}

TEST_CASE("micro-batches, masks and precision") {
    SUBCASE("dr_grpo") { check_packing(rl::dr_grpo{.aggregation = {100}}); }
    SUBCASE("dapo") { check_packing(rl::dapo()); }
    SUBCASE("gspo") { check_packing(rl::gspo_objective{}); }
    SUBCASE("gspo token") { check_packing(rl::verl_gspo()); }
    SUBCASE("gmpo") { check_packing(rl::gmpo{}); }
    SUBCASE("cispo") { check_packing(rl::cispo{}); }
    SUBCASE("vespo") { check_packing(rl::vespo{}); }
    SUBCASE("dppo") { check_packing(rl::dppo_kl{}); }
    SUBCASE("clip_cov") { check_packing(rl::clip_cov{}); }
    SUBCASE("nemo") { check_packing(rl::nemo_grpo()); }
}

TEST_CASE("the token form of GSPO is GSPO where a response has one advantage") {
    auto const batch = varied_batch();
    std::vector<double> whole(13), token(13);
    with<rl::geometric_ratio, rl::clipped, rl::sequence_mean> const by_response;
    with<rl::geometric_token_ratio, rl::clipped, rl::sequence_mean> const by_token;
    CHECK(rl::evaluate(by_response, batch.view(), whole).loss ==
          Approx(rl::evaluate(by_token, batch.view(), token).loss).epsilon(1e-14));
    for (std::size_t t = 0; t < 13; ++t) CHECK(whole[t] == Approx(token[t]).epsilon(1e-14));
    CHECK_FALSE(decltype(by_token)::separable);
    CHECK(rl::dapo_objective::separable);
}

TEST_CASE("the token form of GSPO takes an advantage per token") {
    auto batch = varied_batch();
    batch.advantage.assign(13, 1.0);
    batch.advantage[7] = 3.0;
    rl::objective<token_advantage, rl::geometric_token_ratio, rl::unclipped, rl::no_kl,
                  rl::sequence_mean> const objective;
    std::vector<double> gradient(13);
    rl::evaluate(objective, batch.view(), gradient);
    CHECK(gradient[7] == Approx(3 * gradient[4]).epsilon(1e-14));
}

TEST_CASE(
    "a bounded log-ratio neither overflows nor has a gradient; an unbounded one is reported") {
    auto batch = varied_batch();
    batch.old_log_probability[3] = -800;
    std::vector<double> gradient(13);
    CHECK_THROWS_AS(rl::evaluate(rl::trl_grpo(), batch.view(), gradient), value_error);
    rl::evaluate(rl::verl_grpo(), batch.view(), gradient);
    CHECK(gradient[3] == 0.0);
}

TEST_CASE("the two readings of CISPO differ below the interval and above it") {
    rl::unit_numbers<double> const token{-0.5, 0.0, 0.0, 1.0};
    CHECK(rl::capped_score{}(0.1, token) == Approx(-0.05));
    CHECK(rl::clipped_score{}(0.1, token) == Approx(-0.4));
    CHECK(rl::capped_score{}(4.0, token) == Approx(-2.0));
    CHECK(rl::clipped_score{}(4.0, token) == Approx(-0.6));
}

TEST_CASE("two-sided and dual clips agree for negative advantages, and leave positive ones alone") {
    for (double r : {0.1, 0.9, 1.1, 2.9, 3.1, 50.0})
        for (double a : {-2.0, 0.0, 1.5}) {
            double const dual = rl::dual_clipped{.cap = 3}(r, a);
            CHECK(dual == Approx(rl::two_sided_clipped{.cap = 3}(r, a)));
            if (a >= 0) CHECK(dual == rl::clipped{}(r, a));
        }
    CHECK(rl::dual_clipped{}(50.0, -2.0) == -6.0);
}

TEST_CASE("limited k3 bounds a token that the reference finds absurd, in value and gradient") {
    using number = dual<double, 1>;
    auto const y = rl::limited_k3{}(number::variable(-40.0, 0), number(-0.1));
    CHECK(y.value == 10.0);
    CHECK(y.derivative[0] == 0.0);
    CHECK(rl::k3{}(-40.0, -0.1) > 1e17);
}

TEST_CASE("the constant of Dr. GRPO does not know the batch") {
    rl::totals const all{.sequences = 4, .tokens = 50};
    CHECK(rl::constant_length{8}(3, all) == rl::constant_length{8}(30, all));
    CHECK(rl::constant_length{8}(3, all) == 1.0 / 32);
    CHECK_THROWS_AS((rl::constant_length{0}(3, all)), configuration_error);
}

TEST_CASE("binary trust regions hold frequent tokens and free rare ones") {
    double const rare = std::log(0.0001), frequent = std::log(0.5);
    auto const weight = [](auto const& law, double old, double ratio, double a) {
        rl::unit_numbers<double> const token{old + std::log(ratio), std::log(ratio), 0.0, a};
        return law(ratio, token) / (a * token.log_probability);
    };
    auto const check = [&](auto const& law) {
        CHECK(weight(law, rare, 10, 1) == Approx(10));
        CHECK(weight(law, frequent, 1.9, 1) == 0.0);
        CHECK(weight(law, frequent, 0.1, 1) == Approx(0.1));
        CHECK(weight(law, frequent, 0.1, -1) == 0.0);
        CHECK(weight(law, frequent, 1.9, -1) == Approx(1.9));
        CHECK(weight(law, rare, 100, 1) == Approx(20));
    };
    check(rl::total_variation_trust{});
    check(rl::binary_kl_trust{});
}
