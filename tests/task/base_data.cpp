// SPDX-License-Identifier: Apache-2.0
#include "grove/task/base_data.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "grove/reward/accuracy.hpp"
#include "grove/reward/parse.hpp"
#include "grove/task/addition.hpp"
#include "grove/text/tokenizer.hpp"

using namespace grove;

static_assert(worked_task<addition>);

TEST_CASE("base_data: golden demonstrations") {
    // Computed by an independent program, Philox included; 225 has a slip in its second step.
    base_data const data(problem_set(addition{}, 17));
    CHECK(data[0] ==
          demonstration{"<begin>860+555=",
                        "<think>0+5+0=5;6+5+0=11;8+5+1=14;</think><answer>1415</answer>"});
    CHECK(data[1] == demonstration{"<begin>527+643=", "<think></think><answer>1170</answer>"});
    CHECK(data[4] == demonstration{"<begin>371+319=", "<answer>703</answer>"});
    CHECK(data[5] == demonstration{"<begin>310+478=", "<think></think><answer>1109</answer>"});
    CHECK(data[225] == demonstration{"<begin>419+943=",
                                     "<think>9+3+0=12;1+4+1=15;4+9+1=14;</think>"
                                     "<answer>1452</answer>"});
}

TEST_CASE("base_data: shares and error rates are those of the mixture") {
    problem_set const problems(addition{}, 1);
    base_data const data(problems);
    symbol_tokenizer const tokens(addition::alphabet);
    int const count = 20'000;
    int direct = 0, empty = 0, worked = 0, right_without_steps = 0, right_with_steps = 0;
    for (int i = 0; i < count; ++i) {
        auto const [prompt, response] = data[i];
        auto const answer = parse_answer(response);
        auto const parts = parse_think_answer(response);
        REQUIRE(answer);
        CHECK(tokens.encode(prompt).size() == 9);
        CHECK_NOTHROW(tokens.encode(response));
        bool const is_right = exact_answer{}(*answer, problems[i].answer);
        direct += !parts;
        empty += parts && parts->think.empty();
        worked += parts && !parts->think.empty();
        (parts && !parts->think.empty() ? right_with_steps : right_without_steps) += is_right;
    }
    // Five standard errors of a share of 20,000 are below 0.018.
    auto const share = [](int part, int whole) { return static_cast<double>(part) / whole; };
    CHECK(std::abs(share(direct, count) - 0.45) < 0.018);
    CHECK(std::abs(share(empty, count) - 0.35) < 0.018);
    CHECK(std::abs(share(worked, count) - 0.20) < 0.018);
    CHECK(std::abs(share(right_without_steps, direct + empty) - 0.5) < 0.02);
    // Three steps, each right with 1 − 0.03 · 19/20.
    CHECK(std::abs(share(right_with_steps, worked) - 0.9169) < 0.022);
}

TEST_CASE("base_data: a mixture of one kind, another template") {
    base_data const data(problem_set(addition{}, 2),
                         {.direct = 0, .empty_think = 0, .worked = 1, .slip_rate = 0},
                         prompt_template{"Q: ", "\nA: "});
    for (index_t i = 0; i < 50; ++i) {
        auto const given = problem_set(addition{}, 2)[i];
        auto const solution = addition{}.worked(given);
        CHECK(data[i].prompt == "Q: " + given.question + "\nA: ");
        CHECK(data[i].response ==
              "<think>" + solution.steps + "</think><answer>" + given.answer + "</answer>");
    }
    base_data const honest(problem_set(addition{}, 2),
                           {.direct = 1, .empty_think = 0, .worked = 0, .guess_rate = 0});
    CHECK(honest[3].response == "<answer>" + problem_set(addition{}, 2)[3].answer + "</answer>");
}

TEST_CASE("base_data: settings that make no sense") {
    problem_set const problems(addition{}, 1);
    double const nan = std::nan("");
    for (auto const& mixture :
         {base_mixture{.direct = 0.5}, base_mixture{.direct = -0.1, .empty_think = 0.9},
          base_mixture{.guess_rate = 1.5}, base_mixture{.slip_rate = -0.1},
          base_mixture{.slip_rate = nan}, base_mixture{.direct = nan}}) {
        CHECK_THROWS_AS(base_data(problems, mixture), configuration_error);
    }
    base_data const data(problems);
    CHECK_THROWS_AS(data[-1], value_error);
}
