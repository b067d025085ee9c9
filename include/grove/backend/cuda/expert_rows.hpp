// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rows to the places of their choices, and weighted sums of them back: refinement.hpp's
/// has_expert_rows.
#pragma once

#include "grove/backend/cuda/activation.hpp"
#include "grove/backend/cuda/rows.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Where the choices of tokens lie. A bad place is reported, and its row left alone.
struct choice_places {
    index_fault fault;
    fault_report report;
    index_t top;

    /// The place of a slot; −1 where it is bad.
    __device__ index_t operator[](index_t slot) const {
        if (!fault(slot)) return fault.index[slot];
        report.index(fault.index[slot], fault.limit, slot);
        return -1;
    }
};

struct inverse_element {
    std::int32_t const* order;
    std::int32_t* place;
    __device__ void operator()(index_t i) const { place[order[i]] = static_cast<std::int32_t>(i); }
};

/// Row t of x to the places of its choices; `rows` are the slots.
template <class T>
struct spread_runs : row_runs<T> {
    input<T> x;
    choice_places places;
    bool aligned;
    output<T> y;

    __device__ void operator()(index_t block) const {
        index_t const columns = this->columns, slot = this->row(block), j = this->column(block);
        index_t const place = places[slot];
        if (j >= columns || place < 0) return;
        y.from(place * columns)
            .store(x.from(slot / places.top * columns).load(j, columns, aligned), j, columns,
                   aligned);
    }
};
/// Σ_c weight · row of y at the place of choice c; without weights, the sum. `rows` are the tokens.
template <class T>
struct combine_runs : row_runs<T> {
    input<T> y;
    T const* weights;
    choice_places places;
    bool aligned;
    output<T> out;

    __device__ void operator()(index_t block) const {
        index_t const columns = this->columns, token = this->row(block), j = this->column(block);
        if (j >= columns) return;
        packet<T> sum{};
        for (index_t slot = token * places.top; slot < (token + 1) * places.top; ++slot) {
            index_t const place = places[slot];
            if (place < 0) continue;
            auto const row = y.from(place * columns).load(j, columns, aligned);
            T const weight = weights == nullptr ? T(1) : weights[slot];
            for (int t = 0; t < packet<T>::size; ++t)
                sum.at[t] = math::fma(weight, row.at[t], sum.at[t]);
        }
        out.from(token * columns).store(sum, j, columns, aligned);
    }
};
/// Its gradients by a slot's row of y and by its weight: a warp a slot.
template <class T>
struct combine_gradient_rows {
    static constexpr int threads = 256, rows_of_block = threads / 32;
    index_t slots, columns;
    input<T> g, y;
    T const* weights;
    choice_places places;
    bool aligned;
    output<T> dy;
    T* dweights;

    index_t blocks() const { return (slots + rows_of_block - 1) / rows_of_block; }
    __device__ void operator()(index_t block) const {
        index_t const slot = block * rows_of_block + threadIdx.x / 32;
        if (slot >= slots) return;
        int const lane = static_cast<int>(threadIdx.x) % 32;
        index_t const place = places[slot];
        T dot = T(0);
        if (place >= 0) {
            T const weight = weights[slot];
            auto const slope = g.from(slot / places.top * columns);
            each_packet<T>(columns, lane, 32, [&](index_t j) {
                auto gradient = slope.load(j, columns, aligned);
                auto const row = y.from(place * columns).load(j, columns, aligned);
                for (int t = 0; t < packet<T>::size; ++t) {
                    dot = math::fma(gradient.at[t], row.at[t], dot);
                    gradient.at[t] *= weight;
                }
                dy.from(place * columns).store(gradient, j, columns, aligned);
            });
        }
        dot = warp_sum(dot);
        if (lane == 0) dweights[slot] = dot;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
