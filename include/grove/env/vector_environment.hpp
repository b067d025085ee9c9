// SPDX-License-Identifier: Apache-2.0
/// @file
/// Many copies of an environment, stepped together.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "grove/env/environment.hpp"

namespace grove::inline GROVE_ISA {

/// How a step left an episode. One that was cut off has not ended for the critic: what would have
/// followed is worth the value of its last observation.
enum class episode_state : std::uint8_t { running, terminated, cut_off };

/// A whole episode.
struct episode {
    double reward = 0;   ///< sum over its steps
    index_t length = 0;  ///< steps
};

/// `count` environments that start again by themselves. Episode e of environment i depends on
/// (seed, stream, i, e) and its actions alone, however many environments there are.
/// @code
/// grove::vector_environment<grove::cart_pole> carts({}, 16, seed);
/// for (;;) carts.step(choose(carts.observations()));
/// @endcode
template <environment E>
class vector_environment {
public:
    using action = action_of<E>;

    /// Throws value_error unless count ≥ 1.
    vector_environment(E environment, index_t count, std::uint64_t seed,
                       random_stream stream = random_stream::task)
        : environment_(std::move(environment)), seed_(seed), stream_(stream) {
        require<value_error>(count >= 1, "vector_environment", "expected count ≥ 1, got ", count);
        auto const n = static_cast<std::size_t>(count);
        places_.resize(n);
        ends_.resize(n);
        rewards_.resize(n);
        observations_.resize(n * width());
        last_observations_.resize(n * width());
        for (std::size_t i = 0; i < n; ++i) start(i);
    }

    index_t count() const { return static_cast<index_t>(places_.size()); }
    E const& environment() const { return environment_; }

    /// What is to be acted on: [count, observation_size], of a new episode where one has ended.
    std::span<float const> observations() const { return observations_; }
    /// Rewards of the last step: [count].
    std::span<double const> rewards() const { return rewards_; }
    /// What the last step did to each episode: [count].
    std::span<episode_state const> ends() const { return ends_; }
    /// What the last step led to: [count, observation_size], before anything started again.
    std::span<float const> last_observations() const { return last_observations_; }
    /// Episodes that ended since this was last called, in order.
    std::vector<episode> take_finished() { return std::exchange(finished_, {}); }

    /// One step of each with `actions` [count, action width]. Throws shape_error for another
    /// number of them, and what the environment throws for one that it refuses.
    void step(std::span<action const> actions) {
        auto const wide = static_cast<std::size_t>(action_width<E>());
        require<shape_error>(actions.size() == places_.size() * wide, "vector_environment::step",
                             "expected ", places_.size() * wide, " actions, got ", actions.size());
        for (std::size_t i = 0; i < places_.size(); ++i)
            step_one(i, actions.subspan(i * wide, wide));
    }

    /// Writes all states under `prefix`, for a checkpoint between two steps.
    template <class Writer>
    void save(Writer& file, std::string const& prefix) const {
        auto const bytes = std::as_bytes(std::span(places_));
        auto const* first = reinterpret_cast<std::uint8_t const*>(bytes.data());
        file.put(prefix + "places", std::vector<std::uint8_t>(first, first + bytes.size()));
    }
    /// Reads what save wrote for as many environments of this type; throws io_error where that is
    /// missing or of another size.
    template <class Reader>
    void load(Reader const& file, std::string const& prefix) {
        std::vector<std::uint8_t> bytes(places_.size() * sizeof(place));
        file.get_into(prefix + "places", bytes, {static_cast<index_t>(bytes.size())});
        std::memcpy(places_.data(), bytes.data(), bytes.size());
        finished_.clear();
        for (std::size_t i = 0; i < places_.size(); ++i)
            environment_.observe(places_[i].state, row(observations_, i));
    }

private:
    struct place {
        typename E::state state;
        std::uint64_t episodes = 0;  // started
        episode so_far;
    };

    static std::size_t width() { return static_cast<std::size_t>(E::observation_size); }
    static std::span<float> row(std::vector<float>& rows, std::size_t i) {
        return std::span(rows).subspan(i * width(), width());
    }
    void start(std::size_t i) {
        place& here = places_[i];
        random_sequence random({seed_, stream_, static_cast<std::uint32_t>(here.episodes++),
                                static_cast<std::uint32_t>(i), 0});
        here.state = environment_.reset(random);
        here.so_far = {};
        environment_.observe(here.state, row(observations_, i));
    }
    void step_one(std::size_t i, std::span<action const> chosen) {
        place& here = places_[i];
        auto const made = [&] {
            if constexpr (discrete_environment<E>) {
                return environment_.step(here.state, static_cast<index_t>(chosen[0]));
            } else {
                return environment_.step(here.state, chosen);
            }
        }();
        rewards_[i] = made.reward;
        here.so_far.reward += made.reward;
        ++here.so_far.length;
        bool const late = here.so_far.length == environment_.time_limit;
        ends_[i] = made.terminated ? episode_state::terminated
                   : late          ? episode_state::cut_off
                                   : episode_state::running;
        auto const seen = row(last_observations_, i);
        environment_.observe(here.state, seen);
        if (ends_[i] == episode_state::running) {
            std::copy(seen.begin(), seen.end(), row(observations_, i).begin());
        } else {
            finished_.push_back(here.so_far);
            start(i);
        }
    }

    E environment_;
    std::uint64_t seed_;
    random_stream stream_;
    std::vector<place> places_;
    std::vector<float> observations_, last_observations_;
    std::vector<double> rewards_;
    std::vector<episode_state> ends_;
    std::vector<episode> finished_;
};

}  // namespace grove::inline GROVE_ISA
