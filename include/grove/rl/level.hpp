// SPDX-License-Identifier: Apache-2.0
/// @file
/// The two sizes at which reinforcement learning of language models takes its terms.
#pragma once

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA::rl {

/// What one term of an objective is taken over: a token, or a whole response.
enum class level { token, sequence };

}  // namespace grove::inline GROVE_ISA::rl
