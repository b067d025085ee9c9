// SPDX-License-Identifier: Apache-2.0
/// @file
/// Long inner extents in parts, for products with few results.
#pragma once

#include <algorithm>

#include "grove/backend/concept.hpp"

namespace grove::inline GROVE_ISA::detail {

/// How a gradient by weights, Aᵀ · B over many rows, is cut where its result alone would leave most
/// of the device idle: by its extents alone, so that its bits are reproducible. What acts has no
/// transposed A, and is never cut.
struct inner_cut {
    index_t length, whole, rest;

    static inner_cut of(product_shape const& p) {
        constexpr index_t tile = 128, enough_tiles = 264, least = 512;  // two for each processor
        if (!p.transpose_a || p.transpose_b || p.batch > 1) return {p.k, 1, 0};
        index_t const tiles = ((p.m + tile - 1) / tile) * ((p.n + tile - 1) / tile);
        index_t const parts = std::min(enough_tiles / tiles, p.k / least);
        if (parts < 2) return {p.k, 1, 0};
        index_t const length = ((p.k + parts - 1) / parts + 63) / 64 * 64;
        return {length, p.k / length, p.k % length};
    }
    index_t parts() const { return whole + (rest > 0 ? 1 : 0); }
};
struct add_parts {
    float const* parts;
    index_t count, size;
    float* y;
    __device__ void operator()(index_t at) const {
        float sum = parts[at];
        for (index_t i = 1; i < count; ++i) sum += parts[i * size + at];
        y[at] = sum;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
