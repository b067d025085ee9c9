// SPDX-License-Identifier: Apache-2.0
// Reproducible numbers for the tests of every folder.
#pragma once

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
