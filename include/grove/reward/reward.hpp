// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a reward is, and how a batch is scored.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// A function (prompt, completion, reference) → float or none. None is not zero: it says that the
/// rule does not apply (no reference, say), and such a sample stays out of its group's statistics.
/// @code
/// auto const brief = [](std::string_view, std::string_view completion, std::string_view) {
///     return completion.size() < 100 ? 1.0F : 0.0F;
/// };
/// static_assert(grove::reward<decltype(brief)>);
/// @endcode
template <class Reward>
concept reward = requires(Reward const& rule, std::string_view text) {
    { rule(text, text, text) } -> std::convertible_to<std::optional<float>>;
};

/// Rewards `[completions]` of a batch; the three texts of a sample have the same index. Throws
/// shape_error where the lengths differ, and value_error for a reward that is NaN or infinite.
template <reward Reward>
std::vector<std::optional<float>> score_batch(Reward const& rule,
                                              std::span<std::string const> prompts,
                                              std::span<std::string const> completions,
                                              std::span<std::string const> references) {
    auto const size = completions.size();
    require<shape_error>(prompts.size() == size && references.size() == size, "score_batch",
                         "expected a prompt and a reference for each of ", size,
                         " completions, got ", prompts.size(), " and ", references.size());
    std::vector<std::optional<float>> rewards(size);
    for (std::size_t i = 0; i < size; ++i) {
        rewards[i] = rule(prompts[i], completions[i], references[i]);
        require<value_error>(!rewards[i] || std::isfinite(*rewards[i]), "score_batch",
                             "expected a finite reward or none, got ", rewards[i].value_or(0.0F),
                             " for sample ", i);
    }
    return rewards;
}

}  // namespace grove::inline GROVE_ISA
