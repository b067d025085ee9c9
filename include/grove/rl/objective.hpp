// SPDX-License-Identifier: Apache-2.0
/// @file
/// An algorithm as a composition of policies in named slots.
#pragma once

#include <concepts>
#include <type_traits>

#include "grove/core/number.hpp"
#include "grove/rl/aggregation.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/unit_numbers.hpp"

namespace grove::inline GROVE_ISA::rl {

/// Says whether its numbers are per token or per response: `static constexpr level unit`.
template <class Slot>
concept has_unit = requires {
    { Slot::unit } -> std::convertible_to<level>;
};
/// A number type on which laws are tried.
using law_probe = dual<double, 1>;
/// `law(unit_numbers)` → number: a law that reads everything about its token or response.
template <class Law>
concept law_of_unit = requires(Law const& law, unit_numbers<law_probe> const& unit) {
    { law(unit) } -> std::same_as<law_probe>;
};
/// `law(x, y)` → number.
template <class Law>
concept law_of_pair = requires(Law const& law, law_probe x) {
    { law(x, x) } -> std::same_as<law_probe>;
};
/// `law(x, unit_numbers)` → number.
template <class Law>
concept law_of_number_and_unit =
    requires(Law const& law, law_probe x, unit_numbers<law_probe> const& unit) {
        { law(x, unit) } -> std::same_as<law_probe>;
    };
/// (log-ratio, length) or (unit) → ratio, for every number type; see ratio.hpp.
template <class Law>
concept ratio_law = has_unit<Law> && (law_of_pair<Law> || law_of_unit<Law>);
/// (ratio, advantage) or (ratio, unit) → what is maximised, for every number type; see
/// surrogate.hpp.
template <class Law>
concept surrogate_law = law_of_pair<Law> || law_of_number_and_unit<Law>;
/// (log-probability, reference's) or (unit) → divergence, for every number type; see kl.hpp.
template <class Law>
concept kl_law = has_unit<Law> && (law_of_pair<Law> || law_of_unit<Law>);
/// (tokens of the response, totals) → weight of each of these tokens; see aggregation.hpp.
template <class Law>
concept aggregation_law = requires(Law const& law, totals const& all) {
    { law(index_t{1}, all) } -> std::convertible_to<double>;
};
/// A ratio per response needs one advantage per response.
template <class Advantage, class Ratio>
concept levels_agree = !has_unit<Advantage> || !has_unit<Ratio> ||
                       Advantage::unit == level::sequence || Ratio::unit == level::token;
/// A surrogate made for the ratios of one level (its member `ratio_unit`) is given those.
template <class Surrogate, class Ratio>
concept ratio_fits = !has_unit<Ratio> || !requires { Surrogate::ratio_unit; } ||
                     requires { requires Surrogate::ratio_unit == Ratio::unit; };
/// Whether a law bounds the pull of the ratio: `static constexpr bool clips = true`.
template <class Law>
concept clips = requires { requires Law::clips; };

/// J = Σ w·(surrogate(ratio, A) − β·kl + η·H), to be maximised; the loss is −J. H is the policy's
/// entropy at a token.
///
/// Every slot is a small struct, built in or yours. A slot filled with something else does not
/// compile, nor does a ratio per response with an advantage per token.
/// ```cpp
/// using mine = rl::objective<rl::group_normalized, rl::token_ratio, my_surrogate, rl::k3,
///                            rl::token_mean>;
/// mine objective{.surrogate = {.temperature = 2.0}, .kl_coefficient = 0.01};
/// ```
template <class Advantage, class Ratio, class Surrogate, class Kl, class Aggregation>
struct objective {
    static_assert(has_unit<Advantage>,
                  "the first slot of an objective is an advantage estimator with a "
                  "`static constexpr level unit`, such as group_normalized");
    static_assert(ratio_law<Ratio>,
                  "the second slot of an objective is a ratio, such as token_ratio: a `unit` and "
                  "Number operator()(Number log_ratio, Number length) const");
    static_assert(surrogate_law<Surrogate>,
                  "the third slot of an objective is a surrogate, such as clipped: "
                  "Number operator()(Number ratio, Number advantage) const");
    static_assert(kl_law<Kl>,
                  "the fourth slot of an objective is a divergence, such as k3 or no_kl: a `unit` "
                  "and Number operator()(Number log_probability, Number reference) const");
    static_assert(aggregation_law<Aggregation>,
                  "the fifth slot of an objective is an aggregation, such as token_mean: "
                  "double operator()(index_t length, totals const& all) const");
    static_assert(levels_agree<Advantage, Ratio>,
                  "a ratio per response takes one advantage per response, but this estimator gives "
                  "one per token: use token_ratio, or a group estimator");
    static_assert(ratio_fits<Surrogate, Ratio>,
                  "this surrogate is made for ratios of the other level: variational_score takes a "
                  "ratio per response, the trust regions and the covariance surrogates one per "
                  "token");
    static_assert(!(clips<Ratio> && clips<Surrogate>),
                  "this ratio is clipped already, token by token: give it unclipped as surrogate");

