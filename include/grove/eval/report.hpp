// SPDX-License-Identifier: Apache-2.0
/// @file
/// What an evaluation found, as counts that add up.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/eval/consensus.hpp"
#include "grove/eval/estimate.hpp"
#include "grove/eval/pass_at_k.hpp"
#include "grove/reward/accuracy.hpp"
#include "grove/reward/parse.hpp"

namespace grove::inline GROVE_ISA {

/// Counts over problems with the same number of completions each. Counts are exact: merging reports
/// in any order gives the same report. Every rate throws value_error while the report is empty.
struct evaluation_report {
    index_t samples_per_problem = 0;
    /// How many problems had 0, 1, … right completions: [samples_per_problem + 1].
    std::vector<index_t> problems_by_correct;
    index_t consensus_correct = 0;  ///< problems whose majority answer is right
    index_t formatted = 0;          ///< completions that `parse_think_answer` accepts
    index_t worked = 0;             ///< of these, the ones that think at all
    index_t worked_correct = 0;     ///< of these, the right ones
    index_t tokens = 0;             ///< of all completions

    friend bool operator==(evaluation_report const&, evaluation_report const&) = default;

    index_t problems() const {
        index_t sum = 0;
        for (index_t const count : problems_by_correct) sum += count;
        return sum;
    }
    index_t samples() const { return problems() * samples_per_problem; }

    /// Mean over problems of the unbiased pass@k, with its standard error; pass_at(1) is the share
    /// of right completions. Throws value_error unless 1 ≤ k ≤ samples_per_problem.
    estimate pass_at(index_t k) const {
        require_some();
        std::vector<double> values;
        for (std::size_t correct = 0; correct < problems_by_correct.size(); ++correct) {
            double const value = pass_at_k(samples_per_problem, static_cast<index_t>(correct), k);
            auto const count = static_cast<std::size_t>(problems_by_correct[correct]);
            values.insert(values.end(), count, value);
        }
        return mean_estimate(values);
    }
    /// cons@samples_per_problem.
    double consensus_accuracy() const { return share(consensus_correct, problems()); }
    double format_rate() const { return share(formatted, samples()); }
    double worked_rate() const { return share(worked, samples()); }
    /// Tokens per completion.
    double mean_length() const { return share(tokens, samples()); }
    /// Share of right ones among the completions that think; none where none does.
    std::optional<double> worked_accuracy() const {
        if (worked == 0) return std::nullopt;
        return share(worked_correct, worked);
    }

    /// Adds the counts of other problems. Throws value_error where their number of completions per
    /// problem differs.
    void merge(evaluation_report const& other) {
        if (other.problems_by_correct.empty()) return;
        if (problems_by_correct.empty()) {
            *this = other;
            return;
        }
        require<value_error>(samples_per_problem == other.samples_per_problem,
                             "evaluation_report::merge", "expected ", samples_per_problem,
                             " completions per problem, got ", other.samples_per_problem);
        for (std::size_t correct = 0; correct < problems_by_correct.size(); ++correct) {
            problems_by_correct[correct] += other.problems_by_correct[correct];
        }
        consensus_correct += other.consensus_correct;
        formatted += other.formatted;
        worked += other.worked;
        worked_correct += other.worked_correct;
        tokens += other.tokens;
    }

private:
    void require_some() const {
        require<value_error>(problems() > 0, "evaluation_report",
                             "expected at least one problem, got none");
    }
    double share(index_t part, index_t whole) const {
        require_some();
        return static_cast<double>(part) / static_cast<double>(whole);
    }
};

/// The report of one problem: its completions, their lengths in tokens and its reference, judged by
/// the rules of `accuracy_reward` and `format_reward`; they vote by `normalized_answer`. Throws
/// value_error without completions or without a reference, shape_error unless there is a length for
/// each completion.
/// @code
/// evaluation_report report;
/// for (auto const& [completions, lengths, reference] : answered) {
///     report.merge(grade(completions, lengths, reference));
/// }
/// @endcode
template <verifier Verifier = exact_answer>
evaluation_report grade(std::span<std::string const> completions, std::span<index_t const> lengths,
                        std::string_view reference, Verifier const& verify = {}) {
    require<value_error>(!completions.empty(), "grade", "expected completions, got none");
    require<value_error>(!trimmed(reference).empty(), "grade", "expected a reference, got none");
    require<shape_error>(lengths.size() == completions.size(), "grade", "expected ",
                         completions.size(), " lengths, got ", lengths.size());
    evaluation_report report;
    std::vector<std::optional<std::string>> answers;
    std::size_t correct = 0;
    for (auto const& completion : completions) {
        auto const answer = parse_answer(completion);
        auto const parts = parse_think_answer(completion);
        bool const is_right = answer && verify(*answer, reference);
        bool const is_worked = parts && !parts->think.empty();
        answers.push_back(answer ? std::optional(normalized_answer(*answer)) : std::nullopt);
        correct += is_right;
        report.formatted += parts.has_value();
        report.worked += is_worked;
        report.worked_correct += is_worked && is_right;
    }
    for (index_t const length : lengths) report.tokens += length;
    auto const majority = consensus(answers);
    report.consensus_correct = majority && verify(*majority, reference);
    report.samples_per_problem = static_cast<index_t>(completions.size());
    report.problems_by_correct.assign(completions.size() + 1, 0);
    report.problems_by_correct[correct] = 1;
    return report;
}

}  // namespace grove::inline GROVE_ISA
