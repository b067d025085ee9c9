// SPDX-License-Identifier: Apache-2.0
#include "grove/text/template.hpp"

#include <doctest/doctest.h>

using namespace grove;

TEST_CASE("prompt_template: before, question, after") {
    CHECK(prompt_template{"a ", " z"}.render("m") == "a m z");
    CHECK(prompt_template{}.render("") == "");
}

TEST_CASE("r1_zero_compact: begin token, question, equals sign") {
    CHECK(r1_zero_compact().render("345+678") == "<begin>345+678=");
}

TEST_CASE("r1_zero_paper: the words of the paper's table 1") {
    CHECK(r1_zero_paper().render("prompt") ==
          "A conversation between User and Assistant. The user asks a question, and the Assistant "
          "solves it. The assistant first thinks about the reasoning process in the mind and then "
          "provides the user with the answer. The reasoning process and answer are enclosed within "
          "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning "
          "process here </think> <answer> answer here </answer>. User: prompt. Assistant:");
}
