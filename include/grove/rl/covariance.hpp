// SPDX-License-Identifier: Apache-2.0
/// @file
/// Which tokens to treat apart: those whose advantage and log-probability rise together, and whose
/// update therefore takes most of the entropy (Cui et al. 2025).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "grove/core/random.hpp"
#include "grove/rl/advantage/moments.hpp"
#include "grove/rl/batch.hpp"
#include "grove/rl/surrogate/covariance.hpp"

namespace grove::inline GROVE_ISA::rl {

namespace detail {

/// A and log π of every token that counts, in the batch's order.
template <class T>
struct counted_tokens {
    std::vector<std::size_t> at{};  ///< index in the batch
    std::vector<double> advantage{}, log_probability{}, log_ratio{};

    counted_tokens(char const* operation, token_batch<T> const& batch) {
        check_layout(batch);
        auto const tokens = static_cast<std::size_t>(batch.tokens());
        check_size(operation, "log_probability", batch.log_probability.size(), tokens);
        check_size(operation, "advantage", batch.advantage.size(),
                   static_cast<std::size_t>(batch.sequences()));
        for (index_t i = 0; i < batch.sequences(); ++i)
            for (index_t t = batch.begin(i); t < batch.end(i); ++t)
                if (batch.counts(t)) push(operation, batch, i, static_cast<std::size_t>(t));
    }
    /// (A − mean A)·(log π − mean log π), with means over all the tokens that count.
    std::vector<double> covariances() const {
        auto const mean = [](std::vector<double> const& x) {
            return moments(std::span<double const>(x), {}, 0, std::ssize(x)).mean;
        };
        double const mean_advantage = mean(advantage), mean_log = mean(log_probability);
        std::vector<double> result(at.size());
        for (std::size_t i = 0; i < at.size(); ++i)
            result[i] = (advantage[i] - mean_advantage) * (log_probability[i] - mean_log);
        return result;
    }

private:
    void push(char const* operation, token_batch<T> const& batch, index_t sequence, std::size_t t) {
        auto const a = static_cast<double>(batch.advantage[static_cast<std::size_t>(sequence)]);
        auto const now = static_cast<double>(batch.log_probability[t]);
        auto const old = static_cast<double>(batch.old_log_probability[t]);
        require<value_error>(std::isfinite(a + now + old), operation,
                             "expected finite numbers, got advantage ", a, ", log_probability ",
                             now, ", old_log_probability ", old, " at ", t);
        at.push_back(t);
        advantage.push_back(a);
        log_probability.push_back(now);
        log_ratio.push_back(now - old);
    }
};

/// max(1, ⌊share·count⌋), but no more than `count`.
inline std::size_t share_of(char const* operation, double share, std::size_t count) {
    require<configuration_error>(share >= 0 && share <= 1, operation,
                                 "expected 0 ≤ share ≤ 1, got ", share);
    auto const wanted = static_cast<std::size_t>(share * static_cast<double>(count));
    return std::min(std::max<std::size_t>(wanted, 1), count);
}

}  // namespace detail

/// The tokens `[tokens]` that clip-cov leaves out: `share` of all tokens (at least one), drawn
/// without replacement from those whose covariance lies strictly between `low` and `high` and
/// which the clip does not already hold.
///
/// Select over the whole optimizer step, since the means and the share are over what is given. One
/// advantage per response. Throws shape_error, value_error and configuration_error for what does
/// not fit together.
struct covariance_band {
    double low = 1.0;
    double high = 5.0;
    double share = 0.0002;

    template <class T>
    std::vector<std::uint8_t> operator()(token_batch<T> const& batch,
                                         covariance_clipped const& surrogate,
                                         random_key key) const {
        detail::counted_tokens<T> const tokens("covariance_band", batch);
        auto const covariance = tokens.covariances();
        clipped const clip{surrogate.low, surrogate.high};
        std::vector<std::size_t> candidates;
        for (std::size_t i = 0; i < covariance.size(); ++i) {
            double const ratio = std::exp(tokens.log_ratio[i]), a = tokens.advantage[i];
            if (clip(ratio, a) == ratio * a && low < covariance[i] && covariance[i] < high)
                candidates.push_back(tokens.at[i]);
        }
        auto const wanted = std::min(detail::share_of("covariance_band", share, covariance.size()),
                                     candidates.size());
        std::vector<std::uint8_t> selected(static_cast<std::size_t>(batch.tokens()));
        random_sequence random(key);
        for (std::size_t i = 0; i < wanted; ++i) {
            auto const j = random.integer(static_cast<std::int64_t>(i),
                                          static_cast<std::int64_t>(candidates.size()) - 1);
            std::swap(candidates[i], candidates[static_cast<std::size_t>(j)]);
            selected[candidates[i]] = 1;
        }
        return selected;
    }
};

/// The tokens `[tokens]` that kl-cov penalizes: the `share` of all (at least one) with the largest
/// covariance; of equal ones the first. Otherwise as `covariance_band`.
struct largest_covariance {
    double share = 0.0002;  ///< the paper: this for 32 B parameters, 0.002 for 7 B

    template <class T>
    std::vector<std::uint8_t> operator()(token_batch<T> const& batch) const {
        detail::counted_tokens<T> const tokens("largest_covariance", batch);
        auto const covariance = tokens.covariances();
        std::vector<std::size_t> order(covariance.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return covariance[a] > covariance[b];
        });
        order.resize(detail::share_of("largest_covariance", share, order.size()));
        std::vector<std::uint8_t> selected(static_cast<std::size_t>(batch.tokens()));
        for (std::size_t i : order) selected[tokens.at[i]] = 1;
        return selected;
    }
};

}  // namespace grove::inline GROVE_ISA::rl
