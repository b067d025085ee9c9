// SPDX-License-Identifier: Apache-2.0
/// @file
/// Problems with known answers, made on demand.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"
#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A question and a right answer, which is also the reference that rewards are given.
struct problem {
    std::string question;
    std::string answer;

    friend bool operator==(problem const&, problem const&) = default;
};

/// The steps of a solution and the answer they lead to.
struct worked_solution {
    std::string steps;
    std::string answer;

    friend bool operator==(worked_solution const&, worked_solution const&) = default;
};

/// A generator of problems: draws one from the random numbers it is given, and from nothing else.
template <class Task>
concept task = requires(Task const& make, random_sequence& random) {
    { make(random) } -> std::same_as<problem>;
};

/// Problems to learn from, and problems that no training ever sees.
enum class problem_split : std::uint32_t { training, held_out };

/// The split that a question belongs to, whatever the seed: held out is one question in eight, by a
/// hash of its text (64-bit FNV-1a, then MurmurHash3's finalizer).
inline problem_split split_of(std::string_view question) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (char const character : question) {
        hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001B3u;
    }
    hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDu;
    hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53u;
    hash ^= hash >> 33;
    return hash % 8 == 0 ? problem_split::held_out : problem_split::training;
}

/// The endless sequence of one split's problems. Problem `i` depends on (task, seed, split, i)
/// alone. The two splits share no question; within one, a question may come again.
/// @code
/// problem_set const training(addition{}, 17);
/// problem const first = training[0];
/// @endcode
template <task Task>
class problem_set {
public:
    problem_set(Task task, std::uint64_t seed, problem_split split = problem_split::training)
        : task_(std::move(task)), seed_(seed), split_(split) {}

    /// Throws value_error for an index outside [0, 2³²), and where a thousand draws from the task
    /// gave no question of this split, because it has too few.
    problem operator[](index_t index) const {
        random_sequence random(key(index, static_cast<std::uint32_t>(split_)));
        for (int attempt = 0; attempt < 1000; ++attempt) {
            problem drawn = task_(random);
            if (split_of(drawn.question) == split_) return drawn;
        }
        fail<value_error>("problem_set",
                          "expected a task with questions in both splits, got none of ",
                          split_ == problem_split::held_out ? "the held-out" : "the training",
                          " split in 1000 draws");
    }

    /// Address of the random numbers of problem `index`. Lanes 0 and 1 draw the problems of the two
    /// splits; higher lanes are free for what else is drawn about a problem.
    random_key key(index_t index, std::uint32_t lane) const {
        require<value_error>(index >= 0 && index <= std::numeric_limits<std::uint32_t>::max(),
                             "problem_set", "expected an index in [0, 2^32), got ", index);
        return {.seed = seed_,
                .stream = random_stream::task,
                .prompt = static_cast<std::uint32_t>(index),
                .sample = lane};
    }
    Task const& generator() const { return task_; }
    problem_split split() const { return split_; }

private:
    Task task_;
    std::uint64_t seed_;
    problem_split split_;
};

}  // namespace grove::inline GROVE_ISA
