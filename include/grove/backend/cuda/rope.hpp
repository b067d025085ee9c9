// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rotary embeddings of heads that lie in one array, or of queries and keys beside values that are
/// parted, or joined, on the way.
#pragma once

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/system.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA::detail {

/// The pair (left, right) turned by an angle: rounded alike in both kernels below.
template <class T>
__device__ void turn(T& left, T& right, T cosine, T sine) {
    T const x = left;
    left = math::fma(x, cosine, -multiply_rounded(right, sine));
    right = math::fma(right, cosine, multiply_rounded(x, sine));
}

/// Heads of tokens that lie side by side in up to three arrays, one behind the other: Numbers is
/// input or output.
template <class Numbers>
struct head_parts {
    Numbers at[3];
    int heads[3];  ///< of a token in each
    int dim;

    /// The numbers of a head, counted over all parts.
    __device__ Numbers find(index_t token, int head) const {
        if (head < heads[0]) return at[0].from((token * heads[0] + head) * dim);
        head -= heads[0];
        if (head < heads[1]) return at[1].from((token * heads[1] + head) * dim);
        return at[2].from((token * heads[2] + head - heads[1]) * dim);
    }
    bool are_aligned() const { return all_rows_aligned(dim, at[0], at[1], at[2]); }
};

/// Rotates the first `rotated` heads of a token by its position and moves the others, a block a
/// token; zeros where there is no such position.
template <class T>
struct rope_rows {
    static constexpr int threads = 128;
    head_parts<input<T>> x;
    head_parts<output<T>> y;
    int rotated, heads, dim;
    T const* table;
    std::int32_t const* positions;
    index_t table_rows;
    bool halves;
    T sign;  ///< of the sines
    fault_report report;

    __device__ void operator()(index_t token) const {
        T const* const cosine = cosines(token, threadIdx.x == 0);
        int const half = dim / 2;
        for (int pair = static_cast<int>(threadIdx.x); pair < heads * half; pair += threads) {
            int const head = pair / half, j = pair % half;
            int const a = halves ? j : 2 * j, b = a + (halves ? half : 1);
            auto const from = x.find(token, head);
            auto const to = y.find(token, head);
            T left = from[a], right = from[b];
            if (head < rotated)
                turn(left, right, cosine == nullptr ? T(0) : cosine[j],
                     cosine == nullptr ? T(0) : cosine[half + j] * sign);
            to.set(a, left);
            to.set(b, right);
        }
    }
    /// The token's row of the table; null, and reported by one thread, where there is none.
    __device__ T const* cosines(index_t token, bool reports) const {
        index_t const position = positions[token];
        if (position >= 0 && position < table_rows) return table + position * dim;
        if (reports) report.index(position, table_rows, token);
        return nullptr;
    }
};
/// The same, a thread a packet of pairs: for heads of which the halves are whole packets. Where
/// there are many, in each of a few heads, which turn by the same angles.
template <class T>
struct rope_packets {
    static constexpr int size = packet<T>::size, most_heads = 4;
    rope_rows<T> rows;
    int at_once;                      ///< heads of a thread
    quick_divisor of_token, of_head;  ///< packets of pairs of all, and of one head of a few

    static bool fits(rope_rows<T> const& rows, index_t tokens) {
        return rows.dim % (2 * size) == 0 && rows.x.are_aligned() && rows.y.are_aligned() &&
               rows_are_aligned(rows.dim, {rows.table}) &&
               tokens * rows.heads * rows.dim < most_places;
    }
    static rope_packets of(rope_rows<T> const& rows, index_t tokens) {
        constexpr index_t many = index_t{1} << 18;  // threads that keep a large device busy
        index_t const of_head = rows.dim / 2 / size;
        int const at_once = tokens * rows.heads * of_head < many ? 1 : most_heads;
        index_t const fews = (rows.heads + at_once - 1) / at_once;
        return {rows, at_once, quick_divisor::by(fews * of_head), quick_divisor::by(of_head)};
    }
    index_t places(index_t tokens) const { return tokens * of_token.divisor; }

    __device__ void operator()(index_t at) const {
        std::uint32_t const token = of_token.quotient(static_cast<std::uint32_t>(at));
        std::uint32_t const in_token = static_cast<std::uint32_t>(at) - token * of_token.divisor;
        std::uint32_t const few = of_head.quotient(in_token);
        int const j = static_cast<int>(in_token - few * of_head.divisor) * size;
        int const first = static_cast<int>(few) * at_once, half = rows.dim / 2;
        int const count = min(at_once, rows.heads - first);
        int const a = rows.halves ? j : 2 * j, b = rows.halves ? j + half : 2 * j + size;
        uint4 lefts[most_heads], rights[most_heads];
#pragma unroll
        for (int k = 0; k < most_heads; ++k) {  // all loads come before the first store
            if (k >= count) break;
            auto const from = rows.x.find(token, first + k);
            lefts[k] = from.fetch(a, rows.dim, true);
            rights[k] = from.fetch(b, rows.dim, true);
        }
        packet<T> cosine{}, sine{};
        if (first < rows.rotated) {
            if (T const* const known = rows.cosines(token, in_token == 0); known != nullptr) {
                cosine = load_packet(known, j, half, true);
                sine = load_packet(known + half, j, half, true);
            }
        }
#pragma unroll
        for (int k = 0; k < most_heads; ++k) {
            if (k >= count) break;
            auto const from = rows.x.find(token, first + k);
            auto const to = rows.y.find(token, first + k);
            auto left = from.value(lefts[k], true), right = from.value(rights[k], true);
            if (first + k < rows.rotated) turn_packets(left, right, cosine, sine);
            to.store(left, a, rows.dim, true);
            to.store(right, b, rows.dim, true);
        }
    }

private:
    __device__ void turn_packets(packet<T>& left, packet<T>& right, packet<T> const& cosine,
                                 packet<T> const& sine) const {
        constexpr int half = size / 2;
        if (rows.halves) {
#pragma unroll
            for (int t = 0; t < size; ++t)
                turn(left.at[t], right.at[t], cosine.at[t], sine.at[t] * rows.sign);
            return;
        }
#pragma unroll
        for (int t = 0; t < half; ++t) {  // neighbours
            turn(left.at[2 * t], left.at[2 * t + 1], cosine.at[t], sine.at[t] * rows.sign);
            turn(right.at[2 * t], right.at[2 * t + 1], cosine.at[half + t],
                 sine.at[half + t] * rows.sign);
        }
    }
};

/// Queues y = x, of which the first `rotated` heads of a token are turned by its position, or back.
template <class T>
void launch_rope(thrust_cuda const& system, head_parts<input<T>> const& x,
                 head_parts<output<T>> const& y, int rotated, device_buffer<T> const& table,
                 device_buffer<std::int32_t> const& positions, rope_pairs pairs, bool inverse) {
    rope_rows<T> const rows{x,
                            y,
                            rotated,
                            x.heads[0] + x.heads[1] + x.heads[2],
                            x.dim,
                            table.numbers(),
                            positions.numbers(),
                            table.size() / x.dim,
                            pairs == rope_pairs::halves,
                            inverse ? T(-1) : T(1),
                            system.faults("rope")};
    if (rope_packets<T>::fits(rows, positions.size())) {
        auto const packets = rope_packets<T>::of(rows, positions.size());
        system.each(packets.places(positions.size()), packets);
    } else {
        system.each_block(positions.size(), rows);
    }
}

}  // namespace grove::inline GROVE_ISA::detail
