// SPDX-License-Identifier: Apache-2.0
/// @file
/// The order in which an epoch takes what a rollout left.
#pragma once

#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "grove/core/random.hpp"

namespace grove::inline GROVE_ISA {

/// 0 … count − 1 in an order that depends on the key alone, all orders equally likely
/// (Fisher–Yates).
inline std::vector<std::size_t> shuffled_indices(std::size_t count, random_key const& key) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    random_sequence random(key);
    for (std::size_t i = count; i > 1; --i)
        std::swap(
            order[i - 1],
            order[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(i) - 1))]);
    return order;
}

}  // namespace grove::inline GROVE_ISA
