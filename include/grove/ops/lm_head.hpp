// SPDX-License-Identifier: Apache-2.0
/// @file
/// The language-model head: log-probabilities from hidden states, without [tokens, vocabulary] in
/// memory.
#pragma once

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

/// {log-probability [tokens], entropy [tokens]} of `targets` under `logits(x)`, a function from
/// rows of hidden [tokens, hidden] to [rows, vocabulary] on whatever backend x is. Runs over chunks
/// of tokens and recomputes their logits for the gradient.
/// @code
/// auto y = grove::lm_head(hidden, [&](auto const& x) { return model.logits(x); }, targets);
/// @endcode
template <class B, class T, class Logits>
std::array<tensor<B, T>, 2> lm_head(tensor<B, T> const& hidden, Logits const& logits,
                                    std::vector<std::int32_t> const& targets,
                                    head_options<T> const& options = {}) {
    index_t const tokens = hidden.rows();
    require<shape_error>(static_cast<index_t>(targets.size()) == tokens, "lm_head", "expected ",
                         tokens, " targets, got ", targets.size());
    require<configuration_error>(options.chunk >= 1, "lm_head", "expected a chunk ≥ 1, got ",
                                 options.chunk);
    options.kept.check("lm_head", tokens);
    std::vector<tensor<B, T>> log_probability, entropy;
    for (index_t first = 0; first == 0 || first < tokens; first += options.chunk) {
        index_t const rows = std::min(options.chunk, tokens - first);
        std::vector<std::int32_t> const part(targets.begin() + first,
                                             targets.begin() + first + rows);
        auto head = [part, logits, temperature = options.temperature,
                     kept = options.kept.rows(first, rows)](auto const& x) {
            return token_statistics(logits(x), indices_from(x.backend(), part), temperature, kept);
        };
        auto y = checkpoint(head, slice_rows(hidden, first, rows));
        log_probability.push_back(y[0].reshape({rows, 1}));
        entropy.push_back(y[1].reshape({rows, 1}));
    }
    return {concatenate_rows(log_probability).reshape({tokens}),
            concatenate_rows(entropy).reshape({tokens})};
}

}  // namespace grove::inline GROVE_ISA
