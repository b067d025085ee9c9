// SPDX-License-Identifier: Apache-2.0
/// @file
/// Recomputation instead of memory, and the entry points of differentiation on tensors.
#pragma once

#include <tuple>

#include "grove/autodiff/autodiff.hpp"
#include "grove/core/tensor.hpp"

namespace grove::inline GROVE_ISA {

/// A tracked tensor with the values of `x`; `sink(tensor<B, T> gradient)` is called during
/// backward.
template <class B, class T, class Sink>
tensor<autodiff<B>, T> leaf(autodiff<B>& tape, tensor<B, T> const& x, Sink sink) {
    B* inner = &tape.inner();
    shape const extents = x.extents();
    return {tape,
            tape.template leaf<T>(x.buffer(),
                                  [=](auto const& g) { sink(tensor<B, T>(*inner, g, extents)); }),
            extents};
}
/// A constant as seen from `on`: no gradient.
template <class B, class T>
tensor<B, T> constant(B&, tensor<B, T> const& x) {
    return x;
}
template <class B, class T>
tensor<autodiff<B>, T> constant(autodiff<B>& on, tensor<B, T> const& x) {
    return {on, {x.buffer()}, x.extents()};
}
/// The values of a tracked tensor, without its history.
template <class B, class T>
tensor<B, T> value_of(tensor<autodiff<B>, T> const& x) {
    return {x.backend().inner(), x.buffer().value, x.extents()};
}
template <class B, class T>
tensor<B, T> value_of(tensor<B, T> const& x) {
    return x;
}
/// The same tensor as a constant: no gradient flows back through it.
template <class B, class T>
tensor<autodiff<B>, T> detach(tensor<autodiff<B>, T> const& x) {
    return {x.backend(), {x.buffer().value}, x.extents()};
}
template <class B, class T>
tensor<B, T> detach(tensor<B, T> const& x) {
    return x;
}

/// Runs the tape backwards from `y` with the given ∂L/∂y, and clears it.
template <class B, class T>
void backward(tensor<autodiff<B>, T> const& y, tensor<B, T> const& gradient) {
    require<shape_error>(y.size() == gradient.size(), "backward", "expected a gradient of shape ",
                         y.extents(), ", got ", gradient.extents());
    y.backend().backward(y.buffer(), gradient.buffer());
}
/// Runs the tape backwards from the scalar loss `y`.
template <class B, class T>
void backward(tensor<autodiff<B>, T> const& y) {
    require<shape_error>(y.size() == 1, "backward", "expected a scalar, got shape ", y.extents());
    y.backend().backward(y.buffer(),
                         y.backend().inner().template tabulate<T>(detail::one_law{}, 1));
}

/// first(x…) with the gradient of again(x…), the same function computed anew: of the two, the tape
/// keeps `x` alone. `first` is called with tensors of the inner backend, at once, and `again` with
/// tensors of a tape of its own when the gradient is needed; both return a std::array of as many
/// tensors and must not count or draw anything. To act, first(x…).
template <class First, class Again, class B, class T, std::size_t Inputs>
auto checkpoint(First first, Again again, std::array<tensor<B, T>, Inputs> const& x) {
    if constexpr (!is_autodiff<B>) {
        return std::apply(first, x);
    } else {
        using inner_backend = std::remove_reference_t<decltype(x[0].backend().inner())>;
        using inner_tensor = tensor<inner_backend, T>;
        auto& tape = x[0].backend();
        auto const values_of = [](auto const&... tracked) {
            return std::array{value_of(tracked)...};
        };
        auto const y = std::apply(first, std::apply(values_of, x));
        constexpr std::size_t outputs = std::tuple_size_v<std::remove_cvref_t<decltype(y)>>;
        std::array<typename inner_tensor::buffer_type, outputs> values;
        for (std::size_t k = 0; k < outputs; ++k) values[k] = y[k].buffer();
        auto tracked = tape.template record_joint<T>(values, [=, &tape](auto const& gradients) {
            autodiff<inner_backend> nested(tape.inner());
            auto const leaf_of = [&](auto const& input) {
                return leaf(nested, value_of(input), [&](inner_tensor const& g) {
                    tape.accumulate(input.buffer(), g.buffer());
                });
            };
            auto const leaves_of = [&](auto const&... inputs) {
                return std::array{leaf_of(inputs)...};
            };
            auto const result = std::apply(again, std::apply(leaves_of, x));
            for (std::size_t k = 0; k < outputs; ++k)
                nested.accumulate(result[k].buffer(), gradients[k]);
            nested.tape().run();
        });
        std::array<tensor<B, T>, outputs> result;
        for (std::size_t k = 0; k < outputs; ++k)
            result[k] = tensor<B, T>(tape, tracked[k], y[k].extents());
        return result;
    }
}
/// f(x), keeping only x: the intermediates of `f`, any function of a tensor on every backend that
/// returns a std::array of tensors, are computed again when the gradient is needed.
template <class F, class B, class T>
auto checkpoint(F f, tensor<B, T> const& x) {
    return checkpoint(f, f, std::array{x});
}

}  // namespace grove::inline GROVE_ISA
