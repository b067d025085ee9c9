// SPDX-License-Identifier: Apache-2.0
/// @file
/// The language-model head: log-probabilities from hidden states, without [tokens, vocabulary] in memory.
#pragma once

#include "grove/ops/product.hpp"
#include "grove/ops/token_statistics.hpp"

namespace grove::inline GROVE_ISA {

/// How a row of logits becomes a distribution.
template <class T>
struct head_options {
    T temperature = T(1);
    kept_tokens kept;
    /// Rows of logits in memory at a time. A row's bits do not depend on it.
    index_t chunk = 1024;
};

/// {log-probability [tokens], entropy [tokens]} of `targets` under hidden [tokens, hidden] · W, where
/// `weight(x)` gives W [hidden, vocabulary] on the backend of x (so that it learns when x does). Runs over
/// chunks of tokens and recomputes their logits for the gradient.
template <class B, class T, class Weight>
std::array<tensor<B, T>, 2> lm_head(tensor<B, T> const& hidden, Weight const& weight,
                                    std::vector<std::int32_t> const& targets,
                                    head_options<T> const& options = {}) {
    index_t const tokens = hidden.rows();
    require<shape_error>(static_cast<index_t>(targets.size()) == tokens, "lm_head", "expected ",
                         tokens, " targets, got ", targets.size());
    std::vector<tensor<B, T>> log_probability, entropy;
    for (index_t first = 0; first < tokens; first += options.chunk) {
        index_t const rows = std::min(options.chunk, tokens - first);
        std::vector<std::int32_t> const part(targets.begin() + first, targets.begin() + first + rows);
        auto head = [part, weight, temperature = options.temperature,
                     kept = options.kept.rows(first, rows)](auto const& x) {
            return token_statistics(matmul(x, weight(x)), indices_from(x.backend(), part),
                                    temperature, kept);
        };
        auto y = checkpoint(head, slice_rows(hidden, first, rows));
        log_probability.push_back(y[0].reshape({rows, 1}));
        entropy.push_back(y[1].reshape({rows, 1}));
    }
    return {concatenate_rows(log_probability).reshape({tokens}),
            concatenate_rows(entropy).reshape({tokens})};
}

}  // namespace grove::inline GROVE_ISA
