// SPDX-License-Identifier: Apache-2.0
/// @file
/// Several rewards as one.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/reward/reward.hpp"

namespace grove::inline GROVE_ISA {

/// Σ weightᵢ · rewardᵢ, itself a reward. A reward that is none adds nothing; the sum is none where
/// all are. Made by `weighted_sum`.
template <reward... Rewards>
class reward_sum {
public:
    static constexpr std::size_t size = sizeof...(Rewards);

    /// Throws value_error for a weight that is NaN or infinite.
    reward_sum(std::tuple<Rewards...> rewards, std::array<float, size> weights)
        : rewards_(std::move(rewards)), weights_(weights) {
        for (float const weight : weights_) {
            require<value_error>(std::isfinite(weight), "weighted_sum",
                                 "expected finite weights, got ", weight);
        }
    }

    /// Every reward by itself, without its weight: what a metric wants to know.
    std::array<std::optional<float>, size> each(std::string_view prompt,
                                                std::string_view completion,
                                                std::string_view reference) const {
        return std::apply(
            [&](Rewards const&... rules) {
                return std::array<std::optional<float>, size>{
                    rules(prompt, completion, reference)...};
            },
            rewards_);
    }
    std::optional<float> operator()(std::string_view prompt, std::string_view completion,
                                    std::string_view reference) const {
        auto const values = each(prompt, completion, reference);
        std::optional<float> sum;
        for (std::size_t i = 0; i < size; ++i) {
            if (values[i]) sum = sum.value_or(0.0F) + weights_[i] * *values[i];
        }
        return sum;
    }

private:
    std::tuple<Rewards...> rewards_;
    std::array<float, size> weights_;
};

namespace detail {

template <class Pairs, std::size_t... Index>
auto reward_sum_of(Pairs pairs, std::index_sequence<Index...>) {
    using sum = reward_sum<std::tuple_element_t<2 * Index, Pairs>...>;
    return sum({std::get<2 * Index>(std::move(pairs))...},
               {static_cast<float>(std::get<2 * Index + 1>(pairs))...});
}

}  // namespace detail

/// Composes reward, weight, reward, weight, …
/// @code
/// auto const rule = weighted_sum(accuracy_reward{}, 1.0F, format_reward{}, 0.2F);
/// @endcode
template <class... RewardsAndWeights>
auto weighted_sum(RewardsAndWeights... pairs) {
    static_assert(sizeof...(pairs) > 0 && sizeof...(pairs) % 2 == 0,
                  "weighted_sum expects reward, weight, reward, weight, …");
    return detail::reward_sum_of(std::tuple<RewardsAndWeights...>(std::move(pairs)...),
                                 std::make_index_sequence<sizeof...(pairs) / 2>{});
}

}  // namespace grove::inline GROVE_ISA
