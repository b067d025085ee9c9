// SPDX-License-Identifier: Apache-2.0
/// @file
/// Supervised data for a base model that has seen the habits which reinforcement learning later
/// selects from: answers at once, empty thoughts, and some worked solutions, none of them reliable.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"
#include "grove/task/problem.hpp"
#include "grove/text/template.hpp"

namespace grove::inline GROVE_ISA {

/// A task that can also show a (fallible) worked solution, and guess.
template <class Task>
concept worked_task = task<Task> && requires(Task const& t, problem const& given,
                                             random_sequence& random, double slip_rate) {
    { t.worked(given, random, slip_rate) } -> std::same_as<worked_solution>;
    { t.guess(given, random) } -> std::same_as<std::string>;
};

/// How often the base data does what. The three shares sum to 1.
struct base_mixture {
    double direct = 0.45;       ///< share of `<answer>…</answer>` alone
    double empty_think = 0.35;  ///< share of `<think></think><answer>…</answer>`
    double worked = 0.20;       ///< share of `<think>steps</think><answer>…</answer>`
    double guess_rate = 0.5;    ///< an answer without steps is `guess()`, else right
    double slip_rate = 0.03;    ///< a step of a worked solution is wrong
};

/// A prompt and what a model should write after it. The end token is not in the text: whoever
/// encodes the response appends its id.
struct demonstration {
    std::string prompt;
    std::string response;

    friend bool operator==(demonstration const&, demonstration const&) = default;
};

/// Demonstration `i` shows problem `i` of the set; it depends on the set, the mixture, the template
/// and `i` alone.
/// @code
/// base_data const data(problem_set(addition{}, 17));
/// auto const [prompt, response] = data[0];
/// @endcode
template <worked_task Task>
class base_data {
public:
    /// Throws configuration_error for a share or rate outside [0, 1], or shares that do not sum
    /// to 1.
    explicit base_data(problem_set<Task> problems, base_mixture mixture = {},
                       prompt_template prompts = r1_zero_compact())
        : problems_(std::move(problems)), mixture_(mixture), prompts_(std::move(prompts)) {
        for (double const share : {mixture.direct, mixture.empty_think, mixture.worked,
                                   mixture.guess_rate, mixture.slip_rate}) {
            require<configuration_error>(share >= 0.0 && share <= 1.0, "base_data",
                                         "expected shares and rates in [0, 1], got ", share);
        }
        double const sum = mixture.direct + mixture.empty_think + mixture.worked;
        require<configuration_error>(std::abs(sum - 1.0) < 1e-9, "base_data",
                                     "expected shares that sum to 1, got a sum of ", sum);
    }

    /// Throws what `problem_set` throws.
    demonstration operator[](index_t index) const {
        problem const given = problems_[index];
        random_sequence random(problems_.key(index, choice_lane));
        return {prompts_.render(given.question), respond(given, random)};
    }

private:
    static constexpr std::uint32_t choice_lane = 2;

    std::string respond(problem const& given, random_sequence& random) const {
        double const choice = random.uniform();
        if (choice < mixture_.worked) {
            auto const solution = problems_.generator().worked(given, random, mixture_.slip_rate);
            return "<think>" + solution.steps + "</think><answer>" + solution.answer + "</answer>";
        }
        bool const is_guess = random.uniform() < mixture_.guess_rate;
        std::string const think =
            choice < mixture_.worked + mixture_.empty_think ? "<think></think>" : "";
        return think + "<answer>" +
               (is_guess ? problems_.generator().guess(given, random) : given.answer) + "</answer>";
    }

    problem_set<Task> problems_;
    base_mixture mixture_;
    prompt_template prompts_;
};

}  // namespace grove::inline GROVE_ISA
