// SPDX-License-Identifier: Apache-2.0
/// @file
/// Generalized advantage estimation: what PPO takes from its critic.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>

#include "grove/rl/advantage/trajectory.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// δₜ = rₜ + γ·Vₜ₊₁ − Vₜ and Aₜ = δₜ + γλ·Aₜ₊₁ (Schulman et al. 2016, eq. 16).
///
/// Tokens that do not count (the answers of a tool between two turns) are stepped over: the value
/// and the advantage of the next token that counts are carried to the one before. After the last
/// token comes `bootstrap`, or 0. A group of one response is as good as any: the critic compares.
/// Advantages are not whitened; see `whitening`.
///
/// λ = 1 by default, which DeepSeek-R1 finds close to GRPO, and 0.95 clearly worse (version 3,
/// appendix A.3). For VAPO (Yue et al. 2025) set `value_lambda` = 1 and `length_scale` = 0.05.
/// ```cpp
/// rl::gae{.lambda = 0.95}(trajectories, advantage, value_target);
/// ```
struct gae {
    static constexpr level unit = level::token;

    double discount = 1.0;  ///< γ in [0, 1]
    double lambda = 1.0;    ///< λ in [0, 1] of the policy's advantages
    std::optional<double>
        value_lambda{};  ///< λ of the critic's targets; that of the policy if none
    std::optional<double> length_scale{};  ///< α > 0: the policy's λ is 1 − 1 / (α·|o|), at least 0

    /// Writes `advantage` `[tokens]` and the critic's targets A + V `[tokens]` (or empty: not
    /// wanted), 0 where a token does not count. Throws shape_error for sizes that differ,
    /// value_error for numbers that count and are not finite, configuration_error for γ, λ or α out
    /// of range.
    template <class T>
    void operator()(trajectory<T> const& batch, std::span<T> advantage,
                    std::span<T> value_target = {}) const {
        check(batch, advantage.size(), value_target.size());
        for (index_t i = 0; i < batch.sequences(); ++i) {
            double const value_own = value_lambda.value_or(lambda);
            walk(batch, i, policy_lambda(batch, i),
                 [&](std::size_t t, double a) { advantage[t] = static_cast<T>(a); });
            if (value_target.empty()) continue;
            walk(batch, i, value_own, [&](std::size_t t, double a) {
                bool const counts = batch.counts(static_cast<index_t>(t));
                value_target[t] = counts ? static_cast<T>(a + batch.value[t]) : T(0);
            });
        }
    }
    std::string formula() const {
        auto const own =
            length_scale ? formula_text("(1 − 1/(", *length_scale, "·|o|))") : formula_text(lambda);
        return formula_text("Σₖ (", discount, "·", own, ")ᵏ·δₜ₊ₖ, δ = r + ", discount, "·V' − V");
    }

private:
    template <class T>
    double policy_lambda(trajectory<T> const& batch, index_t i) const {
        if (!length_scale) return lambda;
        index_t length = 0;
        for (index_t t = batch.begin(i); t < batch.end(i); ++t) length += batch.counts(t);
        return length == 0 ? 0.0
                           : std::max(0.0, 1 - 1 / (*length_scale * static_cast<double>(length)));
    }
    /// Calls `write(t, A)` from the last token of response i to the first.
    template <class T, class Write>
    void walk(trajectory<T> const& batch, index_t i, double own_lambda, Write const& write) const {
        double next_advantage = 0;
        double next_value = batch.bootstrap.empty()
                                ? 0.0
                                : static_cast<double>(batch.bootstrap[static_cast<std::size_t>(i)]);
        for (index_t t = batch.end(i) - 1; t >= batch.begin(i); --t) {
            auto const at = static_cast<std::size_t>(t);
            if (!batch.counts(t)) {
                write(at, 0.0);
                continue;
            }
            auto const value = static_cast<double>(batch.value[at]);
            double const delta =
                static_cast<double>(batch.reward[at]) + discount * next_value - value;
            next_advantage = delta + discount * own_lambda * next_advantage;
            next_value = value;
            write(at, next_advantage);
        }
    }
    template <class T>
    void check(trajectory<T> const& batch, std::size_t advantages, std::size_t targets) const {
        auto const in_range = [](char const* name, double x) {
            require<configuration_error>(x >= 0 && x <= 1, "gae", "expected 0 ≤ ", name,
                                         " ≤ 1, got ", x);
        };
        in_range("discount", discount);
        in_range("lambda", lambda);
        in_range("value_lambda", value_lambda.value_or(0.0));
        require<configuration_error>(!length_scale || *length_scale > 0, "gae",
                                     "expected length_scale > 0, got ", length_scale.value_or(1));
        detail::check_trajectory("gae", batch);
        detail::check_numbers("gae", "value", batch.value, batch);
        detail::check_size("gae", "advantage", advantages, batch.reward.size());
        if (targets > 0) detail::check_size("gae", "value_target", targets, batch.reward.size());
        if (batch.bootstrap.empty()) return;
        detail::check_size("gae", "bootstrap", batch.bootstrap.size(),
                           static_cast<std::size_t>(batch.sequences()));
        for (T const x : batch.bootstrap)
            require<value_error>(std::isfinite(x), "gae", "expected finite bootstrap, got ", x);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
