// SPDX-License-Identifier: Apache-2.0
/// @file
/// What PPO adds to its objective: the loss of the critic.
#pragma once

#include <limits>
#include <span>

#include "grove/core/number.hpp"
#include "grove/rl/advantage/moments.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/policy.hpp"

namespace grove::inline GROVE_ISA::rl {

/// ½·max((V − R)², (V_old + clip(V − V_old, ±c) − R)²): where the critic has moved by more than c
/// since the rollout and this made it better, it learns nothing. Without a limit it is ½·(V − R)².
struct value_loss {
    double clip = std::numeric_limits<double>::infinity();  ///< c > 0
    double coefficient = 0.5;                               ///< ≥ 0, beside the objective's 1

    /// Value, value at the time of the rollout, target; without the coefficient.
    template <class Number>
    GROVE_HD Number operator()(Number value, Number old_value, Number target) const {
        Number const limited =
            old_value + math::clamp(value - old_value, Number(-clip), Number(clip));
        Number const error = value - target, limited_error = limited - target;
        return Number(0.5) * math::max(error * error, limited_error * limited_error);
    }
};

/// What a critic learns, token by token.
template <class T>
struct value_batch {
    std::span<T const> target{};     ///< [tokens], R: as gae's `value_target`
    std::span<T const> old_value{};  ///< [tokens], V_old
};

/// What an update of actor and critic measured; those of micro-batches under common totals add up.
struct actor_critic_evaluation {
    evaluation policy;
    average value_loss;  ///< per token, without its coefficient
    average entropy;     ///< nats per token, where the policy gives it
    average divergence;  ///< k3 of the sampling policy from this one, nats per token

    actor_critic_evaluation& operator+=(actor_critic_evaluation const& other) {
        policy += other.policy;
        value_loss += other.value_loss;
        entropy += other.entropy;
        divergence += other.divergence;
        return *this;
    }
};

namespace detail {

/// Σ law(x, y, z) over the tokens that count; `gradient` = weight·∂law/∂x, and 0 elsewhere.
template <class Law, class T>
average sum_law(Law const& law, std::span<T const> x, std::span<T const> y, std::span<T const> z,
                std::span<std::uint8_t const> mask, double weight, std::span<T> gradient) {
    using number = dual<pack<T>, 1>;
    unit_block<T> block{};
    block.mask = mask;
    lane_sum<T> sum, counted;
    pack<T> const zero(T(0)), one(T(1)), factor(static_cast<T>(weight));
    for_each_pack<T>(std::ssize(x), [&](std::ptrdiff_t i, int count) {
        auto const counts = block.counted_lanes(i, count);
        auto const load = [&](std::span<T const> source) {
            return pack<T>::select(counts, load_pack(source.data() + i, count), zero);
        };
        auto const keep = [&](pack<T> p) { return pack<T>::select(counts, p, zero); };
        number const term = law(number::variable(load(x), 0), number(load(y)), number(load(z)));
        sum.add(keep(term.value));
        counted.add(keep(one));
        if (!gradient.empty())
            store_pack(keep(factor * term.derivative[0]), gradient.data() + i, count);
    });
    return {sum.total(), static_cast<index_t>(counted.total())};
}

/// k3 of two log-probabilities, for sum_law.
struct divergence_law {
    template <class Number>
    GROVE_HD Number operator()(Number now, Number old, Number) const {
        return k3{}(old, now);
    }
};

template <class T>
void check_values(token_batch<T> const& batch, value_batch<T> const& values,
                  value_loss const& loss) {
    auto const tokens = static_cast<std::size_t>(batch.tokens());
    check_size("actor_critic", "value target", values.target.size(), tokens);
    check_size("actor_critic", "old_value", values.old_value.size(), tokens);
    check_not_negative("actor_critic", "a value coefficient", loss.coefficient);
    require<configuration_error>(loss.clip > 0, "actor_critic", "expected a value clip > 0, got ",
                                 loss.clip);
}
template <class T>
average mean_entropy(token_batch<T> const& batch, std::span<T const> entropy) {
    average result;
    for (std::size_t t = 0; t < entropy.size(); ++t)
        if (batch.counts(static_cast<index_t>(t))) result += {static_cast<double>(entropy[t]), 1};
    return result;
}

}  // namespace detail

/// One pass of learning for an actor and its critic: as `learn` in policy.hpp, with the mean of
/// `loss` over the tokens of the step added to the objective's. The policy gives values.
/// ```cpp
/// rl::ppo objective{.advantage = {.discount = 0.99, .lambda = 0.95}};
/// rl::learn(policy, input, batch, objective, values, {.clip = 0.2}, rl::count(batch));
/// ```
/// Throws what evaluate throws, and value_error for values or targets that are not finite.
template <class Input, class T, class Objective, policy<Input, T> Policy>
actor_critic_evaluation learn(Policy& policy, Input const& input, token_batch<T> batch,
                              Objective const& objective, value_batch<T> const& values,
                              value_loss const& loss, totals const& all) {
    detail::check_values(batch, values, loss);
    statistics_request request = request_of(objective);
    request.value = true;
    token_statistics<T> const now = policy.evaluate(input, request);
    detail::check_size("actor_critic", "value", now.value.size(), values.target.size());
    token_statistics<T> gradient;
    actor_critic_evaluation result;
    result.policy = evaluate(objective, batch, all, now, gradient);
    gradient.value.resize(now.value.size());
    double const weight = loss.coefficient / static_cast<double>(std::max<index_t>(all.tokens, 1));
    result.value_loss =
        detail::sum_law(loss, std::span<T const>(now.value), values.old_value, values.target,
                        batch.mask, weight, std::span<T>(gradient.value));
    require<value_error>(std::isfinite(result.value_loss.sum), "actor_critic",
                         "expected finite values and targets, got a loss of ",
                         result.value_loss.sum);
    result.divergence = detail::sum_law(
        detail::divergence_law{}, std::span<T const>(now.log_probability),
        batch.old_log_probability, batch.old_log_probability, batch.mask, 0.0, std::span<T>());
    result.entropy = detail::mean_entropy(batch, std::span<T const>(now.entropy));
    policy.backward(gradient);
    return result;
}

}  // namespace grove::inline GROVE_ISA::rl
