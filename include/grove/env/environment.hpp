// SPDX-License-Identifier: Apache-2.0
/// @file
/// What an environment is: a small struct of plain functions, without tensors.
///
/// Your own is ten lines:
/// @code
/// struct corridor {  // walk right to the end
///     static constexpr grove::index_t observation_size = 1, action_count = 2;
///     using state = int;
///
///     grove::index_t time_limit = 50;
///     state reset(grove::random_sequence&) const { return 0; }
///     void observe(state s, std::span<float> seen) const { seen[0] = s / 10.0f; }
///     grove::transition step(state& s, grove::index_t action) const {
///         s = std::max(0, s + (action == 1 ? 1 : -1));
///         return {.reward = s == 10 ? 1.0 : 0.0, .terminated = s == 10};
///     }
/// };
/// static_assert(grove::environment<corridor>);
/// @endcode
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>

#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// What a step in an environment brings.
struct transition {
    double reward = 0;
    bool terminated = false;  ///< nothing follows, so that what follows is worth 0
};

/// A state that starts, is observed and has a time limit: steps after which an episode is cut off,
/// without an end of the task; 0: none. Randomness comes from `reset`'s sequence alone; an
/// environment with random steps keeps the sequence in its state.
template <class E>
concept observable = std::is_trivially_copyable_v<typename E::state> &&
                     requires(E const& environment, typename E::state const& state,
                              random_sequence& random, std::span<float> observation) {
                         { E::observation_size } -> std::convertible_to<index_t>;
                         { environment.time_limit } -> std::convertible_to<index_t>;
                         { environment.reset(random) } -> std::same_as<typename E::state>;
                         environment.observe(state, observation);
                     };
/// Takes one of `action_count` actions.
template <class E>
concept discrete_environment =
    observable<E> && requires(E const& environment, typename E::state& state) {
        { E::action_count } -> std::convertible_to<index_t>;
        { environment.step(state, index_t{}) } -> std::same_as<transition>;
    };
/// Takes `action_size` numbers, of any size: it bounds them itself.
template <class E>
concept continuous_environment =
    observable<E> &&
    requires(E const& environment, typename E::state& state, std::span<float const> action) {
        { E::action_size } -> std::convertible_to<index_t>;
        { environment.step(state, action) } -> std::same_as<transition>;
    };
/// Something to act in.
template <class E>
concept environment = discrete_environment<E> || continuous_environment<E>;

/// The number type of an environment's actions.
template <environment E>
using action_of = std::conditional_t<discrete_environment<E>, std::int32_t, float>;
/// How many such numbers one action is.
template <environment E>
constexpr index_t action_width() {
    if constexpr (discrete_environment<E>) {
        return 1;
    } else {
        return E::action_size;
    }
}

}  // namespace grove::inline GROVE_ISA
