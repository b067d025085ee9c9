// SPDX-License-Identifier: Apache-2.0
/// @file
/// What grove asks of a model that learns: numbers per token, and to take gradients for them.
#pragma once

#include <concepts>
#include <type_traits>
#include <vector>

#include "grove/rl/evaluate.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Which statistics to compute besides log-probabilities.
struct statistics_request {
    bool entropy = false;
    bool value = false;
    bool kl = false;
};

/// Statistics per token `[tokens]`, or gradients of a loss by them; empty where not asked for.
template <class T>
struct token_statistics {
    std::vector<T> log_probability{};  ///< of the token that was sampled
    std::vector<T> entropy{};          ///< of the distribution it was sampled from, in nats
    std::vector<T> value{};            ///< expected return from here on
    std::vector<T> kl{};               ///< KL(π ‖ π_ref) over the vocabulary, in nats
};

/// What an objective reads beside log-probabilities.
template <class Objective>
statistics_request request_of(Objective const& objective) {
    return {.entropy = objective.entropy_coefficient != 0,
            .kl = Objective::whole_vocabulary && objective.kl_coefficient > 0};
}

/// `evaluate` with the statistics that a policy has just given in the place of the batch's own;
/// their gradient in `gradient`.
template <class Objective, class T>
evaluation evaluate(Objective const& objective, token_batch<T> batch, totals const& all,
                    token_statistics<T> const& now, token_statistics<T>& gradient) {
    statistics_request const reads = request_of(objective);
    batch.log_probability = now.log_probability;
    batch.kl = now.kl;
    batch.entropy = now.entropy;
    gradient = {};
    gradient.log_probability.resize(now.log_probability.size());
    if (reads.kl) gradient.kl.resize(now.kl.size());
    if (reads.entropy) gradient.entropy.resize(now.entropy.size());
    return rl::evaluate(objective, batch, all,
                        token_slopes<T>{gradient.log_probability, gradient.kl, gradient.entropy});
}

/// A model that can learn. `Input` is whatever it takes: tokens, states and actions. `evaluate`
/// computes the statistics of an input; `backward` takes the gradient of a loss by the statistics
/// of the input evaluated last, and adds the gradient by the parameters to what the policy holds.
/// One that lacks a requested statistic throws configuration_error.
/// ```cpp
/// struct softmax_policy {  // one distribution over actions
///     std::vector<double> logits, gradient;
///     std::span<int const> actions;
///
///     rl::token_statistics<double> evaluate(std::span<int const> input, rl::statistics_request);
///     void backward(rl::token_statistics<double> const& slope);
/// };
/// ```
template <class Policy, class Input, class T>
concept policy = requires(Policy& policy, Input const& input, statistics_request request,
                          token_statistics<T> const& gradient) {
    { policy.evaluate(input, request) } -> std::same_as<token_statistics<T>>;
    policy.backward(gradient);
};

/// One pass of learning: evaluates the policy on `input`, the objective on what comes out, and
/// hands the gradient back to the policy, whose parameter gradients then have grown by this batch's
/// share. The step itself is the caller's optimizer's.
///
/// `batch` is the record of the rollout for the same tokens; its `log_probability` is replaced by
/// what the policy says now. `all` are the totals of the optimizer step. Throws as evaluate does,
/// before the policy has received anything.
template <class Input, class T, class Objective, policy<Input, T> Policy>
evaluation learn(Policy& policy, Input const& input, token_batch<T> batch,
                 Objective const& objective, totals const& all) {
    token_statistics<T> const now = policy.evaluate(input, request_of(objective));
    token_statistics<T> gradient;
    evaluation const result = rl::evaluate(objective, batch, all, now, gradient);
    policy.backward(gradient);
    return result;
}

/// The same where the batch is the whole optimizer step.
template <class Input, class T, class Objective, policy<Input, T> Policy>
evaluation learn(Policy& policy, Input const& input, token_batch<T> const& batch,
                 Objective const& objective) {
    return rl::learn(policy, input, batch, objective, count(batch));
}

}  // namespace grove::inline GROVE_ISA::rl
