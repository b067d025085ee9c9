// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages per token without a critic: the rewards still to come.
#pragma once

#include <span>
#include <string>

#include "grove/rl/advantage/trajectory.hpp"
#include "grove/rl/advantage/whiten.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Gₜ = rₜ + discount·Gₜ₊₁, written to `returns` `[tokens]`; tokens that do not count get 0 and are
/// stepped over without discount. Throws shape_error, value_error for a batch that does not fit
/// together or a reward that is not finite, configuration_error for a discount outside [0, 1].
template <class T>
void returns_to_go(trajectory<T> const& batch, double discount, std::span<T> returns) {
    char const* const operation = "returns_to_go";
    detail::check_trajectory(operation, batch);
    detail::check_size(operation, "returns", returns.size(), batch.reward.size());
    require<configuration_error>(discount >= 0 && discount <= 1, operation,
                                 "expected 0 ≤ discount ≤ 1, got ", discount);
    for (index_t i = 0; i < batch.sequences(); ++i) {
        double sum = 0;
        for (index_t t = batch.end(i) - 1; t >= batch.begin(i); --t) {
            auto const at = static_cast<std::size_t>(t);
            if (batch.counts(t)) sum = static_cast<double>(batch.reward[at]) + discount * sum;
            returns[at] = batch.counts(t) ? static_cast<T>(sum) : T(0);
        }
    }
}

/// A = whitened Gₜ over all the tokens of the batch (Hu 2025, REINFORCE++); exactly 0 where all the
/// returns are equal. A penalty for leaving the reference goes into the rewards (kl_reward.hpp).
struct whitened_returns {
    static constexpr level unit = level::token;

    double discount = 1.0;  ///< γ in [0, 1]
    whitening batch{};

    /// Writes `advantage` `[tokens]`. Throws as returns_to_go and whitening do.
    template <class T>
    void operator()(trajectory<T> const& trajectories, std::span<T> advantage) const {
        returns_to_go(trajectories, discount, advantage);
        batch(advantage, trajectories.mask);
    }
    std::string formula() const {
        return formula_text("whiten_tokens(Gₜ), Gₜ = rₜ + ", discount, "·Gₜ₊₁");
    }
};

/// Aₜ = Σ_{s≥t} rₛ − R(greedy) (Li et al. 2023, ReMax): the baseline is the reward of the response
/// that is decoded greedily for the same prompt, at the price of one more response per prompt.
struct greedy_baseline {
    static constexpr level unit = level::token;

    /// Writes `advantage` `[tokens]`; `greedy` `[sequences]` is the reward of the greedy response.
    /// Throws as returns_to_go does, shape_error and value_error for `greedy` likewise.
    template <class T>
    void operator()(trajectory<T> const& batch, std::span<T const> greedy,
                    std::span<T> advantage) const {
        returns_to_go(batch, 1.0, advantage);
        detail::check_size("greedy_baseline", "greedy", greedy.size(),
                           static_cast<std::size_t>(batch.sequences()));
        for (index_t i = 0; i < batch.sequences(); ++i) {
            T const baseline = greedy[static_cast<std::size_t>(i)];
            require<value_error>(std::isfinite(baseline), "greedy_baseline",
                                 "expected finite greedy rewards, got ", baseline, " for response ",
                                 i);
            for (index_t t = batch.begin(i); t < batch.end(i); ++t)
                if (batch.counts(t)) advantage[static_cast<std::size_t>(t)] -= baseline;
        }
    }
    std::string formula() const { return "Σ_{s≥t} rₛ − R(greedy)"; }
};

}  // namespace grove::inline GROVE_ISA::rl
