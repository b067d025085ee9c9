// SPDX-License-Identifier: Apache-2.0
/// @file
/// Aggregations: the weight of a token's term in the objective.
///
/// A term of a whole response counts once for each of the response's tokens, so that one rule
/// serves both levels: under `sequence_mean` a response then weighs 1 / S.
#pragma once

#include <string>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/rl/formula.hpp"

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
    std::string formula() const { return "1/(S·|o|)"; }
};

/// 1 / S: the sum over each response's tokens, then the mean over responses.
struct sequence_sum {
    double operator()(index_t /*length*/, totals const& all) const {
        return 1.0 / static_cast<double>(all.sequences);
    }
    std::string formula() const { return "1/S"; }
};

/// 1 / N: the mean over all tokens; long responses weigh more (DAPO).
struct token_mean {
    double operator()(index_t /*length*/, totals const& all) const {
        return 1.0 / static_cast<double>(all.tokens);
    }
    std::string formula() const { return "1/N"; }
};

/// 1 / (S·length): the sum over each response's tokens divided by a constant, usually the longest
/// length allowed (Liu et al. 2025, Dr. GRPO). The constant is a setting, never the width of a
/// padded batch, which would change the step with what it happens to hold.
struct constant_length {
    double length = 1.0;  ///< > 0, tokens

    /// Throws configuration_error for a length that is not positive.
    double operator()(index_t /*length*/, totals const& all) const {
        require<configuration_error>(length > 0, "constant_length", "expected length > 0, got ",
                                     length);
        return 1.0 / (static_cast<double>(all.sequences) * length);
    }
    std::string formula() const { return formula_text("1/(S·", length, ")"); }
};

}  // namespace grove::inline GROVE_ISA::rl
