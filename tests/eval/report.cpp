// SPDX-License-Identifier: Apache-2.0
#include "grove/eval/report.hpp"

#include <doctest/doctest.h>

using namespace grove;
using texts = std::vector<std::string>;
using lengths = std::vector<index_t>;

namespace {

// Right and worked; right at once; wrong and worked; no answer.
texts const mixed{"<think>1</think><answer>7</answer>", "<answer>07</answer>",
                  "<think>2</think><answer>8</answer>", "7"};
// The majority (9, twice) is wrong; one empty think block is right.
texts const misled{"<answer>9</answer>", "<think></think><answer>3</answer>", "<answer>09</answer>",
                   "<think></think>"};

evaluation_report both() {
    auto report = grade(mixed, lengths{10, 4, 10, 1}, "7");
    report.merge(grade(misled, lengths{3, 5, 3, 2}, "3"));
    return report;
}

}  // namespace

TEST_CASE("grade: the counts of one problem") {
    auto const report = grade(mixed, lengths{10, 4, 10, 1}, "7");
    CHECK(report.samples_per_problem == 4);
    CHECK(report.problems_by_correct == lengths{0, 0, 1, 0, 0});
    CHECK(report.consensus_correct == 1);
    CHECK(report.formatted == 2);
    CHECK(report.worked == 2);
    CHECK(report.worked_correct == 1);
    CHECK(report.tokens == 25);
}

TEST_CASE("evaluation_report: rates over problems") {
    auto const report = both();
    CHECK(report.problems() == 2);
    CHECK(report.samples() == 8);
    // Shares right 1/2 and 1/4: mean 3/8, standard error |1/2 − 1/4| / 2.
    CHECK(report.pass_at(1).value == doctest::Approx(0.375).epsilon(1e-14));
    CHECK(report.pass_at(1).standard_error == doctest::Approx(0.125).epsilon(1e-13));
    // 1 − C(2,2)/C(4,2) = 5/6 and 1 − C(3,2)/C(4,2) = 1/2.
    CHECK(report.pass_at(2).value == doctest::Approx(2.0 / 3.0).epsilon(1e-14));
    CHECK(report.pass_at(4).value == 1.0);
    CHECK(report.consensus_accuracy() == 0.5);
    CHECK(report.format_rate() == 3.0 / 8.0);
    CHECK(report.worked_rate() == 0.25);
    CHECK(report.worked_accuracy() == 0.5);
    CHECK(report.mean_length() == 38.0 / 8.0);
}

TEST_CASE("evaluation_report: merging in any order, and with nothing") {
    auto const one = grade(mixed, lengths{10, 4, 10, 1}, "7");
    auto const two = grade(misled, lengths{3, 5, 3, 2}, "3");
    evaluation_report forward, backward;
    forward.merge(one);
    forward.merge(two);
    backward.merge(two);
    backward.merge(one);
    backward.merge({});
    CHECK(forward == backward);
    CHECK(forward == both());
    forward.merge(forward);
    CHECK(forward.problems() == 4);
    CHECK(forward.pass_at(1).value == doctest::Approx(0.375).epsilon(1e-14));
}

TEST_CASE("evaluation_report: no worked completion, no accuracy of worked ones") {
    CHECK_FALSE(grade(misled, lengths{3, 5, 3, 2}, "3").worked_accuracy().has_value());
}

TEST_CASE("grade: another verifier") {
    auto const at_least = [](std::string_view answer, std::string_view reference) {
        return answer.size() >= reference.size();
    };
    auto const report = grade(mixed, lengths{1, 1, 1, 1}, "xx", at_least);
    CHECK(report.problems_by_correct == lengths{0, 1, 0, 0, 0});
}

TEST_CASE("evaluation_report: what it refuses") {
    evaluation_report const empty;
    CHECK_THROWS_AS(empty.pass_at(1), value_error);
    CHECK_THROWS_AS(empty.consensus_accuracy(), value_error);
    CHECK_THROWS_AS(empty.format_rate(), value_error);
    CHECK_THROWS_AS(empty.mean_length(), value_error);
    CHECK_THROWS_AS(both().pass_at(0), value_error);
    CHECK_THROWS_AS(both().pass_at(5), value_error);
    CHECK_THROWS_AS(both().merge(grade(texts{"x"}, lengths{1}, "7")), value_error);
    CHECK_THROWS_AS(grade(texts{}, lengths{}, "7"), value_error);
    CHECK_THROWS_AS(grade(mixed, lengths{1}, "7"), shape_error);
    CHECK_THROWS_AS(grade(mixed, lengths{1, 1, 1, 1}, " "), value_error);
}
