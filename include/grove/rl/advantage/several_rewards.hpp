// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages from several rewards per response.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "grove/rl/advantage/group.hpp"
#include "grove/rl/advantage/whiten.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Group reward-decoupled normalization (Liu et al. 2026, GDPO): each reward is normalized within
/// its group by `Each`, then they are summed with weights, then the sums are normalized over the
/// batch: A = (Σₖ wₖ zₖ − mean_batch) / (std_batch + epsilon).
///
/// Summed first, (0, 2), (1, 1) and (2, 0) would be one and the same answer. A response whose
/// rewards equal those of its whole group has Σₖ wₖ zₖ = 0; a batch of such gets exactly 0.
template <class Each = group_normalized>
struct decoupled_rewards {
    static constexpr level unit = level::sequence;

    Each each{};
    double epsilon = 0.0;  ///< added to std_batch; ≥ 0 (TRL 1e-4)

    /// Writes `advantage` `[sequences]` for `rewards` `[kinds, sequences]` (all of the first kind
    /// first), `weights` `[kinds]`, `groups` `[groups + 1]` and `scored` `[kinds, sequences]` or
    /// empty. A response with none of the rewards gets 0 and takes no part in the batch's mean.
    /// Throws shape_error for sizes that differ and what `Each` throws.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<double const> weights,
                    std::span<index_t const> groups, std::span<T> advantage,
                    std::span<std::uint8_t const> scored = {}) const {
        char const* const operation = "decoupled_rewards";
        std::size_t const sequences = advantage.size();
        detail::check_not_negative(operation, "epsilon", epsilon);
        detail::check_size(operation, "rewards", rewards.size(), weights.size() * sequences);
        if (!scored.empty()) detail::check_size(operation, "scored", scored.size(), rewards.size());
        std::vector<double> sums(sequences), kind(sequences), z(sequences);
        std::vector<std::uint8_t> any(sequences);
        for (std::size_t k = 0; k < weights.size(); ++k) {
            auto const own = rewards.subspan(k * sequences, sequences);
            auto const own_scored =
                scored.empty() ? scored : scored.subspan(k * sequences, sequences);
            kind.assign(own.begin(), own.end());
            each(std::span<double const>(kind), groups, std::span<double>(z), own_scored);
            for (std::size_t i = 0; i < sequences; ++i) {
                sums[i] += weights[k] * z[i];
                any[i] |= detail::is_set(own_scored, static_cast<index_t>(i));
            }
        }
        auto const m =
            detail::moments(std::span<double const>(sums), any, 0, static_cast<index_t>(sequences));
        double const divisor = m.flat() ? 1.0 : m.deviation(true) + epsilon;
        for (std::size_t i = 0; i < sequences; ++i)
            advantage[i] =
                m.flat() || any[i] == 0 ? T(0) : static_cast<T>((sums[i] - m.mean) / divisor);
    }
    std::string formula() const {
        return formula_text("batch_normalize(Σₖ wₖ·zₖ), z = ", formula_of(each, "each(R)"));
    }
};

}  // namespace grove::inline GROVE_ISA::rl
