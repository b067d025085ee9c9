// SPDX-License-Identifier: Apache-2.0
#include "grove/reward/reward.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace grove;
using texts = std::vector<std::string>;

namespace {

struct length_reward {
    double operator()(std::string_view, std::string_view completion, std::string_view) const {
        return static_cast<double>(completion.size());
    }
};
struct two_arguments {
    float operator()(std::string_view, std::string_view) const { return 0.0F; }
};
struct text_result {
    std::string operator()(std::string_view, std::string_view, std::string_view) const {
        return "";
    }
};
static_assert(reward<length_reward>);
static_assert(!reward<two_arguments>);
static_assert(!reward<text_result>);
static_assert(!reward<int>);

}  // namespace

TEST_CASE("score_batch: prompt, completion, reference, in this order; none stays none") {
    auto const rule = [](std::string_view prompt, std::string_view completion,
                         std::string_view reference) -> std::optional<float> {
        CHECK(prompt.starts_with('p'));
        CHECK(reference.starts_with('r'));
        if (completion == "skip") return std::nullopt;
        return completion == "zero" ? 0.0F : 0.5F;
    };
    auto const rewards = score_batch(rule, texts{"p1", "p2", "p3"}, texts{"x", "skip", "zero"},
                                     texts{"r1", "r2", "r3"});
    REQUIRE(rewards.size() == 3);
    CHECK(rewards[0] == 0.5F);
    CHECK_FALSE(rewards[1].has_value());
    CHECK(rewards[2] == 0.0F);
    CHECK(score_batch(rule, texts{}, texts{}, texts{}).empty());
}

TEST_CASE("score_batch: any function of three texts that gives a number will do") {
    CHECK(score_batch(length_reward{}, texts{""}, texts{"four"}, texts{""})[0] == 4.0F);
}

TEST_CASE("score_batch: a reward that is no number is refused") {
    for (float const bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
        auto const rule = [bad](std::string_view, std::string_view completion, std::string_view) {
            return completion == "bad" ? bad : 1.0F;
        };
        texts const empty{"", ""};
        CHECK_THROWS_AS(score_batch(rule, empty, texts{"good", "bad"}, empty), value_error);
        CHECK_NOTHROW(score_batch(rule, empty, texts{"good", "good"}, empty));
    }
    auto const infinite = [](std::string_view, std::string_view, std::string_view) {
        return std::numeric_limits<float>::infinity();
    };
    CHECK_THROWS_WITH(score_batch(infinite, texts{""}, texts{""}, texts{""}),
                      "[score_batch] expected a finite reward or none, got inf for sample 0");
}

TEST_CASE("score_batch: lengths must agree") {
    CHECK_THROWS_AS(score_batch(length_reward{}, texts{"a"}, texts{"a", "b"}, texts{"a", "b"}),
                    shape_error);
    CHECK_THROWS_AS(score_batch(length_reward{}, texts{"a", "b"}, texts{"a", "b"}, texts{"a"}),
                    shape_error);
}
