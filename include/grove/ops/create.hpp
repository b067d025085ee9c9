// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tensors from host memory and back.
#pragma once

#include <span>
#include <vector>

#include "grove/core/tensor.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
template <class T>
struct constant_law {
    T number;
    template <class N>
    GROVE_HD N operator()(index_t) const {
        return static_cast<N>(number);
    }
};
}  // namespace detail

/// A tensor with these elements, in row-major order; throws shape_error where the count differs.
/// @code
/// auto x = grove::from_host<float>(backend, {2, 3}, {1, 2, 3, 4, 5, 6});
/// @endcode
template <class T, class B>
tensor<B, T> from_host(B& backend, shape extents, std::span<T const> elements) {
    return {backend, backend.upload(elements), extents};
}
template <class T, class B>
tensor<B, T> from_host(B& backend, shape extents, std::vector<T> const& elements) {
    return from_host(backend, extents, std::span<T const>(elements));
}
/// A vector of 32-bit indices.
template <class B>
index_tensor<B> indices_from(B& backend, std::vector<std::int32_t> const& elements) {
    return from_host(backend, {static_cast<index_t>(elements.size())}, elements);
}
/// The elements on the host, in row-major order. Waits for the backend.
template <class B, class T>
std::vector<T> to_host(tensor<B, T> const& x) {
    std::vector<T> elements(static_cast<std::size_t>(x.size()));
    x.backend().download(x.buffer(), std::span<T>(elements));
    return elements;
}
/// A tensor of one repeated number.
template <class T, class B>
tensor<B, T> full(B& backend, shape extents, T number) {
    return {backend, backend.template tabulate<T>(detail::constant_law<T>{number}, extents.size()),
            extents};
}
template <class T, class B>
tensor<B, T> zeros(B& backend, shape extents) {
    return full<T>(backend, extents, T(0));
}

}  // namespace grove::inline GROVE_ISA
