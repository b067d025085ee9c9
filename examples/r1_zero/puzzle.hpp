// SPDX-License-Identifier: Apache-2.0
// The problems: sums, and, where the settings say so, countdowns among them.
#pragma once

#include "grove/reward/accuracy.hpp"
#include "grove/task/addition.hpp"
#include "grove/task/countdown.hpp"

namespace r1_zero::inline GROVE_ISA {

// A sum or a countdown, of which `share` are countdowns.
struct puzzle {
    grove::addition sum{};
    grove::countdown reach{};
    double share = 0.0;

    std::string_view alphabet() const {
        return share > 0 ? grove::countdown::alphabet : grove::addition::alphabet;
    }
    grove::problem operator()(grove::random_sequence& random) const {
        return share > 0 && random.uniform() < share ? reach(random) : sum(random);
    }
    grove::worked_solution worked(grove::problem const& given, grove::random_sequence& random,
                                  double slip_rate) const {
        return is_countdown(given.question) ? reach.worked(given, random, slip_rate)
                                            : sum.worked(given, random, slip_rate);
    }
    std::string guess(grove::problem const& given, grove::random_sequence& random) const {
        return is_countdown(given.question) ? reach.guess(given, random) : sum.guess(given, random);
    }
    static bool is_countdown(std::string_view question) {
        return question.find(';') != question.npos;
    }
};

// References of countdowns are expressions, those of sums are numbers.
struct right_answer {
    bool operator()(std::string_view answer, std::string_view reference) const {
        bool const is_number = reference.find_first_of("+-*/") == reference.npos;
        return is_number ? grove::exact_answer{}(answer, reference)
                         : grove::countdown_verifier{}(answer, reference);
    }
};

}  // namespace r1_zero::inline GROVE_ISA
