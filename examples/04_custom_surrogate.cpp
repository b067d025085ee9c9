// SPDX-License-Identifier: Apache-2.0
// A surrogate of your own beside grove's: one struct, no derivative, on equal terms with the rest.
#include <iostream>

#include "grove/core/dual.hpp"
#include "grove/io/table.hpp"
#include "grove/rl/describe.hpp"
#include "grove/rl/evaluate.hpp"
#include "grove/rl/preset.hpp"

namespace rl = grove::rl;

// A·log(1 + r), scaled: the pull is A at r = 1 and never more than 2·A, without a corner where it
// ends.
struct saturating {
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return Number(2) * grove::math::log(Number(1) + ratio) * advantage;
    }
    std::string formula() const { return "2·log(1 + r)·A"; }
};

// GRPO with another surrogate.
template <class Surrogate>
using grpo_with =
    rl::objective<rl::group_normalized, rl::token_ratio, Surrogate, rl::no_kl, rl::token_mean>;

// The pull on one token, −∂loss/∂log π, at a ratio, with advantage A.
template <class Surrogate>
double pull(Surrogate const& surrogate, double ratio, double advantage) {
    grpo_with<Surrogate> const objective{.surrogate = surrogate};
    std::vector<double> const now{std::log(ratio)}, old{0.0}, a{advantage};
    std::vector<double> gradient(1);
    std::vector<grove::index_t> const offsets{0, 1};
    rl::evaluate(
        objective,
        rl::token_batch<double>{
            .log_probability = now, .old_log_probability = old, .advantage = a, .offsets = offsets},
        gradient);
    return -gradient[0];
}

int main() {
    std::cout << rl::describe(grpo_with<saturating>{}) << '\n';

    // The same struct with numbers, and with numbers that carry a derivative.
    using number = grove::dual<double, 1>;
    auto const y = saturating{}(number::variable(1.5, 0), number(2.0));
    std::cout << "at r = 1.5, A = 2: value " << y.value << ", slope " << y.derivative[0] << "\n\n";

    grove::table results({"A", "ratio", "unclipped", "clipped", "soft_gate", "saturating"});
    for (double a : {1.0, -1.0})
        for (double r : {0.5, 0.9, 1.0, 1.1, 1.5, 3.0})
            results.row({a, r, pull(rl::unclipped{}, r, a), pull(rl::clipped{}, r, a),
                         pull(rl::soft_gate{}, r, a), pull(saturating{}, r, a)});
    std::cout << "The pull on a token's log-probability:\n" << results.text();

    // On policy they all agree; far away only the bounded ones let go.
    bool const agree =
        std::abs(pull(saturating{}, 1.0, 1.0) - pull(rl::clipped{}, 1.0, 1.0)) < 1e-12;
    return agree && pull(saturating{}, 3.0, 1.0) < pull(rl::unclipped{}, 3.0, 1.0) ? 0 : 1;
}
