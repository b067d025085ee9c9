// SPDX-License-Identifier: Apache-2.0
/// @file
/// Laws over tensors, with broadcasting.
#pragma once

#include <tuple>

#include "grove/backend/concept.hpp"
#include "grove/core/law.hpp"
#include "grove/core/tensor.hpp"

namespace grove::inline GROVE_ISA {

namespace law {

struct add {
    static constexpr bool is_sum = true;
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a + b;
    }
};
struct subtract {
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a - b;
    }
};
struct multiply {
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a * b;
    }
};
struct divide {
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a / b;
    }
};
/// x · factor + shift.
template <class T>
struct affine {
    T factor, shift;
    template <class N>
    GROVE_HD N operator()(N x) const {
        return x * N(factor) + N(shift);
    }
    /// Without x, so that the gradient at ±∞ is a number.
    template <class N>
    GROVE_HD several<N, 1> gradient(N g, N) const {
        return {{g * N(factor)}};
    }
};
struct exp {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return math::exp(x);
    }
};
struct log {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return math::log(x);
    }
};
struct square {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return x * x;
    }
};
/// 1 / √x.
struct inverse_sqrt {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return N(1) / math::sqrt(x);
    }
};
struct sigmoid {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return math::sigmoid(x);
    }
};
/// x · sigmoid(x) (Elfwing et al. 2017).
struct silu {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return x * math::sigmoid(x);
    }
};
/// condition ≠ 0 ? x : y, with y a constant.
template <class T>
struct keep_where {
    T otherwise;
    template <class N>
    GROVE_HD N operator()(N x, N condition) const {
        return math::select(condition == N(T(0)), N(otherwise), x);
    }
};

}  // namespace law

namespace detail {
/// How `x` is read over a [rows, columns] space of shape `target`: full, one row, one column or a
/// number.
template <class B, class T>
operand<typename B::template buffer<T>> broadcast(tensor<B, T> const& x, shape const& target) {
    index_t const columns = target.columns();
    if (x.extents() == target) return {x.buffer(), columns, 1};
    if (x.size() == 1) return {x.buffer(), 0, 0};
    if (x.extents().rank() == 1 && x.size() == columns) return {x.buffer(), 0, 1};
    require<shape_error>(
        x.extents().rank() == target.rank() && x.columns() == 1 && x.rows() == target.rows(), "map",
        "expected an operand of shape ", target, ", [", columns,
        "], one column per row or a number, got ", x.extents());
    return {x.buffer(), 1, 0};
}
/// Which of two operands gives a result its shape: an empty one, else the larger, else the one with
/// more columns or axes.
inline shape wider(shape const& x, shape const& y) {
    auto rank = [](shape const& s) {
        return std::tuple(s.size() == 0, s.size(), s.columns(), s.rank());
    };
    return rank(x) < rank(y) ? y : x;
}
}  // namespace detail

/// Applies a law element by element. The result has the shape of the largest operand; the others
/// have the same shape, or [columns] (repeated over rows), or […, 1] (repeated over columns), or
/// one element. Returns a tensor, or a std::array of tensors where the law has several outputs.
/// @code
/// struct leaky { template <class N> N operator()(N x) const { return math::max(x, x * N(0.1f)); }
/// }; auto y = grove::map(leaky{}, x);
/// @endcode
template <class Law, class B, class T, class... More>
auto map(Law law, tensor<B, T> const& first, More const&... more) {
    shape target = first.extents();
    ((target = detail::wider(target, more.extents())), ...);
    auto y =
        first.backend().map(law, target.rows(), target.columns(), detail::broadcast(first, target),
                            detail::broadcast(more, target)...);
    if constexpr (y.size() == 1) {
        return tensor<B, T>(first.backend(), y[0], target);
    } else {
        std::array<tensor<B, T>, y.size()> result;
        for (std::size_t k = 0; k < y.size(); ++k)
            result[k] = tensor<B, T>(first.backend(), y[k], target);
        return result;
    }
}

template <class B, class T>
tensor<B, T> operator+(tensor<B, T> const& x, tensor<B, T> const& y) {
    return map(law::add{}, x, y);
}
template <class B, class T>
tensor<B, T> operator-(tensor<B, T> const& x, tensor<B, T> const& y) {
    return map(law::subtract{}, x, y);
}
template <class B, class T>
tensor<B, T> operator*(tensor<B, T> const& x, tensor<B, T> const& y) {
    return map(law::multiply{}, x, y);
}
template <class B, class T>
tensor<B, T> operator/(tensor<B, T> const& x, tensor<B, T> const& y) {
    return map(law::divide{}, x, y);
}
/// x · factor + shift.
template <class B, class T>
tensor<B, T> affine(tensor<B, T> const& x, T factor, T shift = T(0)) {
    return map(law::affine<T>{factor, shift}, x);
}
template <class B, class T>
tensor<B, T> exp(tensor<B, T> const& x) {
    return map(law::exp{}, x);
}
template <class B, class T>
tensor<B, T> sigmoid(tensor<B, T> const& x) {
    return map(law::sigmoid{}, x);
}
template <class B, class T>
tensor<B, T> silu(tensor<B, T> const& x) {
    return map(law::silu{}, x);
}

}  // namespace grove::inline GROVE_ISA
