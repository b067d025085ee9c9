// SPDX-License-Identifier: Apache-2.0
/// @file
/// A baseline per position, weighted by how much each response moves the policy.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "grove/rl/advantage/returns.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Optimal token baseline (verl, `optimal_token_baseline`): Aₜ = Gₜ − bₜ with
/// bₜ = Σᵢ Gᵢₜ·Wᵢₜ / (Σᵢ Wᵢₜ + epsilon) over the responses to one prompt that reach position t, and
/// Wₜ = Σ_{s≤t} (1 − 2πₛ + Σᵥ π²), the squared norm of the gradient of log π by the logits so far.
///
/// Positions count tokens that count. From where only one response is left there is no baseline
/// and A = G. A group whose total rewards are all equal, and a group of one, get exactly 0.
struct optimal_token_baseline {
    static constexpr level unit = level::token;

    double epsilon = 1e-8;  ///< ≥ 0

    /// Writes `advantage` `[tokens]` for `log_probability` `[tokens]` of the sampled tokens,
    /// `squared_probabilities` `[tokens]` = Σᵥ π(v)² over the vocabulary, and `groups`
    /// `[groups + 1]`. Throws shape_error, value_error and configuration_error for what does not
    /// fit together or is not finite.
    template <class T>
    void operator()(trajectory<T> const& batch, std::span<T const> log_probability,
                    std::span<T const> squared_probabilities, std::span<index_t const> groups,
                    std::span<T> advantage) const {
        char const* const operation = "optimal_token_baseline";
        detail::check_not_negative(operation, "epsilon", epsilon);
        returns_to_go(batch, 1.0, advantage);
        detail::check_numbers(operation, "log_probability", log_probability, batch);
        detail::check_numbers(operation, "squared_probabilities", squared_probabilities, batch);
        auto const totals = total_rewards(batch);
        detail::check_groups(operation, std::span<double const>(totals), groups, {});
        for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
            auto const m =
                detail::moments(std::span<double const>(totals), {}, groups[g], groups[g + 1]);
            subtract(batch, log_probability, squared_probabilities, groups[g], groups[g + 1],
                     m.flat(), advantage);
        }
    }
    std::string formula() const { return "Gₜ − Σ_group Gₜ·Wₜ / Σ_group Wₜ"; }

private:
    template <class T>
    static std::vector<double> total_rewards(trajectory<T> const& batch) {
        std::vector<double> totals(static_cast<std::size_t>(batch.sequences()));
        for (index_t i = 0; i < batch.sequences(); ++i)
            for (index_t t = batch.begin(i); t < batch.end(i); ++t)
                if (batch.counts(t))
                    totals[static_cast<std::size_t>(i)] +=
                        static_cast<double>(batch.reward[static_cast<std::size_t>(t)]);
        return totals;
    }
    /// Replaces the returns of the responses first … last by advantages.
    template <class T>
    void subtract(trajectory<T> const& batch, std::span<T const> log_probability,
                  std::span<T const> squared_probabilities, index_t first, index_t last, bool flat,
                  std::span<T> advantage) const {
        struct position {
            double weighted = 0, weight = 0;
            index_t responses = 0;
        };
        std::vector<position> at_position;
        auto const for_each = [&](auto&& body) {
            for (index_t i = first; i < last; ++i) {
                std::size_t p = 0;
                for (index_t t = batch.begin(i); t < batch.end(i); ++t)
                    if (batch.counts(t)) body(p++, static_cast<std::size_t>(t));
            }
        };
        double energy = 0;
        for_each([&](std::size_t p, std::size_t t) {
            if (p == 0) energy = 0;
            energy += 1 - 2 * std::exp(static_cast<double>(log_probability[t])) +
                      static_cast<double>(squared_probabilities[t]);
            if (p == at_position.size()) at_position.emplace_back();
            at_position[p].weighted += static_cast<double>(advantage[t]) * energy;
            at_position[p].weight += energy;
            ++at_position[p].responses;
        });
        for_each([&](std::size_t p, std::size_t t) {
            auto const& all = at_position[p];
            double const baseline = all.responses > 1 ? all.weighted / (all.weight + epsilon) : 0.0;
            advantage[t] = flat ? T(0) : static_cast<T>(advantage[t] - baseline);
        });
    }
};

}  // namespace grove::inline GROVE_ISA::rl
