// SPDX-License-Identifier: Apache-2.0
/// @file
/// The rule that pays for thinking before answering.
#pragma once

#include <optional>
#include <string_view>

#include "grove/core/config.hpp"
#include "grove/reward/parse.hpp"

namespace grove::inline GROVE_ISA {

/// 1 for a completion that is exactly a think block and an answer block (`parse_think_answer`),
/// else 0 (DeepSeek-R1, section 2.2.2). The reference plays no part.
struct format_reward {
    std::optional<float> operator()(std::string_view /*prompt*/, std::string_view completion,
                                    std::string_view /*reference*/) const {
        return parse_think_answer(completion) ? 1.0F : 0.0F;
    }
};

}  // namespace grove::inline GROVE_ISA
