// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/describe.hpp"

#include <doctest/doctest.h>

#include "grove/rl/preset/nemo.hpp"
#include "grove/rl/preset/openrlhf.hpp"
#include "grove/rl/preset/trl.hpp"
#include "grove/rl/preset/verl.hpp"

using namespace grove;

namespace {

struct mine {
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return ratio * advantage;
    }
};

bool says(std::string const& text, char const* part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("describe prints the formula with its settings") {
    CHECK(rl::describe(rl::grpo{}) ==
          "J = Σ 1/(S·|o|)·(min(r·A, clip(r, 0.8, 1.2)·A) − 0.001·kl)\n"
          "r = exp(log π − log π_old), per token\n"
          "A = (R − mean_group) / (std_group + 0), per response\n"
          "kl = exp(d) − d − 1, d = log π_ref − log π, per token\n");
    CHECK(rl::describe(rl::gspo()) ==
          "J = Σ 1/(S·|o|)·(min(r·A, clip(r, 0.9997, 1.0004)·A))\n"
          "r = exp(Σₜ (log π − log π_old) / |o|), per response\n"
          "A = (R − mean_group) / (std_group + 0), per response\n");
}

TEST_CASE("what peers mean by one name is told apart") {
    CHECK(says(rl::describe(rl::trl_cispo()), "sg(min(r, 5))·A·log π"));
    CHECK(says(rl::describe(rl::verl_cispo()), "sg(clip(r, 0.8, 1.2))·A·log π"));
    CHECK(says(rl::describe(rl::trl_grpo()), "(std_group + 0.0001)"));
    CHECK(says(rl::describe(rl::verl_grpo()), "(std_group + 1e-06)"));
    CHECK(says(rl::describe(rl::openrlhf_group_norm()), "(std_group + 1e-09)"));
    CHECK(says(rl::describe(rl::nemo_grpo()), "(R − mean_others) / (std_others + 1e-06)"));
    CHECK(says(rl::describe(rl::verl_grpo()), "clamp(log π − log π_old, ±20)"));
    CHECK(says(rl::describe(rl::nemo_grpo()), "− 0.01·kl"));
    CHECK_FALSE(says(rl::describe(rl::trl_grpo()), "kl"));
}

TEST_CASE("every named algorithm describes each slot") {
    auto const complete = [](std::string const& text) {
        CAPTURE(text);
        CHECK(says(text, "J = Σ 1/"));
        for (char const* name : {"surrogate(r, A)", "ratio(", "advantage(R)", "weight("})
            CHECK_FALSE(says(text, name));
    };
    complete(rl::describe(rl::dr_grpo{.aggregation = {100}}));
    complete(rl::describe(rl::gmpo{}));
    complete(rl::describe(rl::sapo{}));
    complete(rl::describe(rl::vespo{}));
    complete(rl::describe(rl::trl_vespo()));
    complete(rl::describe(rl::rloo{}));
    complete(rl::describe(rl::gpg{}));
    complete(rl::describe(rl::opo{}));
    complete(rl::describe(rl::remax{}));
    complete(rl::describe(rl::ppo{.advantage = {.length_scale = 0.05}}));
    complete(rl::describe(rl::reinforce_plus_plus{}));
    complete(rl::describe(rl::reinforce_plus_plus_baseline{}));
    complete(rl::describe(rl::pass_at_k_grpo{}));
    complete(rl::describe(rl::gdpo{}));
    complete(rl::describe(rl::clip_cov{}));
    complete(rl::describe(rl::kl_cov{}));
    complete(rl::describe(rl::dppo_tv{}));
    complete(rl::describe(rl::dppo_kl{}));
    complete(rl::describe(rl::dro{}));
    complete(rl::describe(rl::policy_distillation{.advantage = {.discount = 0.5}}));
    complete(rl::describe(rl::verl_gspo()));
}

TEST_CASE("a law without a formula is named by its slot") {
    rl::objective<rl::group_normalized, rl::token_ratio, mine, rl::no_kl, rl::token_mean> const own;
    CHECK(says(rl::describe(own), "J = Σ 1/N·(surrogate(r, A))"));
}
