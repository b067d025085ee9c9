// SPDX-License-Identifier: Apache-2.0
/// @file
/// Aggregations: the weight of a token's term in the objective.
///
/// A term of a whole response counts once for each of the response's tokens, so that one rule
/// serves both levels: under `sequence_mean` a response then weighs 1 / S.
#pragma once

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::rl {

/// What one optimizer step averages over: all its micro-batches, on all its machines. The weights
/// know these totals alone, so that cutting a step into micro-batches changes nothing.
struct totals {
    index_t sequences = 0;  ///< S: responses with at least one token that counts
    index_t tokens = 0;     ///< N: tokens that count

    totals& operator+=(totals const& other) {
        sequences += other.sequences;
        tokens += other.tokens;
        return *this;
    }
    friend bool operator==(totals const&, totals const&) = default;
};

/// 1 / (S·|oᵢ|): the mean over each response's tokens, then over responses (GRPO).
struct sequence_mean {
    double operator()(index_t length, totals const& all) const {
        return 1.0 / (static_cast<double>(all.sequences) * static_cast<double>(length));
    }
};

/// 1 / S: the sum over each response's tokens, then the mean over responses.
struct sequence_sum {
    double operator()(index_t /*length*/, totals const& all) const {
        return 1.0 / static_cast<double>(all.sequences);
    }
};

/// 1 / N: the mean over all tokens; long responses weigh more (DAPO).
struct token_mean {
    double operator()(index_t /*length*/, totals const& all) const {
        return 1.0 / static_cast<double>(all.tokens);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
