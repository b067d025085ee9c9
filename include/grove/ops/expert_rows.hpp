// SPDX-License-Identifier: Apache-2.0
/// @file
/// Rows on their way to the experts that tokens chose, and back.
#pragma once

#include "grove/ops/index.hpp"
#include "grove/ops/reduce.hpp"

namespace grove::inline GROVE_ISA {

/// Choices in the order of their experts. Choice c of token t is slot t · top + c, and has a place
/// among all slots sorted by expert.
template <class B>
struct expert_order {
    index_t top;              ///< choices of a token
    index_tensor<B> slots;    ///< [tokens · top], the slot at each place
    index_tensor<B> places;   ///< [tokens · top], the place of each slot
    index_tensor<B> offsets;  ///< [experts + 1]: the places of expert e begin at offsets[e]
};

namespace detail {
/// i ↦ i · times.
struct multiply_index_law {
    index_t times;
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i * times);
    }
};
}  // namespace detail

/// Sorts the chosen `experts` [tokens, top], stably; throws value_error for one outside [0, count).
template <class B, class T = float>
expert_order<B> order_by_expert(index_tensor<B> const& experts, index_t count) {
    B& b = experts.backend();
    auto const& keys = experts.buffer();
    shape const all{experts.size()};
    if constexpr (has_expert_rows<B, T>) {
        auto const [slots, places, offsets] = b.group_by_key(keys, count);
        return {experts.columns(), {b, slots, all}, {b, places, all}, {b, offsets, {count + 1}}};
    } else {
        index_tensor<B> const slots{b, b.argsort(keys), all};
        return {experts.columns(),
                slots,
                {b, b.argsort(slots.buffer()), all},
                {b, b.segment_offsets(keys, count), {count + 1}}};
    }
}

/// `spread_rows` composed from primitives: what a fused version must agree with.
template <class B, class T>
tensor<B, T> spread_rows_composite(tensor<B, T> const& x, expert_order<B> const& order) {
    B& b = x.backend();
    index_t const slots = order.slots.size();
    auto const owner =
        b.template tabulate<std::int32_t>(detail::divide_index_law{order.top}, slots);
    index_tensor<B> const token{b, b.gather(owner, 1, order.slots.buffer()), {slots}};
    return gather_rows(x, token);
}
/// `combine_rows` composed from primitives.
template <class B, class T>
tensor<B, T> combine_rows_composite(tensor<B, T> const& y, expert_order<B> const& order,
                                    tensor<B, T> const& weights) {
    B& b = y.backend();
    index_t const slots = order.slots.size(), tokens = slots / order.top;
    index_tensor<B> const bounds{
        b,
        b.template tabulate<std::int32_t>(detail::multiply_index_law{order.top}, tokens + 1),
        {tokens + 1}};
    return sum_segments(gather_rows(y, order.places) * weights.reshape({slots, 1}), bounds);
}

/// A copy of a token's row for each of its choices, in the order of experts: x [tokens, columns] →
/// [tokens · top, columns].
template <class B, class T>
tensor<B, T> spread_rows(tensor<B, T> const& x, expert_order<B> const& order) {
    require<shape_error>(x.rows() * order.top == order.slots.size(), "spread_rows", "expected ",
                         order.slots.size() / order.top, " rows, got ", x.extents());
    if constexpr (has_expert_rows<B, T>) {
        auto const y =
            x.backend().spread_rows(x.buffer(), x.columns(), order.places.buffer(), order.top);
        return {x.backend(), y, {order.slots.size(), x.columns()}};
    } else {
        return spread_rows_composite(x, order);
    }
}
/// What the experts made of a token's choices: y [tokens · top, columns], weights [tokens, top] →
/// Σ_c weights[t, c] · y[place of (t, c)], in ascending c: [tokens, columns].
template <class B, class T>
tensor<B, T> combine_rows(tensor<B, T> const& y, expert_order<B> const& order,
                          tensor<B, T> const& weights) {
    require<shape_error>(y.rows() == order.slots.size() && weights.size() == order.slots.size(),
                         "combine_rows", "expected ", order.slots.size(), " rows and weights, got ",
                         y.rows(), " and ", weights.size());
    if constexpr (has_expert_rows<B, T>) {
        auto const out = y.backend().combine_rows(y.buffer(), weights.buffer(), y.columns(),
                                                  order.places.buffer(), order.top);
        return {y.backend(), out, {order.slots.size() / order.top, y.columns()}};
    } else {
        return combine_rows_composite(y, order, weights);
    }
}

}  // namespace grove::inline GROVE_ISA
