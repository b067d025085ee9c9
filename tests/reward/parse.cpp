// SPDX-License-Identifier: Apache-2.0
#include "grove/reward/parse.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace grove;

TEST_CASE("trimmed") {
    CHECK(trimmed(" \t\n a b\r\f\v") == "a b");
    CHECK(trimmed("") == "");
    CHECK(trimmed(" \n ") == "");
}

TEST_CASE("parse_think_answer: the parts of a well-formed completion") {
    auto const parts = parse_think_answer("<think>1+1=2;</think><answer>2</answer>");
    REQUIRE(parts);
    CHECK(parts->think == "1+1=2;");
    CHECK(parts->answer == "2");

    auto const spaced = parse_think_answer("\n<think>\n a \n</think>\n\n<answer> 2 \n</answer>\n");
    REQUIRE(spaced);
    CHECK(spaced->think == "a");
    CHECK(spaced->answer == "2");

    auto const empty_think = parse_think_answer("<think></think><answer>2</answer>");
    REQUIRE(empty_think);
    CHECK(empty_think->think == "");
}

TEST_CASE("parse_think_answer: everything else is refused") {
    for (auto const* text : {
             "",
             "2",
             "<think>1</think>",
             "<answer>2</answer>",
             "<think>1</think><answer></answer>",
             "<think>1</think><answer> \n</answer>",
             "<think>1</think><answer>2",
             "<think>1<answer>2</answer>",
             "1</think><answer>2</answer>",
             "<think>1</think>2</answer>",
             "<answer>2</answer><think>1</think>",
             "x<think>1</think><answer>2</answer>",
             "<think>1</think>x<answer>2</answer>",
             "<think>1</think><answer>2</answer>x",
             "<think>1</think><answer>2</answer><answer>2</answer>",
             "<think>1</think><think>1</think><answer>2</answer>",
             "<think><think>1</think></think><answer>2</answer>",
             "<think>1<answer>2</answer></think>",
             "<think>1</think><answer><answer>2</answer></answer>",
             "<think>1</think><answer><think>2</answer>",
             "<think>1</think><answer>2</think></answer>",
             "<think><answer>1</think><answer>2</answer>",
             "<think>1</think><answer>2</answer><think>",
             "</think>1<think><answer>2</answer>",
             "<think>1</think></answer>2<answer>",
             "<Think>1</Think><Answer>2</Answer>",
         }) {
        CAPTURE(text);
        CHECK_FALSE(parse_think_answer(text));
    }
}

TEST_CASE("parse_answer: one answer block, whatever stands around it") {
    CHECK(parse_answer("<answer> 12 </answer>") == "12");
    CHECK(parse_answer("so<answer>12</answer>there") == "12");
    CHECK(parse_answer("<think>1</think><answer>12</answer>") == "12");
    for (auto const* text :
         {"", "12", "<answer>", "</answer>", "<answer></answer>", "<answer> </answer>",
          "</answer>12<answer>13", "<answer>1</answer><answer>1</answer>",
          "<answer><answer>1</answer>", "<answer>1</answer></answer>"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_answer(text));
    }
}

TEST_CASE("parsing survives cuts, repeats and stray bytes") {
    std::string const whole = "<think>1</think><answer>2</answer>";
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CHECK_FALSE(parse_think_answer(whole.substr(0, length)));
        CHECK_FALSE(parse_think_answer(whole.substr(length + 1)));
    }
    std::string hostile;
    for (int i = 0; i < 100'000; ++i) hostile += "<<think><answer>\xFF";
    CHECK_FALSE(parse_think_answer(hostile));
    CHECK_FALSE(parse_answer(hostile));
    std::string_view const bytes("\0\xFF", 2);
    auto const quoted = "<answer>" + std::string(bytes) + "</answer>";
    auto const binary = parse_answer(quoted);
    REQUIRE(binary);
    CHECK(*binary == bytes);
}
