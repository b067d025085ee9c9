// SPDX-License-Identifier: Apache-2.0
#include "grove/eval/consensus.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace grove;
using answers = std::vector<std::optional<std::string>>;

TEST_CASE("consensus: the most frequent answer") {
    CHECK(consensus(answers{"1", "2", "2"}) == "2");
    CHECK(consensus(answers{"7"}) == "7");
    CHECK(consensus(answers{"a", "b", "c", "c", "b", "b"}) == "b");
}

TEST_CASE("consensus: ties go to the answer that appeared first") {
    CHECK(consensus(answers{"9", "1", "1", "9"}) == "9");
    CHECK(consensus(answers{"3", "1", "2"}) == "3");
    CHECK(consensus(answers{"3", "1", "2", "2", "1"}) == "1");
}

TEST_CASE("consensus: none does not vote, an empty answer does") {
    CHECK(consensus(answers{std::nullopt, std::nullopt, std::nullopt, "5"}) == "5");
    CHECK(consensus(answers{"5", "", ""}) == "");
    CHECK_FALSE(consensus(answers{std::nullopt}).has_value());
    CHECK_FALSE(consensus(answers{}).has_value());
}
