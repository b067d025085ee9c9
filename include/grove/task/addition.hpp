// SPDX-License-Identifier: Apache-2.0
/// @file
/// Adding whole numbers, with the worked solution column by column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/task/problem.hpp"

namespace grove::inline GROVE_ISA {

/// `345+678`: sums of `terms` numbers of exactly `digits` digits each. Every member throws
/// configuration_error unless 1 ≤ digits ≤ 15 and 2 ≤ terms ≤ 9.
struct addition {
    /// The symbols of questions and solutions (`=` closes the question in a prompt; `,` is spare).
    static constexpr std::string_view alphabet = "0123456789+=;,";

    int digits = 3;
    int terms = 2;

    problem operator()(random_sequence& random) const {
        validate();
        problem drawn;
        std::int64_t total = 0;
        for (int term = 0; term < terms; ++term) {
            std::int64_t const number = random.integer(smallest_term(), largest_term());
            if (term > 0) drawn.question += '+';
            drawn.question += std::to_string(number);
            total += number;
        }
        drawn.answer = std::to_string(total);
        return drawn;
    }

    /// The right solution: one step per column from the lowest, digits + carry = sum. For
    /// `345+678`: `5+8+0=13;4+7+1=12;3+6+1=10;` and the answer `1023`. The carry of the last step
    /// leads.
    worked_solution worked(problem const& given) const {
        random_sequence unused{random_key{}};
        return worked(given, unused, 0.0);
    }
    /// The solution of someone who slips: with probability `slip_rate` a column's sum is replaced
    /// by a random one among those that a column can have; carry and answer follow what is written.
    /// Throws value_error for a question that this task does not ask.
    worked_solution worked(problem const& given, random_sequence& random, double slip_rate) const {
        validate();
        validate(given.question);
        worked_solution solution;
        int carry = 0;
        for (int column = 0; column < digits; ++column) {
            int sum = carry;
            for (int term = 0; term < terms; ++term) {
                char const symbol = given.question[position(term, column)];
                sum += symbol - '0';
                solution.steps += symbol;
                solution.steps += '+';
            }
            if (random.uniform() < slip_rate) {
                sum = static_cast<int>(random.integer(0, 10 * terms - 1));
            }
            solution.steps += std::to_string(carry) + '=' + std::to_string(sum) + ';';
            solution.answer.insert(solution.answer.begin(), static_cast<char>('0' + sum % 10));
            carry = sum / 10;
        }
        if (carry > 0) solution.answer.insert(0, std::to_string(carry));
        return solution;
    }

    /// An answer by someone who has not tried: any number between the smallest and the largest sum.
    std::string guess(problem const& /*given*/, random_sequence& random) const {
        validate();
        return std::to_string(random.integer(terms * smallest_term(), terms * largest_term()));
    }

private:
    std::int64_t smallest_term() const { return digits == 1 ? 0 : (largest_term() + 1) / 10; }
    std::int64_t largest_term() const {
        std::int64_t bound = 1;
        for (int i = 0; i < digits; ++i) bound *= 10;
        return bound - 1;
    }
    /// Where the question has the digit of a term in a column, counted from the lowest.
    std::size_t position(int term, int column) const {
        return static_cast<std::size_t>(term * (digits + 1) + digits - 1 - column);
    }
    void validate() const {
        require<configuration_error>(1 <= digits && digits <= 15 && 2 <= terms && terms <= 9,
                                     "addition", "expected 1 ≤ digits ≤ 15 and 2 ≤ terms ≤ 9, got ",
                                     digits, " and ", terms);
    }
    void validate(std::string_view question) const {
        bool is_ours = question.size() == static_cast<std::size_t>(terms * (digits + 1) - 1);
        for (std::size_t i = 0; is_ours && i < question.size(); ++i) {
            bool const is_plus = (i + 1) % static_cast<std::size_t>(digits + 1) == 0;
            is_ours = is_plus ? question[i] == '+' : '0' <= question[i] && question[i] <= '9';
        }
        require<value_error>(is_ours, "addition::worked", "expected a sum of ", terms,
                             " numbers of ", digits, " digits, got \"", question, '"');
    }
};

}  // namespace grove::inline GROVE_ISA
