// SPDX-License-Identifier: Apache-2.0
/// @file
/// Laws on the device: several neighbouring places a thread, sixteen bytes at once where all
/// operands allow it. The law is called for each place by itself, by the same code wherever the
/// numbers come from: no bit depends on how they were read.
#pragma once

#include <cstdint>
#include <utility>

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/packet.hpp"
#include "grove/backend/thrust/element.hpp"

namespace grove::inline GROVE_ISA::detail {

/// What map_element does, for the places of a packet.
template <class Law, class T, int Outputs, int Inputs>
struct map_packets {
    static constexpr int width = packet<T>::size;
    map_element<Law, T, Outputs, Inputs> element;
    std::uint32_t size;
    quick_divisor columns;
    bool in_packets;

    /// Operands that repeat nothing, or one number, are one long row: no place is divided.
    static map_packets of(index_t size, map_element<Law, T, Outputs, Inputs> element) {
        bool const one_row = size == element.columns, one_column = element.columns == 1;
        bool flat = true;
        for (auto const& o : element.input)
            flat = flat && (step(o, element.columns, one_row, one_column) >= 0);
        if (flat) {
            for (auto& o : element.input)
                o = {o.data, 0, step(o, element.columns, one_row, one_column)};
            element.columns = size;
        }
        bool whole = element.columns % width == 0 || flat;
        for (auto const& o : element.input)
            whole = whole && (o.column_stride == 0 || rows_are_aligned<T>(o.row_stride, {o.data}));
        for (T* y : element.output) whole = whole && rows_are_aligned<T>(0, {y});
        return {element, static_cast<std::uint32_t>(size), quick_divisor::by(element.columns),
                whole};
    }
    /// For more places than 32 bits number: the first half's, and what is left of them.
    static index_t halve(index_t size, map_element<Law, T, Outputs, Inputs>& first,
                         map_element<Law, T, Outputs, Inputs>& rest) {
        bool const one_row = size == first.columns;
        index_t const middle = (one_row ? size : size / first.columns) / 2;
        index_t const done = one_row ? middle : middle * first.columns;
        for (auto& o : rest.input) o.data += middle * (one_row ? o.column_stride : o.row_stride);
        for (T*& y : rest.output) y += done;
        if (one_row) first.columns = middle, rest.columns -= middle;
        return done;
    }
    index_t packets() const { return (index_t{size} + width - 1) / width; }

    __device__ void operator()(index_t at) const {
        apply(static_cast<std::uint32_t>(at) * width, std::make_index_sequence<Inputs>());
    }

private:
    /// From one place to the next where that is the same everywhere, else −1.
    static index_t step(operand<T const*> const& o, index_t columns, bool one_row,
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
            (read_packet(first, element.input[I], x[I]), ...);
        } else {
#pragma unroll
            for (int w = 0; w < width; ++w)
                ((x[I].at[w] = *place(min(first + w, size - 1), element.input[I])), ...);
        }
#pragma unroll
        for (int w = 0; w < width; ++w) {
            auto const result = element.law(x[I].at[w]...);
            using traits = output_traits<std::remove_const_t<decltype(result)>>;
            for (int k = 0; k < Outputs; ++k) y[k].at[w] = traits::get(result, k);
        }
#pragma unroll
        for (int k = 0; k < Outputs; ++k) store_packet(y[k], element.output[k], first, size, whole);
    }
    __device__ T const* place(std::uint32_t at, operand<T const*> const& o) const {
        std::uint32_t const i = columns.quotient(at), j = at - i * columns.divisor;
        return o.data + i * o.row_stride + j * o.column_stride;
    }
    __device__ void read_packet(std::uint32_t first, operand<T const*> const& o,
                                packet<T>& x) const {
        T const* const from = place(first, o);
        if (o.column_stride == 1) {
            x = *reinterpret_cast<packet<T> const*>(from);
            return;
        }
        T const repeated = *from;
#pragma unroll
        for (int w = 0; w < width; ++w) x.at[w] = repeated;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
