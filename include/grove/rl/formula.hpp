// SPDX-License-Identifier: Apache-2.0
/// @file
/// The text of a formula: what the members `formula()` of laws are written with.
#pragma once

#include <sstream>
#include <string>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA::rl {

/// `parts` one after another; numbers in their shortest usual form.
template <class... Parts>
std::string formula_text(Parts const&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

/// `law.formula()`, or `name` for a law that has none.
template <class Law>
std::string formula_of(Law const& law, char const* name) {
    if constexpr (requires { std::string(law.formula()); }) {
        return law.formula();
    } else {
        return name;
    }
}

}  // namespace grove::inline GROVE_ISA::rl
