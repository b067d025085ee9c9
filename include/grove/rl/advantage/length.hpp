// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages per response whose statistics weigh a response by its number of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "grove/rl/advantage/moments.hpp"
#include "grove/rl/advantage/whiten.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

namespace detail {

inline void check_lengths(char const* operation, std::span<index_t const> lengths,
                          std::size_t sequences) {
    check_size(operation, "lengths", lengths.size(), sequences);
    for (std::size_t i = 0; i < lengths.size(); ++i)
        require<value_error>(lengths[i] >= 0, operation, "expected lengths ≥ 0, got ", lengths[i],
                             " for response ", i);
}

}  // namespace detail

/// A = R − Σ|o|·R / Σ|o| over the responses to one prompt (Hao et al. 2025, OPO): the baseline of
/// least variance where a gradient's square grows with the length.
///
/// A group of equal rewards, a group of one (verl: its reward) and a response without a reward get
/// exactly 0.
struct length_weighted_baseline {
    static constexpr level unit = level::sequence;

    /// Writes `advantage` `[sequences]` for `rewards` and `lengths` `[sequences]` (tokens that
    /// count) and `groups` `[groups + 1]`. Throws shape_error for sizes that differ, value_error
    /// for a reward that is not finite, an empty group, a negative length or a group without
    /// tokens.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<index_t const> lengths, std::span<T> advantage,
                    std::span<std::uint8_t const> scored = {}) const {
        char const* const operation = "length_weighted_baseline";
        detail::check_lengths(operation, lengths, rewards.size());
        auto const baseline = [&](index_t first, index_t last) {
            double sum = 0, tokens = 0;
            for (index_t i = first; i < last; ++i) {
                auto const at = static_cast<std::size_t>(i);
                if (!detail::is_set(scored, i)) continue;
                sum += static_cast<double>(lengths[at]) * static_cast<double>(rewards[at]);
                tokens += static_cast<double>(lengths[at]);
            }
            require<value_error>(tokens > 0, operation,
                                 "expected a token in every group, got none in responses ", first,
                                 " to ", last - 1);
            return sum / tokens;
        };
        detail::estimate_groups(operation, rewards, groups, advantage, scored,
                                [&](auto const&, index_t first, index_t last, index_t i) {
                                    return rewards[static_cast<std::size_t>(i)] -
                                           baseline(first, last);
                                });
    }
    std::string formula() const { return "R − Σ_group |o|·R / Σ_group |o|"; }
};

/// A = whitened(R − mean_group), the whitening over all the tokens of the batch (Hu et al. 2025,
/// REINFORCE++-baseline): the group gives the baseline, the batch the scale.
///
/// A batch in which no reward differs from its group's mean gets exactly 0, as does a response
/// without a reward. Beside groups that differ, one whose rewards are all equal gets the common
/// shift of the whitening, −mean / std, which is 0 only where all responses are equally long.
struct group_centred_whitened {
    static constexpr level unit = level::sequence;

    whitening batch{};

    /// Writes `advantage` `[sequences]` for `rewards` and `lengths` `[sequences]` (tokens that
    /// count) and `groups` `[groups + 1]`. Throws shape_error for sizes that differ, value_error
    /// for a reward that is not finite, an empty group or a negative length.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<index_t const> lengths, std::span<T> advantage,
                    std::span<std::uint8_t const> scored = {}) const {
        char const* const operation = "group_centred_whitened";
        detail::check_lengths(operation, lengths, rewards.size());
        detail::estimate_groups(operation, rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    return rewards[static_cast<std::size_t>(i)] - m.mean;
                                });
        auto const counts = [&](std::size_t i) {
            return lengths[i] > 0 && detail::is_set(scored, static_cast<index_t>(i));
        };
        auto const tokens = detail::moments_of([&](auto&& body) {
            for (std::size_t i = 0; i < rewards.size(); ++i)
                if (counts(i))
                    body(static_cast<double>(advantage[i]), static_cast<double>(lengths[i]));
        });
        for (std::size_t i = 0; i < rewards.size(); ++i)
            advantage[i] = counts(i) ? static_cast<T>(batch.apply(tokens, advantage[i])) : T(0);
    }
    std::string formula() const { return "whiten_tokens(R − mean_group)"; }
};

}  // namespace grove::inline GROVE_ISA::rl
