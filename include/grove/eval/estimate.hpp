// SPDX-License-Identifier: Apache-2.0
/// @file
/// Measured values with their uncertainty.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A mean and its standard error.
struct estimate {
    double value = 0.0;
    double standard_error = 0.0;
};

/// Bounds of a confidence interval.
struct interval {
    double low = 0.0;
    double high = 0.0;
};

/// Mean of independent values and its standard error s / √n, s being the unbiased standard
/// deviation; the error of a single value is NaN, because it is unknown. Where several completions
/// share a problem, the independent values are the problems' means. Throws value_error for no
/// values.
inline estimate mean_estimate(std::span<double const> values) {
    require<value_error>(!values.empty(), "mean_estimate", "expected at least one value, got none");
    auto const count = static_cast<double>(values.size());
    double sum = 0.0, squares = 0.0;
    for (double const value : values) sum += value;
    double const mean = sum / count;
    for (double const value : values) squares += (value - mean) * (value - mean);
    if (values.size() == 1) return {mean, std::numeric_limits<double>::quiet_NaN()};
    return {mean, std::sqrt(squares / (count - 1.0) / count)};
}

/// Wilson's score interval of a proportion (Wilson 1927): sound for few trials and near 0 and 1,
/// where the normal interval is not. `z` = 1.96 gives 95 %. Throws value_error unless 0 ≤ successes
/// ≤ trials, trials ≥ 1 and z > 0.
inline interval wilson_interval(index_t successes, index_t trials, double z = 1.959963984540054) {
    require<value_error>(trials >= 1 && 0 <= successes && successes <= trials, "wilson_interval",
                         "expected 0 ≤ successes ≤ trials and trials ≥ 1, got ", successes, " of ",
                         trials);
    require<value_error>(z > 0.0, "wilson_interval", "expected z > 0, got ", z);
    auto const n = static_cast<double>(trials);
    double const p = static_cast<double>(successes) / n;
    double const scale = 1.0 / (1.0 + z * z / n);
    double const center = scale * (p + z * z / (2.0 * n));
    double const half = scale * z * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
    return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

}  // namespace grove::inline GROVE_ISA
