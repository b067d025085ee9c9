// SPDX-License-Identifier: Apache-2.0
/// @file
/// Whitening: advantages of mean 0 and variance 1 over all the tokens of a batch.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "grove/rl/advantage/moments.hpp"

namespace grove::inline GROVE_ISA::rl {

/// x → (x − mean) / √(variance + epsilon) over the numbers that count, in place (verl, TRL,
/// NeMo-RL: unbiased, 1e-8; OpenRLHF: biased).
///
/// Numbers that are all equal become exactly 0. The mean is over the batch, not over a prompt: a
/// token whose advantage was 0 has one after it. Whiten the batch of a whole optimizer step, before
/// it is cut into micro-batches or spread over machines.
struct whitening {
    bool unbiased = true;   ///< divide the squares by n − 1 rather than n
    double epsilon = 1e-8;  ///< added to the variance; ≥ 0

    /// `numbers` `[tokens]`; where `mask` `[tokens]` (or empty: all count) is 0 they become 0 and
    /// may have been anything. Throws shape_error for a mask of another size, value_error for a
    /// number that counts and is not finite, configuration_error for a negative epsilon.
    template <class T>
    void operator()(std::span<T> numbers, std::span<std::uint8_t const> mask = {}) const {
        if (!mask.empty()) detail::check_size("whitening", "mask", mask.size(), numbers.size());
        auto const size = static_cast<index_t>(numbers.size());
        for (index_t t = 0; t < size; ++t) {
            auto const x = numbers[static_cast<std::size_t>(t)];
            require<value_error>(!detail::is_set(mask, t) || std::isfinite(x), "whitening",
                                 "expected finite numbers, got ", x, " at ", t);
        }
        auto const m = detail::moments(std::span<T const>(numbers), mask, 0, size);
        for (index_t t = 0; t < size; ++t) {
            T& x = numbers[static_cast<std::size_t>(t)];
            x = detail::is_set(mask, t) ? static_cast<T>(apply(m, x)) : T(0);
        }
    }
    /// One number of those that `m` describes.
    double apply(detail::group_moments const& m, double x) const {
        detail::check_not_negative("whitening", "epsilon", epsilon);
        if (m.flat()) return 0.0;
        double const deviation = m.deviation(unbiased);
        return (x - m.mean) / std::sqrt(deviation * deviation + epsilon);
    }
};

}  // namespace grove::inline GROVE_ISA::rl
