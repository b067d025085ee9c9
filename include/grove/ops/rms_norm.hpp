// SPDX-License-Identifier: Apache-2.0
/// @file
/// Root-mean-square normalisation (Zhang & Sennrich 2019).
#pragma once

#include "grove/backend/refinement.hpp"
#include "grove/ops/reduce.hpp"

namespace grove::inline GROVE_ISA {

/// `rms_norm` composed from primitives: what every fused version must agree with.
template <class B, class T>
tensor<B, T> rms_norm_composite(tensor<B, T> const& x, tensor<B, T> const& weight, T epsilon) {
    auto const mean_square =
        affine(sum_columns(map(law::square{}, x)), T(1) / static_cast<T>(x.columns()), epsilon);
    return x * map(law::inverse_sqrt{}, mean_square) * weight;
}

/// x · weight / √(mean(x²) + ε) over the last axis; x [tokens, hidden], weight [hidden].
template <class B, class T>
tensor<B, T> rms_norm(tensor<B, T> const& x, tensor<B, T> const& weight, T epsilon) {
    require<shape_error>(weight.size() == x.columns(), "rms_norm", "expected a weight of shape [",
                         x.columns(), "], got ", weight.extents());
    if constexpr (has_rms_norm<B, T>) {
        return {
            x.backend(),
            x.backend().rms_norm(x.buffer(), weight.buffer(), x.rows(), x.columns(), epsilon)[0],
            x.extents()};
    } else {
        return rms_norm_composite(x, weight, epsilon);
    }
}

/// {x + y, rms_norm(x + y)}: how a residual stream takes in a branch on its way to the next norm.
template <class B, class T>
std::array<tensor<B, T>, 2> add_rms_norm(tensor<B, T> const& x, tensor<B, T> const& y,
                                         tensor<B, T> const& weight, T epsilon) {
    require<shape_error>(x.extents() == y.extents() && weight.size() == x.columns(), "add_rms_norm",
                         "expected two tensors of shape ", x.extents(), " and a weight [",
                         x.columns(), "], got ", y.extents(), " and ", weight.extents());
    if constexpr (has_add_rms_norm<B, T>) {
        B& b = x.backend();
        auto const all =
            b.add_rms_norm(x.buffer(), y.buffer(), weight.buffer(), x.rows(), x.columns(), epsilon);
        return {tensor<B, T>(b, all[0], x.extents()), tensor<B, T>(b, all[1], x.extents())};
    } else {
        auto const sum = x + y;
        return {sum, rms_norm(sum, weight, epsilon)};
    }
}

/// {x, rms_norm(x)}: the same where there is no branch yet. On a tape the gradients of the two meet
/// in one.
template <class B, class T>
std::array<tensor<B, T>, 2> keep_rms_norm(tensor<B, T> const& x, tensor<B, T> const& weight,
                                          T epsilon) {
    B& b = x.backend();
    require<shape_error>(weight.size() == x.columns(), "rms_norm", "expected a weight of shape [",
                         x.columns(), "], got ", weight.extents());
    if constexpr (requires { b.keep_rms_norm(x.buffer(), x.buffer(), 1, 1, epsilon); }) {
        auto const all =
            b.keep_rms_norm(x.buffer(), weight.buffer(), x.rows(), x.columns(), epsilon);
        return {tensor<B, T>(b, all[0], x.extents()), tensor<B, T>(b, all[1], x.extents())};
    } else {
        return {x, rms_norm(x, weight, epsilon)};
    }
}

}  // namespace grove::inline GROVE_ISA
