// SPDX-License-Identifier: Apache-2.0
/// @file
/// The value of an objective and its gradient, on plain spans.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <type_traits>

#include "grove/core/error.hpp"
#include "grove/rl/batch.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/response.hpp"
#include "grove/rl/statistics.hpp"
#include "grove/rl/unit_block.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Where the derivatives of a loss go, each `[tokens]`: those by the divergence over the vocabulary
/// and by the entropy are empty where the objective reads none.
template <class T>
struct token_slopes {
    std::span<T> log_probability{};
    std::span<T> kl{};
    std::span<T> entropy{};
};

namespace detail {

/// Checks a statistic that an objective reads (or not), and where its derivative goes.
template <class T>
void check_statistic(char const* name, bool read, std::span<T const> numbers, std::span<T> slope,
                     index_t tokens) {
    auto const wanted = static_cast<std::size_t>(read ? tokens : 0);
    require<shape_error>(!read || numbers.size() == wanted, "evaluate", "expected ", name, " [",
                         tokens, "], which this objective reads, got [", numbers.size(), "]");
    require<shape_error>(slope.size() == wanted, "evaluate", "expected a gradient by ", name, " [",
                         wanted, "], got [", slope.size(), "]");
}

template <class Objective, class T>
void check_evaluate(Objective const& objective, token_batch<T> const& batch, totals const& all,
                    token_slopes<T> const& slopes) {
    auto const gradient = slopes.log_probability;
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>,
                  "a token_batch holds float or double");
    char const* const operation = "evaluate";
    auto const own = count(batch);
    constexpr bool per_sequence = Objective::advantage_per_sequence;
    auto const advantages = per_sequence ? batch.sequences() : batch.tokens();
    require<shape_error>(static_cast<index_t>(batch.advantage.size()) == advantages, operation,
                         "expected advantage [", advantages, "], one per ",
                         per_sequence ? "response" : "token", ", got [", batch.advantage.size(),
                         "]");
    require<shape_error>(static_cast<index_t>(batch.log_probability.size()) == batch.tokens(),
                         operation, "expected log_probability [", batch.tokens(), "], got [",
                         batch.log_probability.size(), "]");
    require<shape_error>(static_cast<index_t>(gradient.size()) == batch.tokens(), operation,
                         "expected gradient [", batch.tokens(), "], got [", gradient.size(), "]");
    require<value_error>(all.sequences >= own.sequences && all.tokens >= own.tokens, operation,
                         "expected totals of at least this batch's ", own.sequences,
                         " responses and ", own.tokens, " tokens, got ", all.sequences, " and ",
                         all.tokens);
    double const beta = objective.kl_coefficient;
    require<configuration_error>(beta >= 0 && std::isfinite(beta), operation,
                                 "expected kl_coefficient ≥ 0, got ", beta);
    require<configuration_error>(Objective::has_kl || beta == 0, operation,
                                 "expected kl_coefficient 0 with no_kl, got ", beta);
    require<shape_error>(beta == 0 || Objective::whole_vocabulary || batch.tokens() == 0 ||
                             !batch.reference_log_probability.empty(),
                         operation, "expected reference_log_probability [", batch.tokens(),
                         "] for kl_coefficient ", beta,
                         ", got []; without a reference model set 0");
    require<shape_error>(!Objective::selects || batch.tokens() == 0 || !batch.selected.empty(),
                         operation, "expected selected [", batch.tokens(),
                         "] for this surrogate, got []; see covariance.hpp");
    double const eta = objective.entropy_coefficient;
    require<configuration_error>(std::isfinite(eta), operation,
                                 "expected a finite entropy_coefficient, got ", eta);
    check_statistic("kl", Objective::whole_vocabulary && beta > 0, batch.kl, slopes.kl,
                    batch.tokens());
    check_statistic("entropy", eta != 0, batch.entropy, slopes.entropy, batch.tokens());
}

/// Names the number that made a response's terms overflow or be NaN.
template <class Objective, class T>
[[noreturn]] void fail_not_finite(token_batch<T> const& batch, index_t sequence) {
    auto const expect = [&](char const* name, std::span<T const> numbers, index_t at) {
        if (numbers.empty()) return;
        T const x = numbers[static_cast<std::size_t>(at)];
        require<value_error>(std::isfinite(x), "evaluate", "expected finite numbers, got ", x,
                             " in ", name, " at ", at, " (response ", sequence, ")");
    };
    if (Objective::advantage_per_sequence) expect("advantage", batch.advantage, sequence);
    for (index_t t = batch.begin(sequence); t < batch.end(sequence); ++t) {
        if (!batch.counts(t)) continue;
        expect("log_probability", batch.log_probability, t);
        expect("old_log_probability", batch.old_log_probability, t);
        expect("reference_log_probability", batch.reference_log_probability, t);
        expect("correction", batch.correction, t);
        expect("kl", batch.kl, t);
        expect("entropy", batch.entropy, t);
        if (!Objective::advantage_per_sequence) expect("advantage", batch.advantage, t);
    }
    fail<value_error>("evaluate",
                      "expected a ratio and a divergence within the range of the "
                      "number type, got an overflow in response ",
                      sequence,
                      ": the policy is too far from the one that sampled, or from the reference");
}

