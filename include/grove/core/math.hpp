// SPDX-License-Identifier: Apache-2.0
/// @file
/// The functions a law may call. Each exists for `float`, `double`, packs of them (pack.hpp) and
/// dual numbers over all of these (dual.hpp), and means the same for all: laws are written
/// branch-free. A number type brings its own versions as static members (`N::exp`, `N::select`, …).
#pragma once

#include <cmath>
#include <type_traits>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA::math {

template <class T>
concept real = std::is_arithmetic_v<T>;

/// `condition ? yes : no`. Both sides are evaluated.
template <class Condition, class N>
GROVE_HD constexpr N select(Condition condition, N yes, N no) {
    if constexpr (real<N>) {
        return condition ? yes : no;
    } else {
        return N::select(condition, yes, no);
    }
}
template <class N>
GROVE_HD N exp(N x) {
    if constexpr (real<N>) {
        return std::exp(x);
    } else {
        return N::exp(x);
    }
}
template <class N>
GROVE_HD N log(N x) {
    if constexpr (real<N>) {
        return std::log(x);
    } else {
        return N::log(x);
    }
}
template <class N>
GROVE_HD N sqrt(N x) {
    if constexpr (real<N>) {
        return std::sqrt(x);
    } else {
        return N::sqrt(x);
    }
}
template <class N>
GROVE_HD N tanh(N x) {
    if constexpr (real<N>) {
        return std::tanh(x);
    } else {
        return N::tanh(x);
    }
}
template <class N>
GROVE_HD constexpr N abs(N x) {
    if constexpr (real<N>) {
        return x < N(0) ? -x : x;
    } else {
        return N::abs(x);
    }
}
template <class N>
GROVE_HD constexpr N min(N a, std::type_identity_t<N> b) {
    return select(b < a, b, a);
}
template <class N>
GROVE_HD constexpr N max(N a, std::type_identity_t<N> b) {
    return select(a < b, b, a);
}
/// a·b + c, rounded once where the hardware can (otherwise as Eigen's packs do: twice).
template <class N>
GROVE_HD N fma(N a, N b, N c) {
    if constexpr (!real<N>) {
        return N::fma(a, b, c);
    } else {
#if defined(__FMA__) || defined(__CUDA_ARCH__) || defined(__ARM_FEATURE_FMA)
        return std::fma(a, b, c);
#else
        return a * b + c;
#endif
    }
}
/// The value of `x` without its derivative.
template <class N>
GROVE_HD constexpr N stop_gradient(N x) {
    if constexpr (requires { N::stop_gradient(x); }) {
        return N::stop_gradient(x);
    } else {
        return x;
    }
}

/// x limited to [low, high]; the derivative is zero outside.
template <class N>
GROVE_HD N clamp(N x, std::type_identity_t<N> low, std::type_identity_t<N> high) {
    return min(max(x, low), high);
}
/// Logistic function 1 / (1 + e^-x), without overflow for any x.
template <class N>
GROVE_HD N sigmoid(N x) {
    N const e = exp(-abs(x));
    N const positive = N(1) / (N(1) + e);
    return select(x < N(0), e * positive, positive);
}

}  // namespace grove::inline GROVE_ISA::math
