// SPDX-License-Identifier: Apache-2.0
/// @file
/// A teacher in the place of a reward.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "grove/rl/advantage/returns.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Aₜ = Σ_{s≥t} γ^(s−t)·(log π_T − log π)ₛ / Σ_{s≥t} γ^(s−t) of the sampled tokens (Gu et al. 2023,
/// MiniLLM, as in TRL): policy gradients then reduce KL(π ‖ π_T) on what the student itself writes.
/// With γ = 0 each token answers for itself alone, as in Thinking Machines' on-policy distillation
/// (2025) and NeMo-RL's.
///
/// It is of the policy that sampled and carries no gradient. Its mean is the negative divergence,
/// never 0 before the two agree: no baseline is taken.
struct teacher_log_ratio {
    static constexpr level unit = level::token;

    double discount = 0.0;   ///< γ in [0, 1]
    bool normalized = true;  ///< divide by the sum of the weights, or leave long ends heavy

    /// Writes `advantage` `[tokens]` for the log-probabilities `[tokens]` of the teacher and of the
    /// policy that sampled. Tokens that do not count get 0 and are stepped over. Throws
    /// shape_error, value_error for what does not fit together or is not finite,
    /// configuration_error for a discount outside [0, 1].
    template <class T>
    void operator()(std::span<T const> teacher, std::span<T const> own,
                    std::span<index_t const> offsets, std::span<std::uint8_t const> mask,
                    std::span<T> advantage) const {
        char const* const operation = "teacher_log_ratio";
        detail::check_size(operation, "own log-probabilities", own.size(), teacher.size());
        std::vector<T> reward(teacher.size());
        for (std::size_t t = 0; t < reward.size(); ++t) reward[t] = teacher[t] - own[t];
        trajectory<T> const batch{.reward = reward, .offsets = offsets, .mask = mask};
        returns_to_go(batch, discount, advantage);
        if (!normalized) return;
        for (index_t i = 0; i < batch.sequences(); ++i) {
            double weight = 0;
            for (index_t t = batch.end(i) - 1; t >= batch.begin(i); --t) {
                if (!batch.counts(t)) continue;
                weight = 1 + discount * weight;
                auto& a = advantage[static_cast<std::size_t>(t)];
                a = static_cast<T>(static_cast<double>(a) / weight);
            }
        }
    }
    std::string formula() const {
        if (discount == 0) return "log π_T − log π";
        return formula_text("Σ_{s≥t} ", discount, "^(s−t)·(log π_T − log π)",
                            normalized ? " / Σ_{s≥t} " : "",
                            normalized ? formula_text(discount, "^(s−t)") : "");
    }
};

}  // namespace grove::inline GROVE_ISA::rl