/// The tokens of one response; writes their gradient.
template <class Objective, class T>
bool evaluate_tokens(Objective const& objective, token_batch<T> const& batch, index_t sequence,
                     index_t length, double weight, token_slopes<T> const& slopes,
                     evaluation& result) {
    auto const first = static_cast<std::size_t>(batch.begin(sequence));
    auto const size = static_cast<std::size_t>(batch.end(sequence)) - first;
    auto const part = [&](auto all) { return all.empty() ? all : all.subspan(first, size); };
    unit_block<T> tokens{
        .log_probability = part(batch.log_probability),
        .old_log_probability = part(batch.old_log_probability),
        .reference_log_probability = part(batch.reference_log_probability),
        .advantage = Objective::advantage_per_sequence
                         ? batch.advantage.subspan(static_cast<std::size_t>(sequence), 1)
                         : part(batch.advantage),
        .correction = part(batch.correction),
        .mask = part(batch.mask),
        .selected = part(batch.selected),
        .kl = part(batch.kl),
        .counted = length,
        .weight = weight};
    if constexpr (Objective::ratio_reads_response)
        tokens.response_log_ratio = static_cast<T>(mean_log_ratio(batch, sequence, length));
    return evaluate_block(objective, tokens, part(slopes.log_probability).data(),
                          slopes.kl.empty() ? nullptr : part(slopes.kl).data(), result);
}

/// The reward of one response's entropy: −weight per nat. False where a number is not finite.
template <class T>
bool evaluate_entropy(token_batch<T> const& batch, index_t sequence, double weight,
                      std::span<T> slope, evaluation& result) {
    double sum = 0;
    for (index_t t = batch.begin(sequence); t < batch.end(sequence); ++t) {
        if (!batch.counts(t)) continue;
        sum += number_at(batch.entropy, t);
        slope[static_cast<std::size_t>(t)] = static_cast<T>(-weight);
    }
    result.loss -= weight * sum;
    return std::isfinite(sum);
}

}  // namespace detail

/// The loss −Σ w·(correction·surrogate − β·kl + η·H) of a batch and its derivative by each
/// statistic of the policy that it reads.
///
/// `slopes` receives ∂loss/∂log_probability `[tokens]`, exactly 0 where a token does not count, and
/// those by `batch.kl` for vocabulary_kl with β > 0 and by `batch.entropy` for η ≠ 0.
/// `all` are the totals of the whole optimizer step: sum `count(batch)` over its micro-batches, and
/// their losses and gradients add up to those of the undivided step. Divergences are skipped where
/// the batch has no reference and β is 0.
///
/// Throws shape_error, value_error or configuration_error for arrays, offsets, totals or
/// coefficients that do not fit together, and value_error, naming the place, for a number that is
/// not finite or a ratio that overflows; `slopes` are unspecified after an exception.
/// ```cpp
/// rl::grpo objective;
/// auto result = rl::evaluate(objective, batch, rl::count(batch), gradient);
/// ```
template <class... Slots, class T>
evaluation evaluate(objective<Slots...> const& objective, token_batch<T> const& batch,
                    totals const& all, std::type_identity_t<token_slopes<T>> const& slopes) {
    using composed = rl::objective<Slots...>;
    detail::check_evaluate(objective, batch, all, slopes);
    for (auto const& gradient : std::array{slopes.log_probability, slopes.kl, slopes.entropy})
        std::fill(gradient.begin(), gradient.end(), T(0));
    evaluation result;
    for (index_t i = 0; i < batch.sequences(); ++i) {
        index_t const length = batch.length(i);
        if (length == 0) continue;
        double const weight = objective.aggregation(length, all);
        bool finite = true;
        if constexpr (composed::template terms_at<level::token>)
            finite &= detail::evaluate_tokens(objective, batch, i, length, weight, slopes, result);
        if constexpr (composed::template terms_at<level::sequence>)
            finite &= detail::evaluate_response(objective, batch, i, length, weight,
                                                slopes.log_probability, result);
        if (objective.entropy_coefficient != 0)
            finite &= detail::evaluate_entropy(batch, i, weight * objective.entropy_coefficient,
                                               slopes.entropy, result);
        if (!finite) detail::fail_not_finite<composed>(batch, i);
        result.statistics.tokens += length;
        ++result.statistics.sequences;
    }
    return result;
}

/// The same for objectives that read log-probabilities alone.
template <class... Slots, class T>
evaluation evaluate(objective<Slots...> const& objective, token_batch<T> const& batch,
                    totals const& all, std::type_identity_t<std::span<T>> gradient) {
    return rl::evaluate(objective, batch, all, token_slopes<T>{gradient});
}

/// The same where the batch is the whole optimizer step.
template <class... Slots, class T>
evaluation evaluate(objective<Slots...> const& objective, token_batch<T> const& batch,
                    std::type_identity_t<std::span<T>> gradient) {
    return rl::evaluate(objective, batch, count(batch), gradient);
}

}  // namespace grove::inline GROVE_ISA::rl
