// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/objective.hpp"

#include <doctest/doctest.h>

#include "grove/rl/preset.hpp"

using namespace grove;

namespace {

struct per_token_advantage {
    static constexpr rl::level unit = rl::level::token;
};
struct double_only {
    double operator()(double ratio, double advantage) const { return ratio * advantage; }
};

}  // namespace

TEST_CASE("slots accept what belongs in them and nothing else") {
    static_assert(rl::ratio_law<rl::token_ratio>);
    static_assert(!rl::ratio_law<rl::clipped>);
    static_assert(rl::surrogate_law<rl::clipped>);
    static_assert(!rl::surrogate_law<double_only>);
    static_assert(!rl::surrogate_law<rl::sequence_mean>);
    static_assert(rl::kl_law<rl::sequence_kl<rl::k3>>);
    static_assert(rl::kl_law<rl::no_kl>);
    static_assert(!rl::kl_law<rl::unclipped>);
    static_assert(rl::aggregation_law<rl::token_mean>);
    static_assert(!rl::aggregation_law<rl::clipped>);
    static_assert(rl::has_unit<rl::group_normalized>);
    static_assert(!rl::has_unit<rl::clipped>);
}

TEST_CASE("an advantage per token has no ratio per response") {
    static_assert(rl::levels_agree<per_token_advantage, rl::token_ratio>);
    static_assert(rl::levels_agree<rl::group_normalized, rl::sequence_ratio>);
    static_assert(!rl::levels_agree<per_token_advantage, rl::sequence_ratio>);
    static_assert(rl::levels_agree<per_token_advantage, rl::clipped>, "another sentence covers it");
}

TEST_CASE("an objective knows where its terms live") {
    static_assert(rl::grpo::separable);
    static_assert(rl::grpo::has_kl);
    static_assert(!rl::sequence_grpo::separable);
    static_assert(!rl::sequence_grpo::terms_at<rl::level::token>);
    using mixed = rl::objective<rl::group_normalized, rl::sequence_ratio, rl::clipped, rl::k3,
                                rl::token_mean>;
    static_assert(mixed::terms_at<rl::level::token> && mixed::terms_at<rl::level::sequence>);
    using plain = rl::objective<rl::group_normalized, rl::sequence_ratio, rl::clipped, rl::no_kl,
                                rl::token_mean>;
    static_assert(!plain::has_kl && !plain::terms_at<rl::level::token>);
    CHECK(plain{}.kl_coefficient == 0.0);
    CHECK(rl::grpo{}.kl_coefficient == 0.001);
}

TEST_CASE("terms of one unit, on scalars") {
    rl::unit_numbers<double> const unit{-1.0, 0.0, -1.4, 2.0};
    auto const t = rl::terms<rl::level::token>(rl::grpo{}, unit, true);
    CHECK(t.ratio == 1.0);
    CHECK(t.surrogate == 2.0);
    CHECK(t.kl == doctest::Approx(0.0703200460356393).epsilon(1e-13));
    CHECK(rl::terms<rl::level::token>(rl::grpo{}, unit, false).kl == 0.0);
    auto const elsewhere = rl::terms<rl::level::sequence>(rl::grpo{}, unit, true);
    CHECK(elsewhere.surrogate == 0.0);
    CHECK(elsewhere.kl == 0.0);
}
