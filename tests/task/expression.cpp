// SPDX-License-Identifier: Apache-2.0
#include "grove/task/expression.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "grove/core/random.hpp"

using namespace grove;

TEST_CASE("evaluate_expression: exact values") {
    for (auto const& [text, expected] : {
             std::pair{"7", rational{7, 1}},
             {"007", {7, 1}},
             {"1+2*3", {7, 1}},
             {"(1+2)*3", {9, 1}},
             {"10-4-3", {3, 1}},
             {"100/10/5", {2, 1}},
             {"100/(10/5)", {50, 1}},
             {"2-5", {-3, 1}},
             {"1/3+1/6", {1, 2}},
             {"1/3*3", {1, 1}},
             {"6/(1-3/4)", {24, 1}},
             {"1/(2-5)", {-1, 3}},
             {"0/5", {0, 1}},
             {"0*(3-5)/(1-3)", {0, 1}},
             {"((((1))))", {1, 1}},
             {" ( 1 + 2 ) * 3 ", {9, 1}},
             {"999999999*999999999", {999999998000000001, 1}},
         }) {
        CAPTURE(text);
        auto const result = evaluate_expression(text);
        REQUIRE(result);
        CHECK(result->value == expected);
    }
}

TEST_CASE("evaluate_expression: the numbers as written") {
    CHECK(evaluate_expression("3*(25-03)/7")->numbers == std::vector<std::int64_t>{3, 25, 3, 7});
}

TEST_CASE("evaluate_expression: none for anything that is no expression") {
    for (auto const* text :
         {"",       " ",    "+",        "1+",  "+1",      "-1",  "*1",          "1*",        "1 2",
          "1+-2",   "1**2", "(",        ")",   "()",      "(1",  "1)",          "(1))",      "1(2)",
          "(1)(2)", "1.5",  "1,2",      "1e3", "x",       "1+x", "2^3",         "1=1",       "1//2",
          "\n1",    "1\t",  "\xC3\x97", "1/0", "1/(2-2)", "0/0", "1/(1/2-1/2)", "1000000000"}) {
        CAPTURE(text);
        CHECK_FALSE(evaluate_expression(text));
    }
    CHECK_FALSE(evaluate_expression("999999999*999999999*999999999"));
    CHECK_FALSE(evaluate_expression("1/999999999/999999999/999999999"));
    CHECK_FALSE(evaluate_expression(std::string_view("1\0+1", 4)));
    CHECK_FALSE(evaluate_expression(std::string_view("1\0", 2)));
}

TEST_CASE("evaluate_expression: the edge of 64 bits") {
    // 2^31 · 2^31 · 2 = 2^63 does not fit, nor does its negative, whose magnitude has no negative.
    std::string const two_31 = "(2*2*536870912)";
    CHECK(evaluate_expression(two_31 + '*' + two_31)->value == rational{4611686018427387904, 1});
    CHECK_FALSE(evaluate_expression(two_31 + '*' + two_31 + "*2"));
    CHECK_FALSE(evaluate_expression("(0-2)*" + two_31 + '*' + two_31));
    CHECK_FALSE(evaluate_expression("1/((0-2)*" + two_31 + '*' + two_31 + ')'));
}

TEST_CASE("evaluate_expression: depth and length are bounded") {
    auto const nested = [](std::size_t depth) {
        return std::string(depth, '(') + '1' + std::string(depth, ')');
    };
    CHECK(evaluate_expression(nested(16)));
    CHECK_FALSE(evaluate_expression(nested(17)));
    CHECK(evaluate_expression("(1)+(1)+" + nested(16)));
    CHECK_FALSE(evaluate_expression(nested(1'000'000)));
    std::string sum = "1";
    while (sum.size() < 255) sum += "+1";
    CHECK(evaluate_expression(sum + ' ')->value == rational{128, 1});
    CHECK_FALSE(evaluate_expression(sum + "  "));
}

TEST_CASE("evaluate_expression: random text never does harm") {
    constexpr std::string_view alphabet = "0123456789+-*/() ";
    random_sequence random({.seed = 4});
    int accepted = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string text;
        auto const length = random.integer(0, 12);
        for (std::int64_t i = 0; i < length; ++i) {
            text += alphabet[static_cast<std::size_t>(random.integer(0, 16))];
        }
        auto const result = evaluate_expression(text);
        if (!result) continue;
        ++accepted;
        CHECK(result->value.denominator > 0);
        CHECK_FALSE(result->numbers.empty());
        auto const same = evaluate_expression("1/2*((" + text + ") + (" + text + "))");
        REQUIRE(same);
        CHECK(same->value == result->value);
    }
    CHECK(accepted > 100);
}
