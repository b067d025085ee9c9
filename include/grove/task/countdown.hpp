// SPDX-License-Identifier: Apache-2.0
/// @file
/// Reaching a target from given numbers: problems with many right answers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/task/expression.hpp"
#include "grove/task/problem.hpp"

namespace grove::inline GROVE_ISA {

/// `3,7,25;100`: make 100 of the three numbers with `+ - * /`. The numbers are listed in ascending
/// order; the answer is one solution that uses each of them once, such as `(7-3)*25`, so that every
/// problem is solvable. Throws configuration_error unless 2 ≤ numbers ≤ 10 and
/// 1 ≤ largest_number ≤ largest_target ≤ 10⁶.
struct countdown {
    /// The symbols of questions and answers (`=` closes the question in a prompt).
    static constexpr std::string_view alphabet = "0123456789+-*/();,=";

    int numbers = 4;
    std::int64_t largest_number = 50;
    std::int64_t largest_target = 999;

    problem operator()(random_sequence& random) const {
        validate();
        std::vector<operand> operands;
        for (int i = 0; i < numbers; ++i) {
            auto const value = random.integer(1, largest_number);
            operands.push_back({value, std::to_string(value)});
        }
        std::ranges::sort(operands, {}, &operand::value);
        std::string list;
        for (auto const& number : operands) list += (list.empty() ? "" : ",") + number.text;
        operand const target = join(std::move(operands), random);
        return {list + ';' + std::to_string(target.value), target.text};
    }

    /// A search: up to `most_misses` expressions of the numbers that do not give the target, each
    /// worked two numbers at a time, and then the answer. For `3,7,25;100`:
    /// `7-3=4;25+4=29;7-3=4;4*25=100;`. With probability `slip_rate` a miss is taken for a hit: its
    /// last step then claims the target, and the answer is wrong. Throws value_error for an answer
    /// that is no expression.
    worked_solution worked(problem const& given, random_sequence& random, double slip_rate,
                           int most_misses = 3) const {
        validate();
        auto const solution = expression_of(given);
        worked_solution written;
        auto const misses = random.integer(0, most_misses);
        for (std::int64_t i = 0; i < misses; ++i) {
            operand const attempt = join(operands_of(solution), random);
            bool const hits = attempt.value == solution.value.numerator;
            bool const slips = !hits && random.uniform() < slip_rate;
            written.steps +=
                steps_of(attempt.text, slips ? solution.value.numerator : attempt.value);
            if (hits || slips) return {written.steps, attempt.text};
        }
        written.steps += steps_of(given.answer, solution.value.numerator);
        written.answer = given.answer;
        return written;
    }
    /// An answer by someone who has not tried: any expression of the numbers. Throws value_error
    /// for an answer that is no expression.
    std::string guess(problem const& given, random_sequence& random) const {
        validate();
        return join(operands_of(expression_of(given)), random).text;
    }

private:
    struct operand {
        std::int64_t value;
        std::string text;
    };

    static evaluated_expression expression_of(problem const& given) {
        auto solution = evaluate_expression(given.answer);
        require<value_error>(solution.has_value(), "countdown",
                             "expected an expression as answer, got \"", given.answer, '"');
        return *std::move(solution);
    }
    static std::vector<operand> operands_of(evaluated_expression const& solution) {
        std::vector<operand> operands;
        for (auto const value : solution.numbers)
            operands.push_back({value, std::to_string(value)});
        return operands;
    }
    /// `7-3=4;4*25=100;` for `(7-3)*25`: the innermost parentheses first. The last result is
    /// written as told.
    static std::string steps_of(std::string text, std::int64_t result) {
        std::string steps;
        for (auto open = text.rfind('('); open != text.npos; open = text.rfind('(')) {
            auto const close = text.find(')', open);
            std::string const inner = text.substr(open + 1, close - open - 1);
            auto const value = std::to_string(evaluate_expression(inner)->value.numerator);
            steps += inner + '=' + value + ';';
            text.replace(open, close - open + 1, value);
        }
        return steps + text + '=' + std::to_string(result) + ';';
    }
    /// All operands joined, two at a time.
    operand join(std::vector<operand> operands, random_sequence& random) const {
        while (operands.size() > 2) {
            operand joined = combine(take(operands, random), take(operands, random), random);
            joined.text = '(' + joined.text + ')';
            operands.push_back(std::move(joined));
        }
        return combine(operands[0], operands[1], random);
    }
    static operand take(std::vector<operand>& operands, random_sequence& random) {
        auto const last = static_cast<std::int64_t>(operands.size()) - 1;
        auto const chosen = static_cast<std::ptrdiff_t>(random.integer(0, last));
        operand taken = std::move(operands[static_cast<std::size_t>(chosen)]);
        operands.erase(operands.begin() + chosen);
        return taken;
    }
    /// One of the operations whose result is a whole number in [1, largest_target]. There is always
    /// one: the difference of unequal operands, the quotient of equal ones.
    operand combine(operand a, operand b, random_sequence& random) const {
        if (a.value < b.value) std::swap(a, b);
        std::array<std::pair<char, std::int64_t>, 4> possible;
        std::size_t count = 0;
        auto const offer = [&](bool is_exact, char symbol, std::int64_t value) {
            if (is_exact && 1 <= value && value <= largest_target) {
                possible[count++] = {symbol, value};
            }
        };
        offer(true, '+', a.value + b.value);
        offer(true, '-', a.value - b.value);
        offer(true, '*', a.value * b.value);
        offer(a.value % b.value == 0, '/', a.value / b.value);
        auto const last = static_cast<std::int64_t>(count) - 1;
        auto const [symbol, value] = possible[static_cast<std::size_t>(random.integer(0, last))];
        return {value, a.text + symbol + b.text};
    }
    void validate() const {
        require<configuration_error>(2 <= numbers && numbers <= 10, "countdown",
                                     "expected between 2 and 10 numbers, got ", numbers);
        require<configuration_error>(
            1 <= largest_number && largest_number <= largest_target && largest_target <= 1'000'000,
            "countdown", "expected 1 ≤ largest_number ≤ largest_target ≤ 10^6, got ",
            largest_number, " and ", largest_target);
    }
};

/// The verifier of countdown: right is any expression with the exact value of the reference that
/// uses each of the reference's numbers once, or at most once. Text that is no expression is wrong.
/// @code
/// accuracy_reward<countdown_verifier> const accuracy;
/// accuracy("3,7,25;100=", "<answer>25*(7-3)</answer>", "(7-3)*25");   // 1
/// @endcode
struct countdown_verifier {
    bool use_all = true;  ///< each number exactly once; false: at most once

    /// Throws value_error where the *reference* is no expression.
    bool operator()(std::string_view answer, std::string_view reference) const {
        auto given = evaluate_expression(reference);
        require<value_error>(given.has_value(), "countdown_verifier",
                             "expected an expression as reference, got \"", reference, '"');
        auto written = evaluate_expression(answer);
        if (!written || written->value != given->value) return false;
        std::ranges::sort(given->numbers);
        std::ranges::sort(written->numbers);
        return use_all ? written->numbers == given->numbers
                       : std::ranges::includes(given->numbers, written->numbers);
    }
};

}  // namespace grove::inline GROVE_ISA
