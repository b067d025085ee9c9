// SPDX-License-Identifier: Apache-2.0
/// @file
/// Several strided copies in one launch.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/packet.hpp"
#include "grove/backend/thrust/element.hpp"

namespace grove::inline GROVE_ISA::detail {

/// y[place of part p](i) = part p [i]; `starts` counts the elements of the parts before.
template <class T>
struct place_parts {
    static constexpr int most = 16;
    T const* parts[most];
    view_place places[most];
    index_t starts[most + 1];
    int count;
    T* y;

    void add(T const* part, index_t size, strided_view const& view) {
        parts[count] = part;
        places[count] = view_place::of(view);
        starts[count + 1] = starts[count] + size;
        ++count;
    }
    index_t size() const { return starts[count]; }

    __device__ void operator()(index_t at) const {
        int p = 0;
        while (at >= starts[p + 1]) ++p;
        index_t const i = at - starts[p];
        y[place(places[p], i)] = parts[p][i];
    }

    /// Whether every part's innermost runs are whole packets in both places.
    bool is_in_packets() const {
        constexpr index_t width = packet<T>::size;
        bool whole = rows_are_aligned<T>(0, {y});
        for (int p = 0; p < count; ++p) {
            int const axis = innermost(places[p]);
            whole = whole && rows_are_aligned<T>(0, {parts[p]}) && places[p].strides[axis] == 1 &&
                    places[p].extents[axis] % width == 0 && places[p].offset % width == 0;
            for (int outer = 0; outer < axis; ++outer)
                whole = whole && places[p].strides[outer] % width == 0;
        }
        return whole;
    }
    place_parts<packet<T>> in_packets() const {
        constexpr index_t width = packet<T>::size;
        place_parts<packet<T>> wide{};
        wide.count = count;
        wide.y = reinterpret_cast<packet<T>*>(y);
        for (int p = 0; p < count; ++p) {
            int const axis = innermost(places[p]);
            wide.parts[p] = reinterpret_cast<packet<T> const*>(parts[p]);
            wide.starts[p + 1] = starts[p + 1] / width;
            wide.places[p] = places[p];
            wide.places[p].offset /= width;
            wide.places[p].extents[axis] /= width;
            for (int outer = 0; outer < axis; ++outer) wide.places[p].strides[outer] /= width;
        }
        return wide;
    }

private:
    /// The last axis that there is: those behind it have extent 1 and stride 0.
    static int innermost(view_place const& place) {
        int axis = shape::max_rank - 1;
        while (axis > 0 && place.strides[axis] == 0) --axis;
        return axis;
    }
    /// Divisions in 32 bits, where the part is small enough: several times as fast.
    __device__ static index_t place(view_place const& view, index_t at) {
        if (at > 0x7fffffff) return view(at);
        auto left = static_cast<std::uint32_t>(at);
        index_t y = view.offset;
        for (int axis = shape::max_rank - 1; axis >= 0; --axis) {
            auto const extent = static_cast<std::uint32_t>(view.extents[axis]);
            if (extent == 1) continue;
            y += left % extent * view.strides[axis];
            left /= extent;
        }
        return y;
    }
};

}  // namespace grove::inline GROVE_ISA::detail
