// SPDX-License-Identifier: Apache-2.0
#include "grove/task/problem.hpp"

#include <doctest/doctest.h>

#include <set>

#include "grove/task/addition.hpp"

using namespace grove;

static_assert(task<addition>);
static_assert(!task<problem>);

TEST_CASE("problem_set: golden problems") {
    // Philox, the draws, the hash and the split, computed by an independent program.
    problem_set const training(addition{}, 17);
    CHECK(training[0] == problem{"860+555", "1415"});
    CHECK(training[1] == problem{"527+643", "1170"});
    CHECK(training[2] == problem{"466+592", "1058"});
    CHECK(training[4294967295] == problem{"271+886", "1157"});
    problem_set const held_out(addition{}, 17, problem_split::held_out);
    CHECK(held_out[0] == problem{"913+627", "1540"});
    CHECK(held_out[1] == problem{"120+785", "905"});
    problem_set const long_seed(addition{.digits = 2, .terms = 4}, (1ULL << 40) + 5);
    CHECK(long_seed[3] == problem{"20+21+18+23", "82"});
}

TEST_CASE("problem_set: the splits share no question, under any seed") {
    std::set<std::string> training, held_out;
    for (std::uint64_t seed : {1, 2}) {
        problem_set const first(addition{.digits = 2}, seed);
        problem_set const second(addition{.digits = 2}, seed + 7, problem_split::held_out);
        CHECK(first.split() == problem_split::training);
        for (index_t i = 0; i < 2000; ++i) {
            training.insert(first[i].question);
            held_out.insert(second[i].question);
        }
    }
    CHECK(training.size() > 2000);
    CHECK(held_out.size() > 500);
    for (auto const& question : held_out) CHECK(training.count(question) == 0);
}

TEST_CASE("split_of: one question in eight is held out") {
    int held_out = 0;
    for (int a = 100; a < 1000; ++a) {
        for (int b = 100; b < 1000; b += 10) {
            auto const question = std::to_string(a) + '+' + std::to_string(b);
            held_out += split_of(question) == problem_split::held_out;
        }
    }
    CHECK(held_out == 9955);
}

TEST_CASE("problem_set: lanes of one problem are independent") {
    problem_set const problems(addition{}, 17);
    CHECK(random_sequence(problems.key(5, 2)).uniform() !=
          random_sequence(problems.key(5, 0)).uniform());
    CHECK(problems.key(5, 2).stream == random_stream::task);
}

TEST_CASE("problem_set: what it refuses") {
    problem_set const problems(addition{}, 17);
    CHECK_THROWS_AS(problems[-1], value_error);
    CHECK_THROWS_AS(problems[index_t{1} << 32], value_error);
    auto const constant = [](random_sequence&) { return problem{"345+678", "1023"}; };
    CHECK(problem_set(constant, 1)[0].answer == "1023");
    problem_set const impossible(constant, 1, problem_split::held_out);
    CHECK_THROWS_WITH_AS(
        impossible[0],
        "[problem_set] expected a task with questions in both splits, got none of the "
        "held-out split in 1000 draws",
        value_error);
}
