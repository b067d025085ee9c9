// SPDX-License-Identifier: Apache-2.0
/// @file
/// Dual numbers: value and derivatives in one pass (forward-mode differentiation).
#pragma once

#include "grove/core/config.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA {

/// A number v + Σ dᵢ εᵢ with εᵢεⱼ = 0. `T` is a float, a double or a pack; `Count` is the number of
/// directions. `f(dual)` carries ∂f/∂xᵢ in `derivative[i]`.
template <class T, int Count>
struct dual {
    using value_type = T;

    T value;
    T derivative[Count];

    dual() = default;
    /// A constant: every derivative is zero.
    template <class Constant>
        requires std::is_constructible_v<T, Constant>
    GROVE_HD dual(Constant constant) : value(constant) {
        for (int i = 0; i < Count; ++i) derivative[i] = T(0);
    }
    /// The variable of direction `index`.
    GROVE_HD static dual variable(T value, int index) {
        dual x(value);
        x.derivative[index] = T(1);
        return x;
    }
    /// f(x) with f'(x) known.
    GROVE_HD dual chain(T result, T slope) const {
        dual y;
        y.value = result;
        for (int i = 0; i < Count; ++i) y.derivative[i] = derivative[i] * slope;
        return y;
    }

    GROVE_HD friend dual operator+(dual a, dual b) {
        dual y;
        y.value = a.value + b.value;
        for (int i = 0; i < Count; ++i) y.derivative[i] = a.derivative[i] + b.derivative[i];
        return y;
    }
    GROVE_HD friend dual operator-(dual a, dual b) {
        dual y;
        y.value = a.value - b.value;
        for (int i = 0; i < Count; ++i) y.derivative[i] = a.derivative[i] - b.derivative[i];
        return y;
    }
    GROVE_HD friend dual operator*(dual a, dual b) {
        dual y;
        y.value = a.value * b.value;
        for (int i = 0; i < Count; ++i)
            y.derivative[i] = a.derivative[i] * b.value + a.value * b.derivative[i];
        return y;
    }
    GROVE_HD friend dual operator/(dual a, dual b) {
        dual y;
        y.value = a.value / b.value;
        for (int i = 0; i < Count; ++i)
            y.derivative[i] = (a.derivative[i] - y.value * b.derivative[i]) / b.value;
        return y;
    }
    GROVE_HD friend dual operator-(dual a) { return a.chain(-a.value, T(-1)); }
    GROVE_HD dual& operator+=(dual b) { return *this = *this + b; }
    GROVE_HD dual& operator-=(dual b) { return *this = *this - b; }
    GROVE_HD dual& operator*=(dual b) { return *this = *this * b; }

    GROVE_HD friend auto operator<(dual a, dual b) { return a.value < b.value; }
    GROVE_HD friend auto operator<=(dual a, dual b) { return a.value <= b.value; }
    GROVE_HD friend auto operator>(dual a, dual b) { return a.value > b.value; }
    GROVE_HD friend auto operator>=(dual a, dual b) { return a.value >= b.value; }
    GROVE_HD friend auto operator==(dual a, dual b) { return a.value == b.value; }

    template <class Condition>
    GROVE_HD static dual select(Condition condition, dual yes, dual no) {
        dual y;
        y.value = math::select(condition, yes.value, no.value);
        for (int i = 0; i < Count; ++i)
            y.derivative[i] = math::select(condition, yes.derivative[i], no.derivative[i]);
        return y;
    }
    GROVE_HD static dual fma(dual a, dual b, dual c) { return a * b + c; }
    GROVE_HD static dual exp(dual x) {
        T const e = math::exp(x.value);
        return x.chain(e, e);
    }
    GROVE_HD static dual log(dual x) { return x.chain(math::log(x.value), T(1) / x.value); }
    GROVE_HD static dual sqrt(dual x) {
        T const root = math::sqrt(x.value);
        return x.chain(root, T(0.5) / root);
    }
    GROVE_HD static dual tanh(dual x) {
        T const y = math::tanh(x.value);
        return x.chain(y, T(1) - y * y);
    }
    GROVE_HD static dual abs(dual x) {
        return x.chain(math::abs(x.value), math::select(x.value < T(0), T(-1), T(1)));
    }
    GROVE_HD static dual stop_gradient(dual x) { return dual(x.value); }
};

}  // namespace grove::inline GROVE_ISA
