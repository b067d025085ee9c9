// SPDX-License-Identifier: Apache-2.0
/// @file
/// The answer that most completions agree on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "grove/core/config.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// Majority vote among the answers of one problem (self-consistency, Wang et al. 2022; cons@k in
/// DeepSeek-R1). Answers count as the same where their texts are the same: normalise them first.
/// None does not vote; of equally frequent answers the one that appeared first wins; none where
/// nobody voted. The view is into `answers`.
inline std::optional<std::string_view> consensus(
    std::span<std::optional<std::string> const> answers) {
    std::unordered_map<std::string_view, index_t> votes;
    for (auto const& answer : answers) {
        if (answer) ++votes[*answer];
    }
    std::optional<std::string_view> winner;
    index_t most = 0;
    for (auto const& answer : answers) {
        if (!answer || votes[*answer] <= most) continue;
        winner = *answer;
        most = votes[*answer];
    }
    return winner;
}

}  // namespace grove::inline GROVE_ISA
