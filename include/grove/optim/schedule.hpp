// SPDX-License-Identifier: Apache-2.0
/// @file
/// Learning rates over steps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
/// The rate of step < warmup on a line from 0 to `peak`.
inline double warm_up(double peak, std::int64_t step, std::int64_t warmup) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
}
/// How much of the way from `warmup` to `steps` lies behind a step, at most 1.
inline double share_done(std::int64_t step, std::int64_t warmup, std::int64_t steps) {
    double const span = static_cast<double>(std::max<std::int64_t>(steps - warmup, 1));
    return std::min(1.0, static_cast<double>(step - warmup) / span);
}
}  // namespace detail

/// Linear warm-up to `peak`, then a half cosine down to `peak · floor` at `steps`, and that
/// afterwards.
struct cosine_schedule {
    double peak = 3e-4;
    std::int64_t steps = 1000;
    std::int64_t warmup = 0;
    double floor = 0.1;

    /// The rate of step 0, 1, …
    double operator()(std::int64_t step) const {
        if (step < warmup) return detail::warm_up(peak, step, warmup);
        double const t = detail::share_done(step, warmup, steps);
        return peak * (floor + (1 - floor) * 0.5 * (1 + std::cos(3.14159265358979323846 * t)));
    }
};

/// Linear warm-up to `peak`, then constant.
struct constant_schedule {
    double peak = 1e-4;
    std::int64_t warmup = 0;

    double operator()(std::int64_t step) const {
        if (step < warmup) return detail::warm_up(peak, step, warmup);
        return peak;
    }
};

/// Linear warm-up to `peak`, then a straight line to `peak · floor` at `steps`.
struct linear_schedule {
    double peak = 3e-4;
    std::int64_t steps = 1000;
    std::int64_t warmup = 0;
    double floor = 0.0;

    double operator()(std::int64_t step) const {
        if (step < warmup) return detail::warm_up(peak, step, warmup);
        double const t = detail::share_done(step, warmup, steps);
        return peak * (1 - (1 - floor) * t);
    }
};

}  // namespace grove::inline GROVE_ISA
