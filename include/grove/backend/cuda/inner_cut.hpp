// SPDX-License-Identifier: Apache-2.0
/// @file
/// Long inner extents in parts, for products with few results.
#pragma once

#include <algorithm>

#include "grove/backend/concept.hpp"
#include "grove/backend/cuda/packet.hpp"

namespace grove::inline GROVE_ISA::detail {

/// How a gradient by weights, Aᵀ · B over many rows, is cut where its result alone would leave most
/// of the device idle: by its extents alone, so that its bits are reproducible. What acts has no
/// transposed A, and is never cut.
struct inner_cut {
    index_t length, whole, rest;

    static inner_cut of(product_shape const& p) {
        constexpr index_t tile = 128, enough_tiles = 132, least = 1024;  // one for each processor
        if (!p.transpose_a || p.transpose_b || p.batch > 1) return {p.k, 1, 0};
        index_t const tiles = ((p.m + tile - 1) / tile) * ((p.n + tile - 1) / tile);
        index_t const most = std::min(enough_tiles / tiles, p.k / least);
        if (most < 2) return {p.k, 1, 0};
        for (index_t parts = most; 2 * parts > most; --parts)  // equal ones take one launch
            if (p.k % parts == 0) return {p.k / parts, parts, 0};
        index_t const length = (p.k + most - 1) / most;
        return {length, p.k / length, p.k % length};
    }
    index_t parts() const { return whole + (rest > 0 ? 1 : 0); }
};
/// Σ of so many parts, a packet by four lanes of a warp: lane c adds the parts c, c + 4, … in
/// order, and the lanes join pairwise.
struct add_parts {
    static constexpr int lanes = 4, packets = 32 / lanes;  ///< of a warp
    float const* parts;
    index_t count, size;
    float* y;

    index_t places() const { return (packets_of<float>(size) + packets - 1) / packets * 32; }
    __device__ void operator()(index_t at) const {
        index_t const j = (at / 32 * packets + at % packets) * packet<float>::size;
        bool const aligned = size % packet<float>::size == 0;
        packet<float> sum{};
#pragma unroll 8
        for (index_t i = at % 32 / packets; i < count && j < size; i += lanes) {
            auto const part = load_packet(parts + i * size, j, size, aligned);
            for (int t = 0; t < packet<float>::size; ++t) sum.at[t] += part.at[t];
        }
        for (float& x : sum.at)
            for (int step = packets; step < 32; step *= 2) x += __shfl_xor_sync(~0U, x, step);
        if (at % 32 < packets && j < size) store_packet(sum, y, j, size, aligned);
    }
};

}  // namespace grove::inline GROVE_ISA::detail
