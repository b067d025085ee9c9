// SPDX-License-Identifier: Apache-2.0
/// @file
/// Advantages from the rewards of the responses to one prompt, and from nothing else.
///
/// Common to all: a response without a reward (`scored` is 0) gets 0 and takes no part in mean and
/// deviation. A group whose rewards are all equal, and a group of one, get exactly 0: there is
/// nothing to compare with (verl lets the raw reward of a group of one through). All statistics are
/// of two passes in double. All throw shape_error for sizes that differ, value_error for a reward
/// that is not finite and for an empty group, configuration_error for a setting out of range.
#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "grove/rl/advantage/moments.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A = (R − mean) / (std + epsilon) over the responses to one prompt (DeepSeek-R1, eq. 3).
///
/// The paper names no estimator of std; the default is the unbiased one, without epsilon. Peers add
/// 1e-4 (TRL), 1e-6 (verl), 1e-9 (OpenRLHF).
struct group_normalized {
    static constexpr level unit = level::sequence;

    bool unbiased = true;  ///< divide the squares by n − 1 rather than n
    double epsilon = 0.0;  ///< added to std; ≥ 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        detail::check_not_negative("group_normalized", "epsilon", epsilon);
        detail::estimate_groups("group_normalized", rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    return (rewards[static_cast<std::size_t>(i)] - m.mean) /
                                           (m.deviation(unbiased) + epsilon);
                                });
    }
    std::string formula() const {
        return formula_text("(R − mean_group) / (std_group", unbiased ? "" : ", biased", " + ",
                            epsilon, ")");
    }
};

/// A = R − mean over the responses to one prompt (Liu et al. 2025, Dr. GRPO): without the
/// deviation, which makes very easy and very hard prompts count for more.
struct group_centred {
    static constexpr level unit = level::sequence;

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        detail::estimate_groups("group_centred", rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    return rewards[static_cast<std::size_t>(i)] - m.mean;
                                });
    }
    std::string formula() const { return "R − mean_group"; }
};

/// A = (R − mean_group) / (std_batch + epsilon), with the deviation of all the rewards of the batch
/// (TRL, `scale_rewards="batch"`, which adds 1e-4): one scale for prompts of every difficulty.
struct batch_normalized {
    static constexpr level unit = level::sequence;

    bool unbiased = true;  ///< divide the squares by n − 1 rather than n
    double epsilon = 0.0;  ///< added to std; ≥ 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        detail::check_not_negative("batch_normalized", "epsilon", epsilon);
        detail::check_groups("batch_normalized", rewards, groups, scored);
        auto const batch =
            detail::moments(rewards, scored, 0, static_cast<index_t>(rewards.size()));
        double const divisor = batch.flat() ? 1.0 : batch.deviation(unbiased) + epsilon;
        detail::estimate_groups("batch_normalized", rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    return (rewards[static_cast<std::size_t>(i)] - m.mean) /
                                           divisor;
                                });
    }
    std::string formula() const {
        return formula_text("(R − mean_group) / (std_batch", unbiased ? "" : ", biased", " + ",
                            epsilon, ")");
    }
};

/// A = Rᵢ − mean of the others = n / (n − 1)·(Rᵢ − mean) (Kool et al. 2019; Ahmadian et al. 2024,
/// RLOO): a baseline that does not know the response it is for, and so does not bias the gradient.
struct leave_one_out {
    static constexpr level unit = level::sequence;

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        detail::estimate_groups("leave_one_out", rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    auto const n = static_cast<double>(m.count);
                                    return n / (n - 1) *
                                           (rewards[static_cast<std::size_t>(i)] - m.mean);
                                });
    }
    std::string formula() const { return "R − mean_others"; }
};

/// A = (Rᵢ − mean of the others) / (std of the others + epsilon); not divided where the others all
/// agree, and so in groups of two (NeMo-RL's default, epsilon 1e-6).
///
/// The deviation is the unbiased one of the n − 1 others, centred on their own mean. Taken as
/// √(E[x²] − E[x]²) in single precision, as peers have done, others that agree seem to differ by
/// 10⁻⁴ of themselves, and a group of 7 against 1 gets advantages in the thousands.
struct leave_one_out_normalized {
    static constexpr level unit = level::sequence;

    double epsilon = 0.0;  ///< added to std; ≥ 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`;
    /// the time is quadratic in the size of a group.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        char const* const operation = "leave_one_out_normalized";
        detail::check_not_negative(operation, "epsilon", epsilon);
        detail::estimate_groups(
            operation, rewards, groups, advantage, scored,
            [&](auto const&, index_t first, index_t last, index_t i) {
                auto const others = detail::moments(rewards, scored, first, last, i);
                double const above = rewards[static_cast<std::size_t>(i)] - others.mean;
                return others.flat() ? above : above / (others.deviation(true) + epsilon);
            });
    }
    std::string formula() const {
        return formula_text("(R − mean_others) / (std_others + ", epsilon, ")");
    }
};

/// A = (best − second) / (std + epsilon) for the best response to a prompt, 0 for the others: the
/// gradient of the expected maximum, for pass@k (Pass@k-GRPO; verl adds 1e-6). Where two are
/// equally good, neither is needed and all get 0.
struct best_of_group {
    static constexpr level unit = level::sequence;

    bool normalized = true;  ///< divide by the unbiased deviation of the group
    double epsilon = 0.0;    ///< added to std; ≥ 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        detail::check_not_negative("best_of_group", "epsilon", epsilon);
        detail::estimate_groups(
            "best_of_group", rewards, groups, advantage, scored,
            [&](auto const& m, index_t first, index_t last, index_t i) {
                auto const reward = static_cast<double>(rewards[static_cast<std::size_t>(i)]);
                if (reward < m.high) return 0.0;
                double const second = detail::moments(rewards, scored, first, last, i).high;
                return (reward - second) / (normalized ? m.deviation(true) + epsilon : 1.0);
            });
    }
    std::string formula() const {
        return normalized ? formula_text("[R is best]·(R − second) / (std_group + ", epsilon, ")")
                          : "[R is best]·(R − second)";
    }
};

/// A = α·(R − mean) / normalizer with α = B / (number of rewards that are not 0) over the B rewards
/// of the batch (Chu et al. 2025, GPG): the fewer answers are right, the more each counts.
struct nonzero_scaled {
    static constexpr level unit = level::sequence;

    double normalizer = 1.0;  ///< F_norm; > 0

    /// Writes `advantage` `[sequences]` for `rewards` `[sequences]` and `groups` `[groups + 1]`.
    template <class T>
    void operator()(std::span<T const> rewards, std::span<index_t const> groups,
                    std::span<T> advantage, std::span<std::uint8_t const> scored = {}) const {
        require<configuration_error>(normalizer > 0, "nonzero_scaled",
                                     "expected normalizer > 0, got ", normalizer);
        detail::check_groups("nonzero_scaled", rewards, groups, scored);
        double all = 0, nonzero = 0;
        for (std::size_t i = 0; i < rewards.size(); ++i) {
            if (!detail::is_set(scored, static_cast<index_t>(i))) continue;
            ++all;
            nonzero += rewards[i] != T(0);
        }
        double const scale = all / std::max(nonzero, 1.0) / normalizer;
        detail::estimate_groups("nonzero_scaled", rewards, groups, advantage, scored,
                                [&](auto const& m, index_t, index_t, index_t i) {
                                    return scale * (rewards[static_cast<std::size_t>(i)] - m.mean);
                                });
    }
    std::string formula() const {
        return formula_text("B / #(R ≠ 0)·(R − mean_group) / ", normalizer);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
