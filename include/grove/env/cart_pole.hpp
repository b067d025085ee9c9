// SPDX-License-Identifier: Apache-2.0
/// @file
/// Cart-pole: push a cart so that the pole on it stays upright (Barto, Sutton & Anderson 1983).
#pragma once

#include <cmath>

#include "grove/env/environment.hpp"

namespace grove::inline GROVE_ISA {

/// Equations, limits, reward and start as in Gymnasium's CartPole-v1: action 0 pushes to the left
/// and 1 to the right, each step earns 1, and the episode ends where the cart leaves ±2.4 m or the
/// pole ±12°. Observed: position, velocity, angle, angular velocity.
struct cart_pole {
    static constexpr index_t observation_size = 4;
    static constexpr index_t action_count = 2;

    struct state {
        double position = 0;          ///< m
        double velocity = 0;          ///< m/s
        double angle = 0;             ///< rad, 0 is upright
        double angular_velocity = 0;  ///< rad/s
    };

    index_t time_limit = 500;

    /// Every number uniform in [−0.05, 0.05).
    state reset(random_sequence& random) const {
        auto const draw = [&] { return 0.1 * random.uniform() - 0.05; };
        double const position = draw(), velocity = draw(), angle = draw();
        return {position, velocity, angle, draw()};
    }
    void observe(state const& s, std::span<float> seen) const {
        seen[0] = static_cast<float>(s.position);
        seen[1] = static_cast<float>(s.velocity);
        seen[2] = static_cast<float>(s.angle);
        seen[3] = static_cast<float>(s.angular_velocity);
    }
    /// One explicit Euler step of 20 ms. Throws value_error for an action other than 0 and 1.
    transition step(state& s, index_t action) const {
        require<value_error>(action == 0 || action == 1, "cart_pole",
                             "expected action 0 or 1, got ", action);
        constexpr double gravity = 9.8, pole = 0.1, total = 1.0 + pole;   // m/s², kg
        constexpr double half_length = 0.5, push = 10.0, seconds = 0.02;  // m, N
        double const sine = std::sin(s.angle), cosine = std::cos(s.angle);
        double const moment = pole * half_length;
        double const drive = ((action == 1 ? push : -push) +
                              moment * s.angular_velocity * s.angular_velocity * sine) /
                             total;
        double const angular = (gravity * sine - cosine * drive) /
                               (half_length * (4.0 / 3.0 - pole * cosine * cosine / total));
        double const linear = drive - moment * angular * cosine / total;
        s.position += seconds * s.velocity;
        s.velocity += seconds * linear;
        s.angle += seconds * s.angular_velocity;
        s.angular_velocity += seconds * angular;
        constexpr double far = 2.4, steep = 12 * 3.14159265358979323846 / 180;
        return {1.0, std::abs(s.position) > far || std::abs(s.angle) > steep};
    }
};

}  // namespace grove::inline GROVE_ISA
