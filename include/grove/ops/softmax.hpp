// SPDX-License-Identifier: Apache-2.0
/// @file
/// Softmax and its logarithm over the last axis.
#pragma once

#include "grove/autodiff/checkpoint.hpp"
#include "grove/ops/reduce.hpp"

namespace grove::inline GROVE_ISA {

/// log Σ e^x over the last axis: […, columns] → […, 1]. The maximum is subtracted as a constant.
template <class B, class T>
tensor<B, T> log_sum_exp(tensor<B, T> const& x) {
    auto const top = detach(max_columns(x));
    return map(law::log{}, sum_columns(exp(x - top))) + top;
}
/// x − log Σ e^x over the last axis.
template <class B, class T>
tensor<B, T> log_softmax(tensor<B, T> const& x) {
    return x - log_sum_exp(x);
}
/// e^x / Σ e^x over the last axis.
template <class B, class T>
tensor<B, T> softmax(tensor<B, T> const& x) {
    auto const e = exp(x - detach(max_columns(x)));
    return e / sum_columns(e);
}

}  // namespace grove::inline GROVE_ISA
