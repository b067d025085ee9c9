// SPDX-License-Identifier: Apache-2.0
/// @file
/// The loss of an objective as a tensor: log-probabilities stay where the model is.
#pragma once

#include <utility>
#include <vector>

#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/pointwise.hpp"
#include "grove/ops/reduce.hpp"
#include "grove/rl/evaluate.hpp"

namespace grove::inline GROVE_ISA::rl {

namespace detail {

/// −weight·(correction·surrogate − β·kl) of a token. What the record holds where a token does not
/// count was replaced by zeros, of weight 0.
template <class Objective, class T>
struct token_loss {
    Objective objective;
    bool with_kl;

    template <class N>
    GROVE_HD N operator()(N now, N old, N reference, N advantage, N correction, N weight) const {
        unit_numbers<N> const token{now, now - old, reference, advantage};
        auto const y = rl::terms<level::token>(objective, token, with_kl);
        return weight *
               (N(static_cast<T>(objective.kl_coefficient)) * y.kl - correction * y.surrogate);
    }
};

}  // namespace detail

/// The loss of `evaluate`, [1], from log-probabilities [tokens] on any backend; on a tape its
/// gradient reaches the model without a visit to the host. `batch.log_probability` is not read.
/// For separable objectives. Throws as evaluate does for what does not fit together; numbers that
/// are not finite make the loss so.
/// @code
/// grove::autodiff tape(backend);
/// auto y = forward(tape, input);
/// grove::backward(grove::rl::loss(grove::rl::grpo{}, y.log_probability, batch, totals));
/// @endcode
template <class... Slots, class B, class T>
tensor<B, T> loss(objective<Slots...> const& objective, tensor<B, T> const& log_probability,
                  token_batch<T> batch, totals const& all) {
    using composed = rl::objective<Slots...>;
    static_assert(composed::separable && !composed::selects && !composed::whole_vocabulary,
                  "a loss on tensors takes terms that need one log-probability each: use evaluate");
    auto const size = static_cast<std::size_t>(batch.tokens());
    std::vector<T> slopes(size);
    batch.log_probability = batch.old_log_probability;
    detail::check_evaluate(objective, batch, all, token_slopes<T>{slopes});
    require<shape_error>(log_probability.size() == batch.tokens(), "loss",
                         "expected log_probability [", batch.tokens(), "], got ",
                         log_probability.extents());
    require<configuration_error>(objective.entropy_coefficient == 0, "loss",
                                 "expected entropy_coefficient 0, got ",
                                 objective.entropy_coefficient);
    // old, reference, advantage, correction and weight, one row each
    std::vector<T> record(5 * size, T(0));
    for (index_t i = 0; i < batch.sequences(); ++i) {
        index_t const length = batch.length(i);
        if (length == 0) continue;
        T const weight = static_cast<T>(objective.aggregation(length, all));
        for (index_t t = batch.begin(i); t < batch.end(i); ++t) {
            if (!batch.counts(t)) continue;
            auto const at = static_cast<std::size_t>(t);
            auto const put = [&](std::size_t row, T number) { record[row * size + at] = number; };
            put(0, batch.old_log_probability[at]);
            if (!batch.reference_log_probability.empty())
                put(1, batch.reference_log_probability[at]);
            put(2, batch.advantage[composed::advantage_per_sequence ? static_cast<std::size_t>(i)
                                                                    : at]);
            put(3, batch.correction.empty() ? T(1) : batch.correction[at]);
            put(4, weight);
        }
    }
    auto const rows = from_host(log_probability.backend(), {5, batch.tokens()}, record);
    auto const row = [&](index_t i) {
        return slice_rows(rows, i, 1).reshape(log_probability.extents());
    };
    detail::token_loss<composed, T> const law{objective, !batch.reference_log_probability.empty()};
    return sum(map(law, log_probability, row(0), row(1), row(2), row(3), row(4)));
}

}  // namespace grove::inline GROVE_ISA::rl
