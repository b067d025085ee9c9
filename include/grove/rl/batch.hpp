// SPDX-License-Identifier: Apache-2.0
/// @file
/// What an objective reads: numbers per token, packed response after response.
#pragma once

#include <cstdint>
#include <span>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/rl/aggregation.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A view of sampled responses without padding between them: response i holds the tokens
/// `offsets[i]` to `offsets[i + 1]` (exclusive). `T` is float or double. All log-probabilities are
/// natural, of the sampled token, at the temperature it was sampled with.
template <class T>
struct token_batch {
    std::span<T const> log_probability{};            ///< [tokens], of the policy that learns
    std::span<T const> old_log_probability{};        ///< [tokens], of the policy that sampled
    std::span<T const> reference_log_probability{};  ///< [tokens], or empty: no reference model
    std::span<T const> advantage{};        ///< [sequences], or [tokens] from an estimator per token
    std::span<index_t const> offsets{};    ///< [sequences + 1], from 0 to tokens
    std::span<std::uint8_t const> mask{};  ///< [tokens], 1 = counts; or empty: all count
    std::span<T const> correction{};  ///< [tokens], factors of the surrogate (correction.hpp); or
                                      ///< empty: all 1
    std::span<std::uint8_t const> selected{};  ///< [tokens], 1 = treated apart (covariance.hpp);
                                               ///< or empty, where no surrogate asks
    std::span<T const> kl{};  ///< [tokens], KL(π ‖ π_ref) over the vocabulary, of the policy that
                              ///< learns; or empty, where no divergence asks
    std::span<T const> entropy{};  ///< [tokens], of the policy that learns, in nats; or empty,
                                   ///< where none is rewarded

    index_t tokens() const { return static_cast<index_t>(old_log_probability.size()); }
    index_t sequences() const {
        return offsets.empty() ? 0 : static_cast<index_t>(offsets.size()) - 1;
    }
    /// Whether token t counts. What the other arrays hold where it does not is never looked at.
    bool counts(index_t t) const { return mask.empty() || mask[static_cast<std::size_t>(t)] != 0; }
    index_t begin(index_t sequence) const { return offsets[static_cast<std::size_t>(sequence)]; }
    index_t end(index_t sequence) const { return offsets[static_cast<std::size_t>(sequence) + 1]; }
    /// |oᵢ|: how many tokens of response i count.
    index_t length(index_t sequence) const {
        if (mask.empty()) return end(sequence) - begin(sequence);
        index_t n = 0;
        for (index_t t = begin(sequence); t < end(sequence); ++t) n += counts(t);
        return n;
    }
};

/// Checks the record of a rollout; what the policy says now (`log_probability`) need not be there
/// yet. Throws shape_error for arrays whose sizes differ, value_error for offsets that do not rise
/// from 0 to the number of tokens.
template <class T>
void check_layout(token_batch<T> const& batch) {
    char const* const operation = "token_batch";
    auto const expect = [&](char const* name, std::size_t size) {
        require<shape_error>(size == 0 || static_cast<index_t>(size) == batch.tokens(), operation,
                             "expected ", name, " [", batch.tokens(),
                             "] like old_log_probability, or empty, got [", size, "]");
    };
    expect("log_probability", batch.log_probability.size());
    expect("reference_log_probability", batch.reference_log_probability.size());
    expect("mask", batch.mask.size());
    expect("correction", batch.correction.size());
    expect("selected", batch.selected.size());
    expect("kl", batch.kl.size());
    expect("entropy", batch.entropy.size());
    require<shape_error>(!batch.offsets.empty(), operation,
                         "expected offsets [sequences + 1], got []");
    require<value_error>(batch.offsets.front() == 0 && batch.offsets.back() == batch.tokens(),
                         operation, "expected offsets from 0 to ", batch.tokens(),
                         " (the number of tokens), got ", batch.offsets.front(), " to ",
                         batch.offsets.back());
    for (index_t i = 0; i < batch.sequences(); ++i)
        require<value_error>(batch.begin(i) <= batch.end(i), operation,
                             "expected offsets that never decrease, got ", batch.begin(i), " then ",
                             batch.end(i), " at response ", i);
}

/// The totals of this batch, from `offsets` and `mask` alone. Add those of all micro-batches of an
/// optimizer step with `+=`.
/// Throws as check_layout does.
template <class T>
totals count(token_batch<T> const& batch) {
    check_layout(batch);
    totals all;
    for (index_t i = 0; i < batch.sequences(); ++i) {
        index_t const length = batch.length(i);
        all.tokens += length;
        all.sequences += length > 0;
    }
    return all;
}

}  // namespace grove::inline GROVE_ISA::rl
