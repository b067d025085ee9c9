// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages: how much better a response was than what the policy does on that prompt anyway.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Turns rewards `[sequences]` into advantages `[sequences]`. Group g holds the responses
/// `groups[g]` to `groups[g + 1]` (exclusive) to one prompt; `scored` is 1 where a response has a
/// reward, or empty where all have one.
template <class Estimator, class T>
concept advantage_estimator =
    requires(Estimator const& estimator, std::span<T const> rewards,
             std::span<index_t const> groups, std::span<T> advantage,
             std::span<std::uint8_t const> scored) {
        { Estimator::unit } -> std::convertible_to<level>;
        estimator(rewards, groups, advantage, scored);
    };

namespace detail {

/// What a group's rewards say, over those of its responses that have one.
struct group_moments {
    index_t count = 0;
    double mean = 0;
    double low = 0, high = 0;  ///< extremes
    double scale = 0;          ///< max |r − mean|
    double squares = 0;        ///< Σ ((r − mean) / scale)²

    /// No two rewards differ, so that nothing can be learned from the group.
    bool flat() const { return low == high; }
    /// √(Σ (r − mean)² / (n − 1)), or / n where biased.
    double deviation(bool unbiased) const {
        return scale * std::sqrt(squares / static_cast<double>(unbiased ? count - 1 : count));
    }
};

inline bool is_set(std::span<std::uint8_t const> mask, index_t i) {
    return mask.empty() || mask[static_cast<std::size_t>(i)] != 0;
}

/// Two passes in double: mean first, then the centred squares, scaled so as not to underflow.
template <class T>
group_moments moments(std::span<T const> rewards, std::span<std::uint8_t const> scored,
                      index_t first, index_t last) {
    group_moments m;
    auto const for_each_reward = [&](auto&& body) {
        for (index_t i = first; i < last; ++i)
            if (is_set(scored, i)) body(static_cast<double>(rewards[static_cast<std::size_t>(i)]));
    };
    for_each_reward([&](double r) {
        m.low = m.count == 0 ? r : std::min(m.low, r);
        m.high = m.count == 0 ? r : std::max(m.high, r);
        m.mean += r;
        ++m.count;
    });
    if (m.flat()) return m;
    m.mean /= static_cast<double>(m.count);
    m.scale = std::max(m.high - m.mean, m.mean - m.low);
    for_each_reward([&](double r) {
        double const x = (r - m.mean) / m.scale;
        m.squares += x * x;
    });
    return m;
}

template <class T>
void check_groups(char const* operation, std::span<T const> rewards,
                  std::span<index_t const> groups, std::span<std::uint8_t const> scored) {
    auto const sequences = static_cast<index_t>(rewards.size());
    require<shape_error>(scored.empty() || scored.size() == rewards.size(), operation,
                         "expected scored [", sequences, "] or empty, got [", scored.size(), "]");
    require<value_error>(!groups.empty() && groups.front() == 0 && groups.back() == sequences,
                         operation, "expected group offsets from 0 to ", sequences,
                         " (the number of rewards), got ", groups.empty() ? 0 : groups.front(),
                         " to ", groups.empty() ? 0 : groups.back());
    for (std::size_t g = 0; g + 1 < groups.size(); ++g)
        require<value_error>(groups[g] < groups[g + 1], operation,
                             "expected at least one response in every group, got offsets ",
                             groups[g], " to ", groups[g + 1], " for group ", g);
    for (std::size_t i = 0; i < rewards.size(); ++i)
        require<value_error>(!is_set(scored, static_cast<index_t>(i)) || std::isfinite(rewards[i]),
                             operation, "expected finite rewards, got ", rewards[i],
                             " for response ", i);
}

}  // namespace detail

/// A = (r − mean) / (std + epsilon) over the responses to one prompt (DeepSeek-R1, eq. 3).
///
/// The paper names no estimator of std; the default is the unbiased one, without epsilon. Peers add
/// 1e-4 (TRL), 1e-6 (verl), 1e-9 (OpenRLHF). A group whose rewards are all equal, and a group of
/// one, for which the unbiased std does not exist, get exactly 0. Computed in double.
struct group_normalized {
    static constexpr level unit = level::sequence;

    bool unbiased = true;  ///< divide the squares by n − 1 rather than n
    double epsilon = 0.0;  ///< added to std; ≥ 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`. A
    /// response without a reward (`scored` is 0) gets 0 and takes no part in mean and std.
    /// Throws shape_error for sizes that differ, value_error for a reward that is not finite and
    /// for an empty group, configuration_error for a negative epsilon.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        require<configuration_error>(epsilon >= 0, "group_normalized", "expected epsilon ≥ 0, got ",
                                     epsilon);
        require<shape_error>(advantage.size() == rewards.size(), "group_normalized",
                             "expected advantage [", rewards.size(), "] like rewards, got [",
                             advantage.size(), "]");
        detail::check_groups("group_normalized", rewards, groups, scored);
        for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
            auto const m = detail::moments(rewards, scored, groups[g], groups[g + 1]);
            double const divisor = m.flat() ? 1.0 : m.deviation(unbiased) + epsilon;
            for (index_t i = groups[g]; i < groups[g + 1]; ++i) {
                auto const at = static_cast<std::size_t>(i);
                bool const informative = !m.flat() && detail::is_set(scored, i);
                advantage[at] =
                    informative ? static_cast<T>((rewards[at] - m.mean) / divisor) : T(0);
            }
        }
    }
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
