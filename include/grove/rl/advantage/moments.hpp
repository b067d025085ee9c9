// SPDX-License-Identifier: Apache-2.0
/// @file
/// What the rewards of a group say: two passes in double, and exact zeros where they all agree.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::rl::detail {

/// What numbers say, over those of them that count, each with its weight.
struct group_moments {
    index_t count = 0;
    double weight = 0;  ///< Σ weights; `count` where all are 1
    double mean = 0;
    double low = 0, high = 0;  ///< extremes
    double scale = 0;          ///< max |r − mean|
    double squares = 0;        ///< Σ ((r − mean) / scale)²

    /// No two numbers differ, so that nothing can be learned from them.
    bool flat() const { return low == high; }
    /// √(Σ (r − mean)² / (n − 1)), or / n where biased.
    double deviation(bool unbiased) const {
        return scale * std::sqrt(squares / (unbiased ? weight - 1 : weight));
    }
};

inline bool is_set(std::span<std::uint8_t const> mask, index_t i) {
    return mask.empty() || mask[static_cast<std::size_t>(i)] != 0;
}

/// Mean first, then the centred squares, scaled so as not to underflow: the subtraction E[x²] −
/// E[x]² would lose every digit. `for_each(body)` calls `body(number, weight)` for every number.
template <class ForEach>
group_moments moments_of(ForEach const& for_each) {
    group_moments m;
    for_each([&](double x, double weight) {
        m.low = m.count == 0 ? x : std::min(m.low, x);
        m.high = m.count == 0 ? x : std::max(m.high, x);
        m.mean += weight * x;
        m.weight += weight;
        ++m.count;
    });
    if (m.flat()) {
        m.mean = m.low;
        return m;
    }
    m.mean /= m.weight;
    m.scale = std::max(m.high - m.mean, m.mean - m.low);
    for_each([&](double x, double weight) {
        double const d = (x - m.mean) / m.scale;
        m.squares += weight * d * d;
    });
    return m;
}

/// Those of the rewards `first` to `last` (exclusive) that are set, but for the one at `without`.
template <class T>
group_moments moments(std::span<T const> rewards, std::span<std::uint8_t const> scored,
                      index_t first, index_t last, index_t without = -1) {
    return moments_of([&](auto&& body) {
        for (index_t i = first; i < last; ++i)
            if (i != without && is_set(scored, i))
                body(static_cast<double>(rewards[static_cast<std::size_t>(i)]), 1.0);
    });
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

/// Throws shape_error unless `size` is `expected`.
inline void check_size(char const* operation, char const* name, std::size_t size,
                       std::size_t expected) {
    require<shape_error>(size == expected, operation, "expected ", name, " [", expected, "], got [",
                         size, "]");
}

inline void check_not_negative(char const* operation, char const* name, double x) {
    require<configuration_error>(x >= 0 && std::isfinite(x), operation, "expected ", name,
                                 " ≥ 0, got ", x);
}

/// Checks everything, then writes `rule(moments, first, last, i)` for each response i that has a
/// reward, in a group first … last whose rewards differ; exactly 0 for all others.
template <class T, class Rule>
void estimate_groups(char const* operation, std::span<T const> rewards,
                     std::span<index_t const> groups, std::span<T> advantage,
                     std::span<std::uint8_t const> scored, Rule const& rule) {
    require<shape_error>(advantage.size() == rewards.size(), operation, "expected advantage [",
                         rewards.size(), "] like rewards, got [", advantage.size(), "]");
    check_groups(operation, rewards, groups, scored);
    for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
        index_t const first = groups[g], last = groups[g + 1];
        auto const m = moments(rewards, scored, first, last);
        for (index_t i = first; i < last; ++i) {
            bool const informative = !m.flat() && is_set(scored, i);
            advantage[static_cast<std::size_t>(i)] =
                informative ? static_cast<T>(rule(m, first, last, i)) : T(0);
        }
    }
}

}  // namespace grove::inline GROVE_ISA::rl::detail
