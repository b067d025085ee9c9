// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rewards per token, and what estimators per token read.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "grove/rl/advantage/moments.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A view of responses (or episodes), packed one after another. What the arrays hold where a token
/// does not count is never looked at: a reward there is lost.
template <class T>
struct trajectory {
    std::span<T const> reward{};           ///< [tokens], for having taken the token
    std::span<T const> value{};            ///< [tokens], expected return before it; for GAE
    std::span<T const> bootstrap{};        ///< [sequences], value after the last token of one that
                                           ///< was cut off; or empty: all have ended
    std::span<index_t const> offsets{};    ///< [sequences + 1], from 0 to tokens
    std::span<std::uint8_t const> mask{};  ///< [tokens], 1 = counts; or empty: all count

    index_t sequences() const { return static_cast<index_t>(offsets.size()) - 1; }
    index_t begin(index_t i) const { return offsets[static_cast<std::size_t>(i)]; }
    index_t end(index_t i) const { return offsets[static_cast<std::size_t>(i) + 1]; }
    bool counts(index_t t) const { return detail::is_set(mask, t); }
};

namespace detail {

/// Throws unless `numbers` `[tokens]` are finite where they count.
template <class T>
void check_numbers(char const* operation, char const* name, std::span<T const> numbers,
                   trajectory<T> const& batch) {
    check_size(operation, name, numbers.size(), batch.reward.size());
    for (std::size_t t = 0; t < numbers.size(); ++t)
        require<value_error>(!batch.counts(static_cast<index_t>(t)) || std::isfinite(numbers[t]),
                             operation, "expected finite ", name, ", got ", numbers[t], " at ", t);
}

template <class T>
void check_trajectory(char const* operation, trajectory<T> const& batch) {
    auto const tokens = static_cast<index_t>(batch.reward.size());
    require<value_error>(
        !batch.offsets.empty() && batch.offsets.front() == 0 && batch.offsets.back() == tokens,
        operation, "expected offsets from 0 to ", tokens, " (the number of rewards), got ",
        batch.offsets.empty() ? 0 : batch.offsets.front(), " to ",
        batch.offsets.empty() ? 0 : batch.offsets.back());
    for (index_t i = 0; i < batch.sequences(); ++i)
        require<value_error>(batch.begin(i) <= batch.end(i), operation,
                             "expected offsets that never decrease, got ", batch.begin(i), " then ",
                             batch.end(i), " at response ", i);
    if (!batch.mask.empty()) check_size(operation, "mask", batch.mask.size(), batch.reward.size());
    check_numbers(operation, "reward", batch.reward, batch);
}

}  // namespace detail

/// Rewards `[tokens]` that pay `rewards` `[sequences]` at the last token that counts, and 0 before.
/// A response without such a token pays nothing. Throws shape_error for sizes that differ.
template <class T>
std::vector<T> final_rewards(std::vector<T> const& rewards, std::span<index_t const> offsets,
                             std::span<std::uint8_t const> mask = {}) {
    detail::check_size("final_rewards", "offsets", offsets.size(), rewards.size() + 1);
    std::vector<T> result(static_cast<std::size_t>(offsets.back()));
    if (!mask.empty()) detail::check_size("final_rewards", "mask", mask.size(), result.size());
    for (std::size_t i = 0; i < rewards.size(); ++i) {
        index_t t = offsets[i + 1] - 1;
        while (t >= offsets[i] && !detail::is_set(mask, t)) --t;
        if (t >= offsets[i]) result[static_cast<std::size_t>(t)] = rewards[i];
    }
    return result;
}

}  // namespace grove::inline GROVE_ISA::rl