    /// Whether a batch holds one advantage per response, or else one per token.
    static constexpr bool advantage_per_sequence = Advantage::unit == level::sequence;
    /// Whether the surrogate, or the divergence, is taken over units of this level.
    template <level Unit>
    static constexpr bool surrogate_at = Ratio::unit == Unit;
    template <level Unit>
    static constexpr bool kl_at = Kl::unit == Unit && !std::is_same_v<Kl, no_kl>;
    template <level Unit>
    static constexpr bool terms_at = surrogate_at<Unit> || kl_at<Unit>;
    /// Whether the surrogate treats selected tokens apart, so that a batch must name them.
    static constexpr bool selects = requires { requires Surrogate::selects; };
    static constexpr bool has_kl = kl_at<level::token> || kl_at<level::sequence>;
    /// Whether the divergence is over the whole vocabulary, so that the policy must compute it.
    static constexpr bool whole_vocabulary = requires { requires Kl::whole_vocabulary; };
    /// Whether a law takes unit_numbers.
    static constexpr bool surrogate_reads_unit = !law_of_pair<Surrogate>;
    static constexpr bool kl_reads_unit = !law_of_pair<Kl>;
    /// Whether a token's ratio looks at its whole response.
    static constexpr bool ratio_reads_response = surrogate_at<level::token> && !law_of_pair<Ratio>;
    /// Whether a token's gradient needs that token alone (and the totals).
    static constexpr bool separable = !terms_at<level::sequence> && !ratio_reads_response;

    Advantage advantage{};
    Ratio ratio{};
    Surrogate surrogate{};
    Kl kl{};
    Aggregation aggregation{};
    double kl_coefficient = has_kl ? 0.001 : 0.0;  ///< β ≥ 0; by default that of DeepSeek-R1
    /// η, the reward of a nat of entropy (Williams & Peng 1991); negative ones punish it. A
    /// controller is adaptive_entropy (entropy.hpp).
    double entropy_coefficient = 0.0;
};

/// What one unit contributes before weighting: surrogate − β·kl.
template <class Number>
struct unit_terms {
    Number ratio;
    Number surrogate;
    Number kl;
};

/// The terms that `objective` takes at level `Unit`; the others are constants (ratio 1, terms 0).
/// `with_kl` is false where there is no reference model. Runs in CUDA kernels as well.
template <level Unit, class Objective, class Number>
GROVE_HD unit_terms<Number> terms(Objective const& objective, unit_numbers<Number> const& unit,
                                  bool with_kl) {
    unit_terms<Number> result{Number(1), Number(0), Number(0)};
    if constexpr (Objective::template surrogate_at<Unit>) {
        if constexpr (Objective::ratio_reads_response) {
            result.ratio = objective.ratio(unit);
        } else {
            result.ratio = objective.ratio(unit.log_ratio, unit.length);
        }
        if constexpr (Objective::surrogate_reads_unit) {
            result.surrogate = objective.surrogate(result.ratio, unit);
        } else {
            result.surrogate = objective.surrogate(result.ratio, unit.advantage);
        }
    }
    if constexpr (Objective::template kl_at<Unit>) {
        if (with_kl) {
            if constexpr (Objective::kl_reads_unit) {
                result.kl = objective.kl(unit);
            } else {
                result.kl = objective.kl(unit.log_probability, unit.reference_log_probability);
            }
        }
    }
    return result;
}

}  // namespace grove::inline GROVE_ISA::rl
