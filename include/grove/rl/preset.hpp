// SPDX-License-Identifier: Apache-2.0
/// @file
/// Named algorithms: compositions with their published settings.
#pragma once

#include "grove/rl/advantage.hpp"
#include "grove/rl/aggregation.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/ratio.hpp"
#include "grove/rl/surrogate.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Group-relative policy optimization (Shao et al. 2024, DeepSeekMath, eq. 3): a clipped ratio per
/// token, k3, the mean over each response's tokens. `grpo{}` clips at 0.2 and has β = 0.001.
using grpo = objective<group_normalized, token_ratio, clipped, k3, sequence_mean>;

/// GRPO with the probabilities of whole responses, as DeepSeek-R1 prints it (eq. 1 and 2).
using sequence_grpo =
    objective<group_normalized, sequence_ratio, clipped, sequence_kl<k3>, sequence_mean>;

/// What the DeepSeek-R1 papers report: β for all stages, ε for the first RL stage of R1. An ε of 10
/// bounds the ratio at 11 from above and not at all from below; PPO's customary ε is 0.2.
struct r1_settings {
    double clip = 10.0;             ///< ε ≥ 0
    double kl_coefficient = 0.001;  ///< β ≥ 0
};

/// GRPO as DeepSeek-R1 runs it (arXiv 2501.12948 and its Nature version, methods), in the token
/// form of DeepSeekMath, which is what is commonly implemented; std unbiased, without epsilon.
/// Throws configuration_error for a negative clip.
/// ```cpp
/// auto objective = rl::r1_paper({.clip = 0.2});
/// ```
inline grpo r1_paper(r1_settings settings = {}) {
    require<configuration_error>(settings.clip >= 0, "r1_paper", "expected clip ≥ 0, got ",
                                 settings.clip);
    return {.surrogate = {settings.clip, settings.clip}, .kl_coefficient = settings.kl_coefficient};
}

/// Equation 1 of DeepSeek-R1 to the letter: one ratio π(o|q)/π_old(o|q) and one k3 per response,
/// the mean over responses, no 1/|o|. For study and for short responses: the ratio of a long one
/// leaves the range of the number type after a few updates, which `evaluate` reports.
/// Throws configuration_error for a negative clip.
inline sequence_grpo r1_equation_1(r1_settings settings = {}) {
    require<configuration_error>(settings.clip >= 0, "r1_equation_1", "expected clip ≥ 0, got ",
                                 settings.clip);
    return {.surrogate = {settings.clip, settings.clip}, .kl_coefficient = settings.kl_coefficient};
}

}  // namespace grove::inline GROVE_ISA::rl
