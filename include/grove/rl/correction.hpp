// SPDX-License-Identifier: Apache-2.0
/// @file
/// Importance correction where the sampler and the trainer disagree on log π of the same weights:
/// factors π_old / π_rollout of the surrogate, bounded or masked.
///
/// With one engine for both, as in grove's own trainer, every factor is exactly 1 and none of this
/// is needed; it is for responses sampled elsewhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/rl/batch.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/ratio.hpp"

namespace grove::inline GROVE_ISA::rl {

/// min(w, high): bounded variance for some bias (Yao et al. 2025, TIS; verl's default is 2).
struct truncated {
    double high = 2.0;  ///< > 0

    double operator()(double w) const { return w < high ? w : high; }
};

/// w within [low, high], else 0: what is too far does not teach (MIS, IcePop). The bounds are on w
/// itself, not on its inverse or logarithm. Low 0 leaves the lower side open.
struct masked {
    double low = 0.0;   ///< ≥ 0
    double high = 2.0;  ///< ≥ low

    double operator()(double w) const { return w >= low && w <= high ? w : 0.0; }
};

/// 1 within [low, high], else 0: rejection without a weight.
struct accepted {
    double low = 0.5;   ///< ≥ 0
    double high = 2.0;  ///< ≥ low

    double operator()(double w) const { return w >= low && w <= high ? 1.0 : 0.0; }
};

/// w as it is: right on average, of unbounded variance.
struct unbounded {
    double operator()(double w) const { return w; }
};

/// The factors `Bound`(w) with w = π_old / π_rollout over the unit of `Ratio`: token_ratio,
/// sequence_ratio or geometric_ratio. A response's factor is that of all its tokens.
/// ```cpp
/// auto factors = rl::corrections<float>(old, rollout, offsets, mask, rl::token_tis{});
/// batch.correction = factors;
/// ```
template <class Ratio, class Bound>
struct importance_correction {
    static_assert(ratio_law<Ratio> && law_of_pair<Ratio>,
                  "a correction is over a ratio of its own unit: token_ratio, sequence_ratio or "
                  "geometric_ratio");

    Ratio ratio{};
    Bound bound{};

    /// Multiplies `factors` `[tokens]` where tokens count. `record.log_probability` is the
    /// trainer's and `record.old_log_probability` the sampler's, both before the update.
    template <class T>
    void operator()(token_batch<T> const& record, std::span<T> factors) const {
        for (index_t i = 0; i < record.sequences(); ++i) {
            index_t const length = record.length(i);
            double of_response = 1;
            if constexpr (Ratio::unit == level::sequence)
                of_response = bound(ratio(length == 0 ? 0.0 : total(record, i),
                                          static_cast<double>(length == 0 ? 1 : length)));
            for (index_t t = record.begin(i); t < record.end(i); ++t) {
                if (!record.counts(t)) continue;
                if constexpr (Ratio::unit == level::token)
                    of_response = bound(ratio(difference(record, t), 1.0));
                factors[static_cast<std::size_t>(t)] *= static_cast<T>(of_response);
            }
        }
    }

private:
    template <class T>
    static double difference(token_batch<T> const& record, index_t t) {
        auto const at = static_cast<std::size_t>(t);
        return static_cast<double>(record.log_probability[at]) -
               static_cast<double>(record.old_log_probability[at]);
    }
    template <class T>
    static double total(token_batch<T> const& record, index_t i) {
        double sum = 0;
        for (index_t t = record.begin(i); t < record.end(i); ++t)
            if (record.counts(t)) sum += difference(record, t);
        return sum;
    }
};

using token_tis = importance_correction<token_ratio, truncated>;        ///< verl, NeMo-RL "tis"
using sequence_tis = importance_correction<sequence_ratio, truncated>;  ///< verl "sequence"
using token_mis = importance_correction<token_ratio, masked>;           ///< IcePop, TRL token mask
using sequence_mis = importance_correction<sequence_ratio, masked>;     ///< TRL's default, at 3
using geometric_rejection = importance_correction<geometric_ratio, accepted>;  ///< verl "geo"

/// No learning from bad responses that the policy has already left (DeepSeek-AI 2025,
/// DeepSeek-V3.2; TRL, `off_policy_mask_threshold`): 0 for a response with A < 0 whose tokens the
/// sampler found likelier than the policy does by more than `threshold` nats on average, else 1.
/// What they would teach is far from anything the policy would write.
///
/// The policy is the one that learns, now: `record.log_probability` is its own and
/// `record.old_log_probability` the sampler's, so that the factors are of one update alone. One
/// advantage per response.
/// ```cpp
/// rl::off_policy_mask{.threshold = 0.5}(batch, factors);  // factors [tokens], at first all 1
/// batch.correction = factors;
/// ```
struct off_policy_mask {
    double threshold = 0.5;  ///< nats per token

