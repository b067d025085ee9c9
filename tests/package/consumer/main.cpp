// SPDX-License-Identifier: Apache-2.0
// GRPO from two units that include all of grove, and a call into oneTBB.
#include "bandit.hpp"

#if defined(INCLUDE_NLOHMANN_JSON_HPP_) || defined(PCRE2_MAJOR) || defined(CPPHTTPLIB_HTTPLIB_H)
#error "grove/grove.hpp must not pull in JSON, PCRE2 or HTTP"
#endif

int main() {
    constexpr int steps = 20;
    grove::eigen_backend const backend;
    bool const learned = heads_after(0) == 0.5 && heads_after(steps) > 0.9;
    return learned && backward_calls() == steps && backend.threads() >= 1 ? 0 : 1;
}
