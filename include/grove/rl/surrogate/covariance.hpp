// SPDX-License-Identifier: Apache-2.0
/// @file
/// Surrogates that treat the tokens apart whose entropy would collapse first (Cui et al. 2025, "The
/// entropy mechanism"): those a batch selects by the covariance of A and log π (covariance.hpp).
#pragma once

#include <string>

#include "grove/core/math.hpp"
#include "grove/rl/formula.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/surrogate/clip.hpp"
#include "grove/rl/unit_numbers.hpp"

namespace grove::inline GROVE_ISA::rl {

/// `clipped`, and 0 for the selected tokens, which still count in the aggregation (clip-cov).
struct covariance_clipped {
    static constexpr level ratio_unit = level::token;
    static constexpr bool clips = true;
    static constexpr bool selects = true;  ///< the batch must say which tokens are selected

    double low = 0.2;  ///< verl's default; the authors' runs have 1 on both sides
    double high = 0.2;

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& token) const {
        return math::select(Number(0) < token.selected, Number(0),
                            clipped{low, high}(ratio, token.advantage));
    }
    std::string formula() const {
        return formula_text(clipped{low, high}.formula(), ", 0 for selected tokens");
    }
};

/// r·A − coefficient·|log r| for the selected tokens, r·A for the others (kl-cov; the
/// paper writes KL(π_old ‖ π) for the penalty, and its code |log r|).
struct covariance_penalized {
    static constexpr level ratio_unit = level::token;
    static constexpr bool selects = true;  ///< the batch must say which tokens are selected

    double coefficient = 1.0;  ///< ≥ 0; the paper's; verl's configuration says 0.1

    template <class Number>
    GROVE_HD Number operator()(Number ratio, unit_numbers<Number> const& token) const {
        // |x| has no derivative at 0, where a first pass over a rollout stands: 0 keeps it there.
        Number const distance =
            math::select(token.log_ratio == Number(0), Number(0), math::abs(token.log_ratio));
        return ratio * token.advantage - Number(coefficient) * token.selected * distance;
    }
    std::string formula() const {
        return formula_text("r·A − ", coefficient, "·|log r| for selected tokens");
    }
};

}  // namespace grove::inline GROVE_ISA::rl
