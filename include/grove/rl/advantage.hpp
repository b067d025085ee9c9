// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages: how much better a response was than what the policy does on that prompt anyway.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/rl/advantage/gae.hpp"
#include "grove/rl/advantage/group.hpp"
#include "grove/rl/advantage/length.hpp"
#include "grove/rl/advantage/moments.hpp"
#include "grove/rl/advantage/returns.hpp"
#include "grove/rl/advantage/several_rewards.hpp"
#include "grove/rl/advantage/teacher.hpp"
#include "grove/rl/advantage/token_baseline.hpp"
#include "grove/rl/advantage/whiten.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// What an estimator from the rewards of a group alone looks like (advantage/group.hpp); those that
/// need more (lengths, several rewards, values) take it in the call and are no such estimators.
///
/// Turns rewards `[sequences]` into advantages `[sequences]`. Group g holds the responses
/// `groups[g]` to `groups[g + 1]` (exclusive) to one prompt; `scored` is 1 where a response has a
/// reward, or empty where all have one.
template <class Estimator, class T>
concept advantage_estimator = requires(Estimator const& estimator, std::span<T const> rewards,
                                       std::span<index_t const> groups, std::span<T> advantage,
                                       std::span<std::uint8_t const> scored) {
    { Estimator::unit } -> std::convertible_to<level>;
    estimator(rewards, groups, advantage, scored);
};

/// The advantages of `rewards` `[sequences]` in a new vector; throws what the estimator throws.
/// ```cpp
/// std::vector<double> rewards{0, 1, 1, 0, 0, 1};
/// auto advantage = rl::advantages(rl::group_normalized{}, rewards, rl::equal_groups(2, 3));
/// ```
template <class T, advantage_estimator<T> Estimator>
std::vector<T> advantages(Estimator const& estimator, std::vector<T> const& rewards,
                          std::span<index_t const> groups,
                          std::span<std::uint8_t const> scored = {}) {
    std::vector<T> result(rewards.size());
    estimator(std::span<T const>(rewards), groups, std::span<T>(result), scored);
    return result;
}

/// Offsets `[groups + 1]` of `groups` groups of `size` responses each.
inline std::vector<index_t> equal_groups(index_t groups, index_t size) {
    require<value_error>(groups >= 0 && size > 0, "equal_groups",
                         "expected groups ≥ 0 and size ≥ 1, got ", groups, " and ", size);
    std::vector<index_t> offsets(static_cast<std::size_t>(groups) + 1);
    for (index_t g = 0; g <= groups; ++g) offsets[static_cast<std::size_t>(g)] = g * size;
    return offsets;
}

/// Share of groups whose rewards are all equal, from which nothing can be learned: 1 where a task
/// is always or never solved. Throws as group_normalized does; 0 for no groups.
template <class T>
double zero_variance_share(std::vector<T> const& rewards, std::span<index_t const> groups,
                           std::span<std::uint8_t const> scored = {}) {
    std::span<T const> const r(rewards);
    detail::check_groups("zero_variance_share", r, groups, scored);
    index_t flat = 0;
    for (std::size_t g = 0; g + 1 < groups.size(); ++g)
        flat += detail::moments(r, scored, groups[g], groups[g + 1]).flat();
    auto const count = static_cast<double>(groups.size() - 1);
    return count == 0 ? 0.0 : static_cast<double>(flat) / count;
}

}  // namespace grove::inline GROVE_ISA::rl
