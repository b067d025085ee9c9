// SPDX-License-Identifier: Apache-2.0
/// @file
/// Pendulum: swing it up with a motor too weak to lift it, and hold it there.
#pragma once

#include <algorithm>
#include <cmath>

#include "grove/env/environment.hpp"

namespace grove::inline GROVE_ISA {

/// Equations, limits, reward and start as in Gymnasium's Pendulum-v1: the action is a torque,
/// bounded at ±2 N·m; a step costs angle² + 0.1·velocity² + 0.001·torque²; no state ends the
/// episode. Observed: cosine and sine of the angle, angular velocity.
struct pendulum {
    static constexpr index_t observation_size = 3;
    static constexpr index_t action_size = 1;

    struct state {
        double angle = 0;     ///< rad, 0 is upright
        double velocity = 0;  ///< rad/s, within ±8
    };

    index_t time_limit = 200;
    double torque_per_action = 1.0;  ///< N·m; 2 makes [−1, 1] the range of actions

    /// Angle uniform in [−π, π), velocity in [−1, 1).
    state reset(random_sequence& random) const {
        double const angle = pi * (2 * random.uniform() - 1);
        return {angle, 2 * random.uniform() - 1};
    }
    void observe(state const& s, std::span<float> seen) const {
        seen[0] = static_cast<float>(std::cos(s.angle));
        seen[1] = static_cast<float>(std::sin(s.angle));
        seen[2] = static_cast<float>(s.velocity);
    }
    /// One step of 50 ms. Throws value_error for an action that is not a number.
    transition step(state& s, std::span<float const> action) const {
        double const wanted = torque_per_action * static_cast<double>(action[0]);
        require<value_error>(!std::isnan(wanted), "pendulum", "expected a torque, got ", wanted);
        constexpr double gravity = 10.0, mass = 1.0, length = 1.0, seconds = 0.05, fastest = 8.0;
        double const torque = std::clamp(wanted, -2.0, 2.0);
        double const turns = std::floor((s.angle + pi) / (2 * pi));
        double const angle = s.angle - 2 * pi * turns;  // in [−π, π)
        double const cost = angle * angle + 0.1 * s.velocity * s.velocity + 0.001 * torque * torque;
        double const acceleration =
            3 * gravity / (2 * length) * std::sin(s.angle) + 3 / (mass * length * length) * torque;
        s.velocity = std::clamp(s.velocity + acceleration * seconds, -fastest, fastest);
        s.angle += s.velocity * seconds;
        return {-cost, false};
    }

private:
    static constexpr double pi = 3.14159265358979323846;
};

}  // namespace grove::inline GROVE_ISA
