// SPDX-License-Identifier: Apache-2.0
/// @file
/// The formula of an objective as text, with its settings.
#pragma once

#include <cmath>
#include <string>

#include "grove/rl/formula.hpp"
#include "grove/rl/objective.hpp"

namespace grove::inline GROVE_ISA::rl {

/// What `objective` maximises, a line per slot, in UTF-8; S, N and |o| are responses, tokens of the
/// step, tokens of the response, H is the entropy at a token, sg stops the gradient. A law of yours
/// shows as its `formula()`, or by the name of its slot.
/// ```cpp
/// std::puts(rl::describe(rl::grpo{}).c_str());
/// // J = Σ 1/(S·|o|)·(min(r·A, clip(r, 0.8, 1.2)·A) − 0.001·kl)
/// // r = exp(log π − log π_old), per token
/// // A = (R − mean_group) / (std_group + 0), per response
/// // kl = exp(d) − d − 1, d = log π_ref − log π, per token
/// ```
template <class... Slots>
std::string describe(objective<Slots...> const& objective) {
    using composed = rl::objective<Slots...>;
    auto const per = [](level unit) {
        return unit == level::token ? ", per token\n" : ", per response\n";
    };
    bool const with_kl = composed::has_kl && objective.kl_coefficient != 0;
    std::string const surrogate = formula_of(objective.surrogate, "surrogate(r, A)");
    std::string const weight = formula_of(objective.aggregation, "weight(|o|, S, N)");
    std::string text = formula_text("J = Σ ", weight, "·(", surrogate);
    if (with_kl) text += formula_text(" − ", objective.kl_coefficient, "·kl");
    if (double const eta = objective.entropy_coefficient; eta != 0)
        text += formula_text(eta < 0 ? " − " : " + ", std::abs(eta), "·H");
    text += ")\n";
    text += formula_text("r = ", formula_of(objective.ratio, "ratio(log π − log π_old)"),
                         per(decltype(objective.ratio)::unit));
    text += formula_text("A = ", formula_of(objective.advantage, "advantage(R)"),
                         per(decltype(objective.advantage)::unit));
    if (with_kl)
        text += formula_text("kl = ", formula_of(objective.kl, "kl(π, π_ref)"),
                             per(decltype(objective.kl)::unit));
    return text;
}

}  // namespace grove::inline GROVE_ISA::rl
