// SPDX-License-Identifier: Apache-2.0
#include "grove/eval/pass_at_k.hpp"

#include <doctest/doctest.h>

#include <tuple>

using namespace grove;

TEST_CASE("pass_at_k: golden values from exact fractions of binomials") {
    for (auto const& [samples, correct, k, expected] : {
             std::tuple{8, 3, 1, 0.375},
             {8, 3, 4, 0.9285714285714286},
             {8, 3, 5, 0.9821428571428571},
             {8, 3, 6, 1.0},
             {8, 0, 3, 0.0},
             {8, 8, 1, 1.0},
             {200, 7, 10, 0.3055988116177335},
             {64, 1, 64, 1.0},
             {1'000'000, 1, 1, 1e-06},
             {100'000, 3, 2, 5.999939999399994e-05},
         }) {
        CAPTURE(samples);
        CHECK(pass_at_k(samples, correct, k) == doctest::Approx(expected).epsilon(1e-13));
    }
}

TEST_CASE("pass_at_k: grows with k and with the right ones") {
    for (index_t correct = 0; correct <= 16; ++correct) {
        for (index_t k = 1; k < 16; ++k) {
            CHECK(pass_at_k(16, correct, k) <= pass_at_k(16, correct, k + 1));
            if (correct > 0) CHECK(pass_at_k(16, correct - 1, k) <= pass_at_k(16, correct, k));
        }
    }
}

TEST_CASE("pass_at_k: what it refuses") {
    CHECK_THROWS_AS(pass_at_k(8, 9, 1), value_error);
    CHECK_THROWS_AS(pass_at_k(8, -1, 1), value_error);
    CHECK_THROWS_AS(pass_at_k(8, 1, 0), value_error);
    CHECK_THROWS_AS(pass_at_k(0, 0, 1), value_error);
    CHECK_THROWS_WITH(pass_at_k(8, 1, 9),
                      "[pass_at_k] expected 1 ≤ k ≤ samples, got k = 9 with 8 samples");
}
