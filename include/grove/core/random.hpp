// SPDX-License-Identifier: Apache-2.0
/// @file
/// Random numbers that depend on what they are for, never on the order of execution.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// Philox 4×32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a bijection
/// of the 128-bit counter for each 64-bit key.
GROVE_HD constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                       std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        std::uint64_t const p0 = std::uint64_t{0xD2511F53u} * counter[0];
        std::uint64_t const p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0],
                   static_cast<std::uint32_t>(p1),
                   static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1],
                   static_cast<std::uint32_t>(p0)};
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter;
}

/// What a random number is for. Streams never share numbers.
enum class random_stream : std::uint32_t { initialize, task, shuffle, rollout, evaluation, user };

/// The address of a draw: (seed, stream, visit, prompt, sample, position). `visit` counts how often
/// this prompt was drawn from before; `sample` < 2²⁴ numbers the completions of one visit.
struct random_key {
    std::uint64_t seed = 0;
    random_stream stream = random_stream::user;
    std::uint32_t visit = 0;
    std::uint32_t prompt = 0;
    std::uint32_t sample = 0;

    /// Four independent 32-bit words for this position.
    GROVE_HD constexpr std::array<std::uint32_t, 4> words(std::uint32_t position) const {
        std::uint32_t const lane =
            (static_cast<std::uint32_t>(stream) << 24) | (sample & 0xFFFFFFu);
        return philox({position, lane, prompt, visit},
                      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    }
    /// Uniform in [0, 1): 53 random bits for `double`, 24 for `float`.
    template <class T>
    GROVE_HD constexpr T uniform(std::uint32_t position) const {
        auto const w = words(position);
        if constexpr (sizeof(T) == 4) return static_cast<T>(w[0] >> 8) * T(0x1p-24);
        return static_cast<T>((std::uint64_t{w[0]} << 21) ^ (w[1] >> 11)) * T(0x1p-53);
    }
    /// Standard normal (Box–Muller, computed in double).
    double normal(std::uint32_t position) const {
        auto const w = words(position);
        double const u = (w[0] + 0.5) * 0x1p-32, v = (w[1] + 0.5) * 0x1p-32;
        return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
    }
};

/// A sequence of draws from one key: convenient where numbers are consumed one after another.
class random_sequence {
public:
    explicit random_sequence(random_key key) : key_(key) {}

    /// Uniform in [0, 1).
    double uniform() { return key_.uniform<double>(position_++); }
    double normal() { return key_.normal(position_++); }
    /// Uniform integer in [low, high]; throws value_error where low > high.
    std::int64_t integer(std::int64_t low, std::int64_t high) {
        require<value_error>(low <= high, "random_sequence::integer", "expected low ≤ high, got ",
                             low, " > ", high);
        // Unsigned, because the distance may exceed the signed range.
        auto const span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
        double const drawn = uniform() * (static_cast<double>(span) + 1.0);
        auto const offset =
            drawn < 0x1p64 ? std::min(static_cast<std::uint64_t>(drawn), span) : span;
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + offset);
    }

private:
    random_key key_;
    std::uint32_t position_ = 0;
};

}  // namespace grove::inline GROVE_ISA
