// SPDX-License-Identifier: Apache-2.0
#include "grove/task/countdown.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "grove/reward/accuracy.hpp"
#include "grove/task/base_data.hpp"

using namespace grove;

static_assert(worked_task<countdown>);
static_assert(verifier<countdown_verifier>);

TEST_CASE("countdown: every problem is solved by its answer, with each number once") {
    for (auto const& task :
         {countdown{}, countdown{.numbers = 2}, countdown{.numbers = 10},
          countdown{.numbers = 3, .largest_number = 1, .largest_target = 1},
          countdown{.numbers = 6, .largest_number = 999'999, .largest_target = 1'000'000}}) {
        random_sequence random({.seed = 5});
        for (int i = 0; i < 300; ++i) {
            auto const [question, answer] = task(random);
            CAPTURE(question);
            CAPTURE(answer);
            std::istringstream in(question);
            std::vector<std::int64_t> numbers;
            char separator = ',';
            for (std::int64_t number = 0; separator == ',' && in >> number >> separator;) {
                numbers.push_back(number);
            }
            std::int64_t target = 0;
            in >> target;
            CHECK(separator == ';');
            CHECK(numbers.size() == static_cast<std::size_t>(task.numbers));
            CHECK(std::ranges::is_sorted(numbers));
            CHECK(numbers.back() <= task.largest_number);
            CHECK((1 <= target && target <= task.largest_target));
            auto solution = evaluate_expression(answer);
            REQUIRE(solution);
            CHECK(solution->value == rational{target, 1});
            std::ranges::sort(solution->numbers);
            CHECK(solution->numbers == numbers);
            CHECK(countdown_verifier{}(answer, answer));
            CHECK(question.find_first_not_of(countdown::alphabet) == std::string::npos);
            CHECK(answer.find_first_not_of(countdown::alphabet) == std::string::npos);
        }
    }
}

TEST_CASE("countdown: all four operations come up") {
    std::string all;
    random_sequence random({.seed = 6});
    for (int i = 0; i < 300; ++i) all += countdown{}(random).answer;
    for (char const symbol : {'+', '-', '*', '/'}) CHECK(std::ranges::count(all, symbol) > 20);
}

TEST_CASE("countdown: a worked search ends at the answer, every step of it true") {
    countdown const task{.numbers = 3, .largest_number = 20, .largest_target = 99};
    random_sequence random({.seed = 7});
    CHECK(task.worked({"3,7,25;100", "(7-3)*25"}, random, 0.0, 0).steps == "7-3=4;4*25=100;");
    CHECK(task.worked({"2,3,4;9", "(4/2)+(3*1)"}, random, 0.0, 0).steps == "3*1=3;4/2=2;2+3=5;");
    std::size_t longest = 0;
    for (int i = 0; i < 300; ++i) {
        auto const given = task(random);
        auto const [steps, answer] = task.worked(given, random, 0.0);
        CAPTURE(given.question);
        CAPTURE(steps);
        CHECK(countdown_verifier{}(answer, given.answer));
        CHECK(steps.find_first_not_of("0123456789+-*/=;") == std::string::npos);
        std::istringstream lines(steps);
        std::string step, last;
        std::size_t count = 0;
        for (; std::getline(lines, step, ';'); ++count) {
            auto const equals = step.find('=');
            REQUIRE(equals != std::string::npos);
            last = step.substr(equals + 1);
            auto const value = evaluate_expression(step.substr(0, equals));
            REQUIRE(value);
            CHECK(value->value == rational{std::stoll(last), 1});
        }
        CHECK(given.question.ends_with(';' + last));
        CHECK(count % 2 == 0);
        longest = std::max(longest, count);
    }
    CHECK(longest == 8);  // three misses and the hit, of two steps each
}

TEST_CASE("countdown: one who slips claims the target and is wrong; guesses use the numbers") {
    countdown const task{.numbers = 3, .largest_number = 20, .largest_target = 99};
    random_sequence random({.seed = 8});
    int wrong = 0, lucky = 0;
    for (int i = 0; i < 300; ++i) {
        auto const given = task(random);
        auto const [steps, answer] = task.worked(given, random, 1.0);
        auto const target = given.question.substr(given.question.find(';') + 1);
        CHECK(steps.ends_with('=' + target + ';'));
        wrong += !countdown_verifier{}(answer, given.answer);
        auto const guess = evaluate_expression(task.guess(given, random));
        REQUIRE(guess);
        auto const known = evaluate_expression(given.answer);
        CHECK(std::ranges::is_permutation(guess->numbers, known->numbers));
        lucky += guess->value == known->value;
    }
    CHECK((wrong > 180 && wrong < 270));  // misses come first in three of four
    CHECK((lucky > 3 && lucky < 150));
    CHECK_THROWS_AS(task.guess({"1,2;3", "nonsense"}, random), value_error);
    CHECK_THROWS_AS(task.worked({"1,2;3", ""}, random, 0.0), value_error);
}

TEST_CASE("countdown_verifier: any right expression with the given numbers") {
    countdown_verifier const verify;
    std::string const reference = "(7-3)*25";
    for (auto const* right : {"(7-3)*25", "25*(7-3)", " 25 * ( 7 - 3 ) ", "((7)-3)*(25)"}) {
        CAPTURE(right);
        CHECK(verify(right, reference));
    }
    for (auto const* wrong : {"", "100", "25*7-25*3", "(3-7)*25", "25*4", "25*(7-3)+0",
                              "25*(7-3)=100", "abc", "25/(7-3)", "25*(7-3", "1/0"}) {
        CAPTURE(wrong);
        CHECK_FALSE(verify(wrong, reference));
    }
    CHECK_FALSE(verify("5*5", "5*(2+3)"));
    CHECK_FALSE(verify("5*5", "5*5*1"));
}

TEST_CASE("countdown_verifier: at most once where it is asked for") {
    countdown_verifier const verify{.use_all = false};
    CHECK(verify("5*5", "5*5*1"));
    CHECK(verify("5*5/1", "5*5*1"));
    CHECK_FALSE(verify("5*5", "5*(2+3)"));
    CHECK_FALSE(verify("25*1", "5*5*1"));
}

TEST_CASE("countdown_verifier: exact where rounding would lie") {
    // In double, 1/49·49 is not 1, and the two fractions below are one number.
    CHECK(countdown_verifier{}("1/49*49", "49/49*1"));
    CHECK_FALSE(countdown_verifier{}("999999999/(999999998+1/999999999/9)",
                                     "999999999/(999999998+1/999999999*9)"));
}

TEST_CASE("countdown_verifier: a broken reference is an error, and so are broken settings") {
    CHECK_THROWS_WITH_AS(countdown_verifier{}("1", "one"),
                         "[countdown_verifier] expected an expression as reference, got \"one\"",
                         value_error);
    random_sequence random({.seed = 7});
    for (auto const& task :
         {countdown{.numbers = 1}, countdown{.numbers = 11}, countdown{.largest_number = 0},
          countdown{.largest_number = 1000, .largest_target = 999},
          countdown{.largest_target = 1'000'001}}) {
        CHECK_THROWS_AS(task(random), configuration_error);
    }
}

TEST_CASE("countdown: as a reward") {
    accuracy_reward<countdown_verifier> const accuracy;
    CHECK(accuracy("q", "<answer>25*(7-3)</answer>", "(7-3)*25") == 1.0F);
    CHECK(accuracy("q", "<answer>25*7-3</answer>", "(7-3)*25") == 0.0F);
    CHECK_FALSE(accuracy("q", "<answer>1</answer>", "").has_value());
}
