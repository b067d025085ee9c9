// SPDX-License-Identifier: Apache-2.0
#include "grove/task/addition.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <vector>

using namespace grove;

namespace {

/// The sum of a `+`-separated list, read the plain way.
std::int64_t plain_sum(std::string const& question) {
    std::istringstream in(question);
    std::int64_t sum = 0, number = 0;
    char plus = '+';
    while (in >> number) {
        sum += number;
        in >> plus;
    }
    return sum;
}

/// Every step `a+b+carry=sum;` as its right-hand side minus its left-hand side.
std::vector<int> step_errors(std::string const& steps) {
    std::vector<int> errors;
    std::istringstream in(steps);
    for (std::string step; std::getline(in, step, ';');) {
        auto const equals = step.find('=');
        errors.push_back(std::stoi(step.substr(equals + 1)) -
                         static_cast<int>(plain_sum(step.substr(0, equals))));
    }
    return errors;
}

}  // namespace

TEST_CASE("addition: questions of fixed length with right answers") {
    for (auto const& task : {addition{}, addition{.digits = 1}, addition{.digits = 15},
                             addition{.digits = 2, .terms = 9}}) {
        random_sequence random({.seed = 5});
        for (int i = 0; i < 300; ++i) {
            auto const drawn = task(random);
            CHECK(drawn.question.size() ==
                  static_cast<std::size_t>(task.terms * (task.digits + 1) - 1));
            CHECK(drawn.answer == std::to_string(plain_sum(drawn.question)));
            CHECK(drawn.question.find_first_not_of(addition::alphabet) == std::string::npos);
        }
    }
}

TEST_CASE("addition::worked: one step per column, the carry goes on") {
    CHECK(addition{}.worked({"345+678", "1023"}) ==
          worked_solution{"5+8+0=13;4+7+1=12;3+6+1=10;", "1023"});
    CHECK(addition{}.worked({"111+222", "333"}) ==
          worked_solution{"1+2+0=3;1+2+0=3;1+2+0=3;", "333"});
    CHECK(addition{.digits = 2, .terms = 4}.worked({"99+98+97+96", "390"}) ==
          worked_solution{"9+8+7+6+0=30;9+9+9+9+3=39;", "390"});
    CHECK(addition{.digits = 1}.worked({"0+0", "0"}) == worked_solution{"0+0+0=0;", "0"});
}

TEST_CASE("addition::worked: without slips the answer is the problem's") {
    for (auto const& task :
         {addition{}, addition{.digits = 1}, addition{.digits = 15, .terms = 9}}) {
        random_sequence random({.seed = 6});
        for (int i = 0; i < 300; ++i) {
            auto const drawn = task(random);
            CHECK(task.worked(drawn).answer == drawn.answer);
        }
    }
}

TEST_CASE("addition::worked: slips are as frequent as asked, and the answer follows the steps") {
    addition const task;
    random_sequence random({.seed = 7});
    int slips = 0, steps = 0;
    for (int i = 0; i < 4000; ++i) {
        auto const drawn = task(random);
        auto const solution = task.worked(drawn, random, 0.2);
        bool is_faultless = true;
        for (int const error : step_errors(solution.steps)) {
            ++steps;
            slips += error != 0;
            is_faultless = is_faultless && error == 0;
        }
        CHECK((solution.answer == drawn.answer) == is_faultless);
    }
    CHECK(steps == 12'000);
    // A replaced sum is the right one after all once in twenty: 0.2 · 0.95, ± 5 standard errors.
    CHECK(slips / 12'000.0 == doctest::Approx(0.19).epsilon(0.018 / 0.19));
}

TEST_CASE("addition::guess: within what sums can be") {
    random_sequence random({.seed = 8});
    std::int64_t lowest = 10'000, highest = 0;
    for (int i = 0; i < 20'000; ++i) {
        auto const number = std::stoll(addition{}.guess({}, random));
        lowest = std::min<std::int64_t>(lowest, number);
        highest = std::max<std::int64_t>(highest, number);
    }
    CHECK(lowest == 200);
    CHECK(highest == 1998);
}

TEST_CASE("addition: what it refuses") {
    random_sequence random({.seed = 9});
    for (auto const& task : {addition{.digits = 0}, addition{.digits = 16}, addition{.terms = 1},
                             addition{.terms = 10}}) {
        CHECK_THROWS_AS(task(random), configuration_error);
        CHECK_THROWS_AS(task.guess({}, random), configuration_error);
        CHECK_THROWS_AS(task.worked({"345+678", "1023"}), configuration_error);
    }
    for (auto const* question : {"", "345", "345+67", "34+5678", "3456+78", "345+6a8", "345-678",
                                 "345+678=", "+345678", "345678+"}) {
        CAPTURE(question);
        CHECK_THROWS_AS(addition{}.worked({question, ""}), value_error);
    }
    CHECK_THROWS_WITH(addition{}.worked({"1+2", "3"}),
                      "[addition::worked] expected a sum of 2 numbers of 3 digits, got \"1+2\"");
}
