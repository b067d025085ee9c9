// SPDX-License-Identifier: Apache-2.0
/// @file
/// The value of an objective and its gradient, on plain spans.
#pragma once

#include <algorithm>
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

namespace detail {

template <class Objective, class T>
void check_evaluate(Objective const& objective, token_batch<T> const& batch, totals const& all,
                    std::span<T> gradient) {
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
    require<shape_error>(
        beta == 0 || batch.tokens() == 0 || !batch.reference_log_probability.empty(), operation,
        "expected reference_log_probability [", batch.tokens(), "] for kl_coefficient ", beta,
        ", got []; without a reference model set 0");
    require<shape_error>(!Objective::selects || batch.tokens() == 0 || !batch.selected.empty(),
                         operation, "expected selected [", batch.tokens(),
                         "] for this surrogate, got []; see covariance.hpp");
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
                     index_t length, double weight, std::span<T> gradient, evaluation& result) {
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
        .counted = length,
        .weight = weight};
    if constexpr (Objective::ratio_reads_response)
        tokens.response_log_ratio = static_cast<T>(mean_log_ratio(batch, sequence, length));
    return evaluate_block(objective, tokens, part(gradient).data(), result);
}

}  // namespace detail

/// The loss −Σ w·(correction·surrogate − β·kl) of a batch and its derivative by each
/// log-probability.
///
/// `gradient` `[tokens]` receives ∂loss/∂log_probability, exactly 0 where a token does not count.
/// `all` are the totals of the whole optimizer step: sum `count(batch)` over its micro-batches, and
/// their losses and gradients add up to those of the undivided step. Divergences are skipped where
/// the batch has no reference and β is 0.
///
/// Throws shape_error, value_error or configuration_error for arrays, offsets, totals or
/// coefficients that do not fit together, and value_error, naming the place, for a number that is
/// not finite or a ratio that overflows; `gradient` is unspecified after an exception.
/// ```cpp
/// rl::grpo objective;
/// auto result = rl::evaluate(objective, batch, rl::count(batch), gradient);
/// ```
template <class... Slots, class T>
evaluation evaluate(objective<Slots...> const& objective, token_batch<T> const& batch,
                    totals const& all, std::type_identity_t<std::span<T>> gradient) {
    using composed = rl::objective<Slots...>;
    detail::check_evaluate(objective, batch, all, gradient);
    std::fill(gradient.begin(), gradient.end(), T(0));
    evaluation result;
    for (index_t i = 0; i < batch.sequences(); ++i) {
        index_t const length = batch.length(i);
        if (length == 0) continue;
        double const weight = objective.aggregation(length, all);
        bool finite = true;
        if constexpr (composed::template terms_at<level::token>)
            finite &=
                detail::evaluate_tokens(objective, batch, i, length, weight, gradient, result);
        if constexpr (composed::template terms_at<level::sequence>)
            finite &=
                detail::evaluate_response(objective, batch, i, length, weight, gradient, result);
        if (!finite) detail::fail_not_finite<composed>(batch, i);
        result.statistics.tokens += length;
        ++result.statistics.sequences;
    }
    return result;
}

/// The same where the batch is the whole optimizer step.
template <class... Slots, class T>
evaluation evaluate(objective<Slots...> const& objective, token_batch<T> const& batch,
                    std::type_identity_t<std::span<T>> gradient) {
    return rl::evaluate(objective, batch, count(batch), gradient);
}

}  // namespace grove::inline GROVE_ISA::rl
