// SPDX-License-Identifier: Apache-2.0
/// @file
/// Laws on the device: several neighbouring places a thread, sixteen bytes at once where all
/// operands allow it. The law is called for each place by itself, by the same code wherever the
/// numbers come from: no bit depends on how they were read.
#pragma once

#include <cstdint>
#include <utility>

#include "grove/backend/concept.hpp"
#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/launch.hpp"
#include "grove/backend/cuda/numbers.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A law over a [rows, columns] space.
template <class Law, class T, int Outputs, int Inputs>
struct placed_law {
    Law law;
    index_t columns;
    operand<input<T>> inputs[Inputs];
    output<T> outputs[Outputs];

    /// For more places than 32 bits number: the first half's, and what is left of them.
    index_t halve(index_t size, placed_law& first, placed_law& rest) const {
        first = rest = *this;
        bool const one_row = size == columns;
        index_t const middle = (one_row ? size : size / columns) / 2;
        index_t const done = one_row ? middle : middle * columns;
        for (auto& o : rest.inputs)
            o.data = o.data.from(middle * (one_row ? o.column_stride : o.row_stride));
        for (auto& y : rest.outputs) y = y.from(done);
        if (one_row) first.columns = middle, rest.columns -= middle;
        return done;
    }
};

/// The law at the places of a packet.
template <class Law, class T, int Outputs, int Inputs>
struct map_packets {
    static constexpr int width = packet<T>::size;
    placed_law<Law, T, Outputs, Inputs> at;
    std::uint32_t size;
    quick_divisor columns;
    bool in_packets;

    /// Operands that repeat nothing, or one number, are one long row: no place is divided.
    static map_packets of(index_t size, placed_law<Law, T, Outputs, Inputs> at) {
        bool const one_row = size == at.columns, one_column = at.columns == 1;
        bool flat = true;
        for (auto const& o : at.inputs)
            flat = flat && (step(o, at.columns, one_row, one_column) >= 0);
        if (flat) {
            for (auto& o : at.inputs) o = {o.data, 0, step(o, at.columns, one_row, one_column)};
            at.columns = size;
        }
        bool whole = at.columns % width == 0 || flat;
        for (auto const& o : at.inputs)
            whole = whole && (o.column_stride == 0 || o.data.rows_are_aligned(o.row_stride));
        for (auto const& y : at.outputs) whole = whole && y.rows_are_aligned(0);
        return {at, static_cast<std::uint32_t>(size), quick_divisor::by(at.columns), whole};
    }
    index_t packets() const { return (index_t{size} + width - 1) / width; }

    __device__ void operator()(index_t number) const {
        apply(static_cast<std::uint32_t>(number) * width, std::make_index_sequence<Inputs>());
    }

private:
    /// From one place to the next where that is the same everywhere, else −1.
    static index_t step(operand<input<T>> const& o, index_t columns, bool one_row,
                        bool one_column) {
        if (one_row) return o.column_stride;
        if (one_column) return o.row_stride == 0 || o.row_stride == 1 ? o.row_stride : -1;
        return o.row_stride == columns * o.column_stride ? o.column_stride : -1;
    }

    template <std::size_t... I>
    __device__ void apply(std::uint32_t first, std::index_sequence<I...>) const {
        bool const whole = in_packets && first + width <= size;
        packet<T> x[Inputs], y[Outputs];
        if (whole) {
            uint4 const fetched[] = {fetch(first, at.inputs[I])...};  // all are under way at once
            ((x[I] = value(fetched[I], at.inputs[I])), ...);
        } else {
#pragma unroll
            for (int w = 0; w < width; ++w)
                ((x[I].at[w] = number(min(first + w, size - 1), at.inputs[I])), ...);
        }
#pragma unroll
        for (int w = 0; w < width; ++w) {
            auto const result = at.law(x[I].at[w]...);
            using traits = output_traits<std::remove_const_t<decltype(result)>>;
            for (int k = 0; k < Outputs; ++k) y[k].at[w] = traits::get(result, k);
        }
#pragma unroll
        for (int k = 0; k < Outputs; ++k) at.outputs[k].store(y[k], first, size, whole);
    }
    __device__ index_t place(std::uint32_t number, operand<input<T>> const& o) const {
        std::uint32_t const i = columns.quotient(number), j = number - i * columns.divisor;
        return i * o.row_stride + j * o.column_stride;
    }
    __device__ T number(std::uint32_t number, operand<input<T>> const& o) const {
        return o.data[place(number, o)];
    }
    /// A packet of an operand that has one for each place, else its number, as they lie in memory.
    __device__ uint4 fetch(std::uint32_t first, operand<input<T>> const& o) const {
        bool const whole = o.column_stride == 1;
        return o.data.from(place(first, o)).fetch(0, whole ? width : 1, whole);
    }
    __device__ packet<T> value(uint4 const& fetched, operand<input<T>> const& o) const {
        bool const whole = o.column_stride == 1;
        auto x = o.data.value(fetched, whole);
#pragma unroll
        for (int w = 1; w < width; ++w) x.at[w] = whole ? x.at[w] : x.at[0];
        return x;
    }
};

/// Queues a law, a packet of places a thread.
template <class Law, class T, int Outputs, int Inputs>
void queue_law(index_t size, placed_law<Law, T, Outputs, Inputs> const& law, cudaStream_t stream) {
    if (size >= most_places) {
        auto first = law, rest = law;
        index_t const done = law.halve(size, first, rest);
        queue_law(done, first, stream);
        queue_law(size - done, rest, stream);
    } else if (size > 0) {
        auto const packets = map_packets<Law, T, Outputs, Inputs>::of(size, law);
        queue_places(packets.packets(), packets, stream);
    }
}

}  // namespace grove::inline GROVE_ISA::detail
