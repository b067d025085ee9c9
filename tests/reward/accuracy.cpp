// SPDX-License-Identifier: Apache-2.0
#include "grove/reward/accuracy.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <utility>

#include "grove/reward/reward.hpp"

using namespace grove;

static_assert(reward<accuracy_reward<>>);
static_assert(verifier<exact_answer>);
static_assert(!verifier<std::string>);

TEST_CASE("normalized_answer: one spelling for equal answers") {
    for (auto const& [text, expected] : {
             std::pair{"7", "7"},
             {" 007\n", "7"},
             {"000", "0"},
             {"+7", "7"},
             {"-007", "-7"},
             {"-0", "0"},
             {"700", "700"},
             {"", ""},
             {"+", "+"},
             {"-", "-"},
             {"0x1F", "0x1F"},
             {"007.5", "007.5"},
             {" a  b ", "a  b"},
             {"1 2", "1 2"},
             {"--7", "--7"},
             {"0123456789012345678901234567890", "123456789012345678901234567890"},
         }) {
        CAPTURE(text);
        CHECK(normalized_answer(text) == expected);
    }
}

TEST_CASE("accuracy_reward: right, wrong, missing") {
    accuracy_reward const accuracy;
    CHECK(accuracy("q", "<think>1</think><answer>1023</answer>", "1023") == 1.0F);
    CHECK(accuracy("q", "<answer>\n01023 </answer>", " 1023") == 1.0F);
    CHECK(accuracy("q", "so <answer>1023</answer> it is", "1023") == 1.0F);
    CHECK(accuracy("q", "<answer>1022</answer>", "1023") == 0.0F);
    CHECK(accuracy("q", "1023", "1023") == 0.0F);
    CHECK(accuracy("q", "<answer></answer>", "1023") == 0.0F);
    CHECK(accuracy("q", "", "1023") == 0.0F);
    CHECK(accuracy("q", "<answer>1023</answer><answer>1023</answer>", "1023") == 0.0F);
}

TEST_CASE("accuracy_reward: none without a reference, which is not zero") {
    accuracy_reward const accuracy;
    CHECK_FALSE(accuracy("q", "<answer>1</answer>", "").has_value());
    CHECK_FALSE(accuracy("q", "", " \n").has_value());
}

TEST_CASE("accuracy_reward: a verifier gets the answer first, then the reference") {
    auto const is_prefix = [](std::string_view answer, std::string_view reference) {
        return reference.starts_with(answer);
    };
    accuracy_reward const accuracy{is_prefix};
    CHECK(accuracy("q", "<answer>10</answer>", "1023") == 1.0F);
    CHECK(accuracy("q", "<answer>1023</answer>", "10") == 0.0F);
}

TEST_CASE("accuracy_reward: what a verifier throws reaches the caller") {
    auto const broken = [](std::string_view, std::string_view) -> bool {
        throw std::runtime_error("broken");
    };
    accuracy_reward const accuracy{broken};
    CHECK_THROWS_WITH(accuracy("q", "<answer>1</answer>", "1"), "broken");
}
