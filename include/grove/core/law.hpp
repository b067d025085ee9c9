// SPDX-License-Identifier: Apache-2.0
/// @file
/// Laws: small function objects over a number type, and their derivatives for free.
///
/// A law is written once,
/// @code
/// struct silu {
///     template <class Number>
///     GROVE_HD Number operator()(Number x) const { return x * grove::math::sigmoid(x); }
/// };
/// @endcode
/// and called with `float` in a GPU thread, with a pack on the CPU, with a dual number to
/// differentiate.
#pragma once

#include <utility>

#include "grove/core/dual.hpp"
#include "grove/core/math.hpp"

namespace grove::inline GROVE_ISA {

/// The results of a law with several outputs.
template <class N, int Count>
struct several {
    N value[Count];
};

namespace detail {
template <class N>
struct output_traits {
    static constexpr int count = 1;
    GROVE_HD static N get(N const& y, int) { return y; }
};
template <class N, int Count>
struct output_traits<several<N, Count>> {
    static constexpr int count = Count;
    GROVE_HD static N get(several<N, Count> const& y, int i) { return y.value[i]; }
};
template <class T, std::size_t>
using repeat = T;
template <class Law, class N, std::size_t... I>
auto law_result(std::index_sequence<I...>)
    -> decltype(std::declval<Law const&>()(std::declval<repeat<N, I>>()...));
}  // namespace detail

/// Number of outputs of a law called with `Inputs` numbers of type `N`.
template <class Law, class N, int Inputs>
inline constexpr int law_outputs = detail::output_traits<decltype(detail::law_result<Law, N>(
    std::make_index_sequence<Inputs>()))>::count;

/// Whether a law says (`static constexpr bool is_sum = true`) that it adds its inputs: then the
/// gradient of its result is that of each of them, as it is.
template <class Law>
inline constexpr bool is_sum_law = requires { requires Law::is_sum; };

/// The law (g₁ … g_K, x₁ … x_n) → (∂/∂x₁ … ∂/∂x_n) of Σₖ gₖ yₖ(x): the law's own member
/// `gradient(g…, x…)` where it has one, else dual numbers.
template <class Law, int Outputs, int Inputs>
struct gradient_law {
    Law law;

    template <class N, class... More>
    GROVE_HD several<N, Inputs> operator()(N first, More... more) const {
        static_assert(sizeof...(More) + 1 == Outputs + Inputs, "expected K gradients and n inputs");
        if constexpr (requires { law.gradient(first, more...); }) {
            return law.gradient(first, more...);
        } else {
            N const arguments[] = {first, more...};
            return apply(arguments, std::make_index_sequence<Inputs>());
        }
    }

private:
    template <class N, std::size_t... I>
    GROVE_HD several<N, Inputs> apply(N const* arguments, std::index_sequence<I...>) const {
        using number = dual<N, Inputs>;
        auto const y = law(number::variable(arguments[Outputs + I], static_cast<int>(I))...);
        using traits = detail::output_traits<std::remove_const_t<decltype(y)>>;
        several<N, Inputs> result;
        for (int i = 0; i < Inputs; ++i) {
            N sum = arguments[0] * traits::get(y, 0).derivative[i];
            for (int k = 1; k < Outputs; ++k)
                sum = sum + arguments[k] * traits::get(y, k).derivative[i];
            result.value[i] = sum;
        }
        return result;
    }
};

}  // namespace grove::inline GROVE_ISA
