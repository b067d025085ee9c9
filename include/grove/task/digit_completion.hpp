// SPDX-License-Identifier: Apache-2.0
/// @file
/// Continuing an arithmetic sequence of digits, the acceptance test of verl.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"
#include "grove/task/problem.hpp"

namespace grove::inline GROVE_ISA {

/// `4,7:9,3` asks for the next 3 terms of 4, 7, …, each the one before plus the first difference,
/// modulo 9: `1,4,7`. Questions draw the first term from [0, largest], the difference from
/// [0, largest_difference] and the number of terms from [0, most_terms]. Every member throws
/// configuration_error unless 1 ≤ largest ≤ 9 and the others are in [0, 9].
struct digit_completion {
    /// The symbols of questions and answers.
    static constexpr std::string_view alphabet = "0123456789,:";

    int largest = 9;  ///< and the modulus
    int largest_difference = 9;
    int most_terms = 9;

    problem operator()(random_sequence& random) const {
        validate();
        auto const draw = [&](int most) { return static_cast<int>(random.integer(0, most)); };
        int const first = draw(largest), difference = draw(largest_difference);
        return make(first, difference, draw(most_terms));
    }
    /// Every question once, in no particular order; those that come from two differences, too.
    std::vector<problem> all() const {
        validate();
        std::vector<problem> every;
        for (int first = 0; first <= largest; ++first)
            for (int difference = 0; difference <= largest_difference; ++difference)
                for (int terms = 0; terms <= most_terms; ++terms)
                    every.push_back(make(first, difference, terms));
        std::ranges::sort(every, {}, &problem::question);
        auto const [from, to] = std::ranges::unique(every);
        every.erase(from, to);
        return every;
    }

    /// What each token of a completion earns, a character or, last where `ended`, the end token:
    /// 1 / (|answer| + 1) a character up to the first that differs, and the end token what the
    /// character before it got (1 where nothing was asked for and nothing said). A right completion
    /// earns 1 in total.
    static std::vector<float> rewards(std::string_view completion, bool ended,
                                      std::string_view answer) {
        float const share = 1.0f / static_cast<float>(answer.size() + 1);
        std::vector<float> earned(completion.size() + (ended ? 1 : 0), 0.0f);
        std::size_t right = 0;
        while (right < std::min(completion.size(), answer.size()) &&
               completion[right] == answer[right])
            earned[right++] = share;
        if (!ended) return earned;
        earned.back() =
            completion.empty() ? (answer.empty() ? 1.0f : 0.0f) : earned[completion.size() - 1];
        return earned;
    }

private:
    problem make(int first, int difference, int terms) const {
        int const second = (first + difference) % largest;
        int const step = (second - first % largest + largest) % largest;
        problem made{std::to_string(first) + ',' + std::to_string(second) + ':' +
                         std::to_string(largest) + ',' + std::to_string(terms),
                     {}};
        for (int i = 0, term = second; i < terms; ++i) {
            term = (term + step) % largest;
            made.answer += (i == 0 ? "" : ",") + std::to_string(term);
        }
        return made;
    }
    void validate() const {
        auto const digit = [](int x) { return 0 <= x && x <= 9; };
        require<configuration_error>(
            1 <= largest && digit(largest) && digit(largest_difference) && digit(most_terms),
            "digit_completion", "expected 1 ≤ largest ≤ 9 and digits, got ", largest, ", ",
            largest_difference, " and ", most_terms);
    }
};

}  // namespace grove::inline GROVE_ISA
