// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a training run should log: a GRPO loss is 0 at the start of every step and says nothing.
#pragma once

#include <algorithm>
#include <limits>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A mean that can be merged: its sum and what it is over.
struct average {
    double sum = 0;
    index_t count = 0;

    /// NaN where nothing was measured.
    double value() const {
        return count > 0 ? sum / static_cast<double>(count)
                         : std::numeric_limits<double>::quiet_NaN();
    }
    average& operator+=(average const& other) {
        sum += other.sum;
        count += other.count;
        return *this;
    }
};

/// Statistics over the units of the ratio (tokens or responses) and of the divergence.
struct objective_statistics {
    index_t sequences = 0;       ///< responses with a token that counts
    index_t tokens = 0;          ///< tokens that count
    average ratio;               ///< importance ratio
    double ratio_deviation = 0;  ///< max |ratio − 1|
    average advantage;           ///< over the ratio's units
    average clipped_low;         ///< share with A ≠ 0 and a flat surrogate, ratio < 1
    average clipped_high;        ///< the same, ratio > 1
    average kl;                  ///< from the reference, in nats; unmeasured without one

    objective_statistics& operator+=(objective_statistics const& other) {
        sequences += other.sequences;
        tokens += other.tokens;
        ratio += other.ratio;
        ratio_deviation = std::max(ratio_deviation, other.ratio_deviation);
        advantage += other.advantage;
        clipped_low += other.clipped_low;
        clipped_high += other.clipped_high;
        kl += other.kl;
        return *this;
    }
};

/// The value of an objective on a batch; those of micro-batches under common totals add up.
struct evaluation {
    double loss = 0;
    objective_statistics statistics;

    evaluation& operator+=(evaluation const& other) {
        loss += other.loss;
        statistics += other.statistics;
        return *this;
    }
};

}  // namespace grove::inline GROVE_ISA::rl
