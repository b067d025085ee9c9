// SPDX-License-Identifier: Apache-2.0
/// @file
/// Everything a law may read about the token, or the response, that it is for.
#pragma once

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA::rl {

/// The numbers of one token, or the sums over the tokens of one response; `Number` is a scalar, a
/// pack or a dual number.
template <class Number>
struct unit_numbers {
    Number log_probability;  ///< log π
    Number log_ratio;  ///< log π − log π_old; of a response as the ratio's `of_token` has it
    Number reference_log_probability;       ///< log π_ref
    Number advantage;                       ///< A
    Number length = Number(1);              ///< |o| for a response, 1 for a token
    Number response_log_ratio = Number(0);  ///< mean log-ratio of the token's response
    Number selected = Number(0);            ///< 1 where the batch selects the token, else 0
    Number vocabulary_kl = Number(0);       ///< KL(π ‖ π_ref) over the token's whole vocabulary
};

}  // namespace grove::inline GROVE_ISA::rl
