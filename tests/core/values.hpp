// SPDX-License-Identifier: Apache-2.0
// Reproducible numbers for the tests of every folder, and how far results are from expected ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"

/// `size` standard normal numbers times `scale`, another sequence for each `seed`.
template <class T>
std::vector<T> random_values(grove::index_t size, std::uint64_t seed, double scale = 1.0) {
    grove::random_sequence sequence({.seed = seed});
    std::vector<T> values(static_cast<std::size_t>(size));
    for (T& x : values) x = static_cast<T>(scale * sequence.normal());
    return values;
}

/// `size` integers in [0, bound).
inline std::vector<std::int32_t> random_indices(grove::index_t size, std::int64_t bound,
                                                std::uint64_t seed) {
    grove::random_sequence sequence({.seed = seed});
    std::vector<std::int32_t> values(static_cast<std::size_t>(size));
    for (auto& x : values) x = static_cast<std::int32_t>(sequence.integer(0, bound - 1));
    return values;
}

/// The largest |actual − expected| / (1 + |expected|); infinite for other sizes and for NaN.
template <class T>
double worst_error(std::vector<T> const& actual, std::vector<double> const& expected) {
    if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        double const e = std::abs(double(actual[i]) - expected[i]) / (1 + std::abs(expected[i]));
        if (!std::isfinite(e)) return std::numeric_limits<double>::infinity();
        worst = std::max(worst, e);
    }
    return worst;
}