    /// Multiplies `factors` `[tokens]` where tokens count. Throws shape_error for arrays that do
    /// not fit together, value_error for numbers that count and are not finite.
    template <class T>
    void operator()(token_batch<T> const& record, std::span<T> factors) const {
        char const* const operation = "off_policy_mask";
        check_layout(record);
        auto const expect = [&](char const* name, std::size_t size, index_t wanted) {
            require<shape_error>(static_cast<index_t>(size) == wanted, operation, "expected ", name,
                                 " [", wanted, "], got [", size, "]");
        };
        expect("log_probability", record.log_probability.size(), record.tokens());
        expect("advantage", record.advantage.size(), record.sequences());
        expect("factors", factors.size(), record.tokens());
        for (index_t i = 0; i < record.sequences(); ++i) {
            index_t const length = record.length(i);
            double drift = 0;
            for (index_t t = record.begin(i); t < record.end(i); ++t)
                if (record.counts(t))
                    drift +=
                        static_cast<double>(
                            record.old_log_probability[static_cast<std::size_t>(t)]) -
                        static_cast<double>(record.log_probability[static_cast<std::size_t>(t)]);
            auto const advantage =
                static_cast<double>(record.advantage[static_cast<std::size_t>(i)]);
            require<value_error>(std::isfinite(drift) && std::isfinite(advantage), operation,
                                 "expected finite numbers, got a drift of ", drift,
                                 " and an advantage of ", advantage, " in response ", i);
            if (advantage >= 0 || drift <= threshold * static_cast<double>(length)) continue;
            for (index_t t = record.begin(i); t < record.end(i); ++t)
                if (record.counts(t)) factors[static_cast<std::size_t>(t)] = T(0);
        }
    }
};

/// The product of several corrections `[tokens]`, 1 where a token does not count: untruncated token
/// weights within responses that are accepted (OpenRLHF's "seq-mask-tis") are
/// `corrections<T>(…, importance_correction<token_ratio, unbounded>{}, geometric_rejection{})`.
///
/// `old` are the trainer's log-probabilities and `rollout` the sampler's, `[tokens]`. Long
/// responses drift far as a whole: under a sequence form few survive. Throws shape_error,
/// value_error for arrays that do not fit together and for numbers that count and are not finite.
template <class T, class... Corrections>
std::vector<T> corrections(std::span<T const> old, std::span<T const> rollout,
                           std::span<index_t const> offsets, std::span<std::uint8_t const> mask,
                           Corrections const&... each) {
    token_batch<T> const record{
        .log_probability = old, .old_log_probability = rollout, .offsets = offsets, .mask = mask};
    check_layout(record);
    require<shape_error>(old.size() == rollout.size(), "corrections", "expected old [",
                         rollout.size(), "] like rollout, got [", old.size(), "]");
    for (std::size_t t = 0; t < old.size(); ++t)
        require<value_error>(!record.counts(static_cast<index_t>(t)) ||
                                 (std::isfinite(old[t]) && std::isfinite(rollout[t])),
                             "corrections", "expected finite log-probabilities, got ", old[t],
                             " and ", rollout[t], " at ", t);
    std::vector<T> factors(old.size(), T(1));
    (each(record, std::span<T>(factors)), ...);
    return factors;
}

}  // namespace grove::inline GROVE_ISA::rl
