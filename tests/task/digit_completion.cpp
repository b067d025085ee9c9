// SPDX-License-Identifier: Apache-2.0
#include "grove/task/digit_completion.hpp"

#include <doctest/doctest.h>

#include <numeric>
#include <set>

using namespace grove;

namespace {

using numbers = std::vector<float>;

problem asked(std::string const& question) {
    for (auto const& p : digit_completion{}.all())
        if (p.question == question) return p;
    return {"none", ""};
}

}  // namespace

TEST_CASE("digit_completion: the next terms, modulo the largest number") {
    CHECK(asked("4,7:9,3").answer == "1,4,7");
    CHECK(asked("0,0:9,2").answer == "0,0");
    CHECK(asked("8,7:9,4").answer == "6,5,4,3");
    CHECK(asked("2,5:9,0").answer.empty());
    CHECK(asked("9,3:9,2").answer == "6,0");  // 9 is 0 modulo 9
}

TEST_CASE("digit_completion: a thousand ways to ask 900 questions") {
    auto const every = digit_completion{}.all();
    CHECK(every.size() == 900);
    std::set<std::string> drawn;
    random_sequence random({.seed = 3});
    for (int i = 0; i < 20000; ++i) drawn.insert(digit_completion{}(random).question);
    CHECK(drawn.size() == 900);
    for (auto const& p : every) CHECK(drawn.contains(p.question));
}

TEST_CASE("digit_completion: tokens earn their share up to the first that is wrong") {
    auto const total = [](numbers const& x) { return std::accumulate(x.begin(), x.end(), 0.0f); };
    CHECK(digit_completion::rewards("1,4", true, "1,4") == numbers{0.25f, 0.25f, 0.25f, 0.25f});
    CHECK(digit_completion::rewards("1,4", false, "1,4") == numbers{0.25f, 0.25f, 0.25f});
    CHECK(digit_completion::rewards("1;4", true, "1,4") == numbers{0.25f, 0, 0, 0});
    CHECK(digit_completion::rewards("1,4,", true, "1,4") == numbers{0.25f, 0.25f, 0.25f, 0, 0});
    CHECK(digit_completion::rewards("1", true, "1,4") == numbers{0.25f, 0.25f});
    CHECK(digit_completion::rewards("", true, "") == numbers{1});
    CHECK(digit_completion::rewards("", true, "1") == numbers{0});
    CHECK(digit_completion::rewards("7", true, "") == numbers{0, 0});
    CHECK(digit_completion::rewards("", false, "").empty());
    // The floors that a learner must pass: to end at once, and to say the second term and end.
    float ended = 0, copied = 0;
    auto const every = digit_completion{}.all();
    for (auto const& p : every) {
        ended += total(digit_completion::rewards("", true, p.answer));
        copied += total(digit_completion::rewards(p.question.substr(2, 1), true, p.answer));
    }
    CHECK(ended / 900 == doctest::Approx(0.10));
    CHECK(copied / 900 < 0.3f);
}

TEST_CASE("digit_completion: settings outside digits are refused") {
    random_sequence random({.seed = 1});
    CHECK_THROWS_WITH_AS(digit_completion{.largest = 0}(random),
                         "[digit_completion] expected 1 ≤ largest ≤ 9 and digits, got 0, 9 and 9",
                         configuration_error);
    CHECK_THROWS_AS(digit_completion{.most_terms = 10}.all(), configuration_error);
}
