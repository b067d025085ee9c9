// SPDX-License-Identifier: Apache-2.0
#include "grove/reward/sum.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "grove/reward/accuracy.hpp"
#include "grove/reward/format.hpp"

using namespace grove;

namespace {

struct fixed_reward {
    std::optional<float> value;
    std::optional<float> operator()(std::string_view, std::string_view, std::string_view) const {
        return value;
    }
};
fixed_reward const none{std::nullopt};
auto value_of(auto const& rule) { return rule("", "", ""); }

}  // namespace

TEST_CASE("weighted_sum: accuracy and format") {
    auto const rule = weighted_sum(accuracy_reward{}, 1.0F, format_reward{}, 0.25F);
    static_assert(reward<decltype(rule)>);
    CHECK(rule("q", "<think>1</think><answer>2</answer>", "2") == 1.25F);
    CHECK(rule("q", "<think>1</think><answer>3</answer>", "2") == 0.25F);
    CHECK(rule("q", "<answer>2</answer>", "2") == 1.0F);
    CHECK(rule("q", "2", "2") == 0.0F);
    CHECK(rule("q", "<think>1</think><answer>2</answer>", "") == 0.25F);

    auto const parts = rule.each("q", "<answer>2</answer>", "2");
    static_assert(parts.size() == 2);
    CHECK(parts[0] == 1.0F);
    CHECK(parts[1] == 0.0F);
}

TEST_CASE("weighted_sum: none adds nothing, and is not zero") {
    CHECK(value_of(weighted_sum(fixed_reward{2.0F}, 0.5F, none, 3.0F)) == 1.0F);
    CHECK(value_of(weighted_sum(none, 1.0F, fixed_reward{0.0F}, 1.0F)) == 0.0F);
    CHECK_FALSE(value_of(weighted_sum(none, 1.0F, none, 1.0F)).has_value());
}

TEST_CASE("weighted_sum: sums nest, weights may be negative or of any number type") {
    auto const inner = weighted_sum(fixed_reward{1.0F}, 2, fixed_reward{3.0F}, -1.0);
    CHECK(value_of(inner) == -1.0F);
    CHECK(value_of(weighted_sum(inner, 4.0F)) == -4.0F);
}

TEST_CASE("weighted_sum: weights and results that are no numbers") {
    float const nan = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(weighted_sum(none, 1.0F, none, nan),
                         "[weighted_sum] expected finite weights, got nan", value_error);
    auto const rule = weighted_sum(fixed_reward{1.0F}, 1.0F, fixed_reward{nan}, 0.0F);
    std::vector<std::string> const one{""};
    CHECK_THROWS_AS(score_batch(rule, one, one, one), value_error);
}
