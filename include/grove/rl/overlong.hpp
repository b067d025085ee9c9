// SPDX-License-Identifier: Apache-2.0
/// @file
/// What to do about answers that are too long.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::rl {

/// A penalty that grows from 0 at limit − margin tokens to −1 at the limit, and stays there (Yu et
/// al. 2025, DAPO, eq. 13). verl and NeMo-RL let it fall below −1 past the limit, where no response
/// should be.
struct soft_overlong_penalty {
    index_t limit = 16384;  ///< longest response, tokens
    index_t margin = 4096;  ///< tokens before it in which the penalty grows; 1 … limit

    /// To be added to the reward of a response of `length` tokens. Throws configuration_error for a
    /// margin out of range, value_error for a negative length.
    double operator()(index_t length) const {
        char const* const operation = "soft_overlong_penalty";
        require<configuration_error>(margin > 0 && margin <= limit, operation,
                                     "expected 0 < margin ≤ limit, got ", margin, " and ", limit);
        require<value_error>(length >= 0, operation, "expected length ≥ 0, got ", length);
        auto const over = static_cast<double>(length - (limit - margin));
        return -std::clamp(over / static_cast<double>(margin), 0.0, 1.0);
    }
};

/// Masks out the responses that were cut off before their end: `mask` `[tokens]` becomes 0 for all
/// their tokens, so that they count in no mean either. `cut_off` `[sequences]` is 1 for such.
/// Throws shape_error for sizes that differ.
inline void mask_truncated(std::span<std::uint8_t const> cut_off, std::span<index_t const> offsets,
                           std::span<std::uint8_t> mask) {
    char const* const operation = "mask_truncated";
    require<shape_error>(offsets.size() == cut_off.size() + 1, operation, "expected offsets [",
                         cut_off.size() + 1, "], got [", offsets.size(), "]");
    require<shape_error>(static_cast<index_t>(mask.size()) == offsets.back(), operation,
                         "expected mask [", offsets.back(), "], got [", mask.size(), "]");
    for (std::size_t i = 0; i < cut_off.size(); ++i) {
        if (cut_off[i] == 0) continue;
        auto const first = static_cast<std::size_t>(offsets[i]);
        auto const last = static_cast<std::size_t>(offsets[i + 1]);
        for (std::size_t t = first; t < last; ++t) mask[t] = 0;
    }
}

}  // namespace grove::inline GROVE_ISA::rl
