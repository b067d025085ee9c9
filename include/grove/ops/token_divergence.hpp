// SPDX-License-Identifier: Apache-2.0
/// @file
/// Divergences over the vocabulary between two models' logits, token by token.
#pragma once

#include <limits>
#include <type_traits>

#include "grove/autodiff/checkpoint.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/token_statistics.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// (student's logit and log Σ e^z, teacher's) ↦ law(log q, log p), 0 for a token that is impossible
/// for both.
template <class Law, class T>
struct divergence_term {
    Law law;
    T scale;  // 1 / temperature

    template <class N>
    GROVE_HD N operator()(N student, N of_student, N teacher, N of_teacher) const {
        N const log_q = student * N(scale) - of_student, log_p = teacher * N(scale) - of_teacher;
        auto const nowhere = math::max(log_q, log_p) == N(-std::numeric_limits<T>::infinity());
        return math::select(nowhere, N(T(0)), law(log_q, log_p));
    }
};
/// The same, and its derivative by log q.
template <class Law, class T>
struct divergence_and_slope {
    Law law;
    T scale;

    template <class N>
    GROVE_HD several<N, 2> operator()(N student, N of_student, N teacher, N of_teacher) const {
        using number = dual<N, 1>;
        number const log_q = number::variable(student * N(scale) - of_student, 0);
        number const log_p(teacher * N(scale) - of_teacher);
        auto const nowhere =
            math::max(log_q, log_p).value == N(-std::numeric_limits<T>::infinity());
        number const y = law(log_q, log_p);
        return {{math::select(nowhere, N(T(0)), y.value),
                 math::select(nowhere, N(T(0)), y.derivative[0])}};
    }
};
/// (slope by log q, Σ of the row's slopes, logit, log Σ e^z, weight) ↦ derivative by the logit.
template <class T>
struct divergence_pull {
    T scale;

    template <class N>
    GROVE_HD N operator()(N slope, N total, N student, N of_student, N weight) const {
        N const q = math::exp(student * N(scale) - of_student);
        return weight * N(scale) * (slope - q * total);
    }
};

/// log Σ e^(logits / temperature) of each row, [rows, 1].
template <class B, class T>
tensor<B, T> log_normalizers(tensor<B, T> const& logits, T scale) {
    B& b = logits.backend();
    if constexpr (has_token_statistics<B, T>) {
        auto const none = b.template tabulate<std::int32_t>(zero_law{}, 0);
        auto const any = b.template tabulate<std::int32_t>(zero_law{}, logits.rows());
        auto y = b.token_statistics(logits.buffer(), logits.columns(), any, scale, none, none);
        return {b, y[2], {logits.rows(), 1}};
    } else {
        return log_sum_exp(affine(logits, scale));
    }
}

/// x [rows, columns] with tokens that are impossible behind it, up to `columns`.
template <class B, class T>
tensor<B, T> pad_vocabulary(tensor<B, T> const& x, index_t columns) {
    if (x.columns() == columns) return x;
    T const never = -std::numeric_limits<T>::infinity();
    return concatenate_columns(
        std::vector{x, full(x.backend(), {x.rows(), columns - x.columns()}, never)});
}

}  // namespace detail

/// Σ law(log q, log p) over the vocabulary for each row, [rows], with q = softmax(logits /
/// temperature) and p that of `teacher`, both [rows, vocabulary]; for laws see
/// distill/divergence.hpp. No gradient flows into the teacher. Where `pad`, the smaller vocabulary
/// gets tokens of probability 0 at its end. Infinite where the law is. `normalizer` [rows] is
/// log Σ e^(logits / temperature) where that is known. Throws shape_error where the extents differ,
/// value_error for a temperature ≤ 0.
/// @code
/// auto d = grove::token_divergence(student, teacher, grove::distill::reverse_kl{});
/// @endcode
template <class B, class T, class Law>
tensor<B, T> token_divergence(tensor<B, T> const& logits, tensor<B, T> const& teacher,
                              Law const& law, std::type_identity_t<T> temperature = T(1),
                              bool pad = false, tensor<B, T> const& normalizer = {}) {
    require<value_error>(temperature > T(0), "token_divergence", "expected a temperature > 0, got ",
                         temperature);
    require<shape_error>(logits.rows() == teacher.rows(), "token_divergence", "expected ",
                         logits.rows(), " rows of the teacher, got ", teacher.rows());
    if (index_t const own = logits.columns(), other = teacher.columns(); own != other) {
        require<shape_error>(pad, "token_divergence",
                             "expected student and teacher to share a vocabulary, got ", own,
                             " and ", other, " tokens; pad them where ids mean the same");
        index_t const all = std::max(own, other);
        return token_divergence(detail::pad_vocabulary(logits, all),
                                detail::pad_vocabulary(teacher, all), law, temperature, false,
                                normalizer);
    }
    T const scale = T(1) / temperature;
    auto const z = value_of(logits), zt = value_of(teacher);
    auto const own = normalizer.empty() ? detail::log_normalizers(z, scale)
                                        : value_of(normalizer).reshape({z.rows(), 1});
    auto const other = detail::log_normalizers(zt, scale);
    shape const rows{z.rows()};
    if constexpr (is_autodiff<B>) {
        if (logits.buffer().tracked()) {
            auto const y = map(detail::divergence_and_slope<Law, T>{law, scale}, z, own, zt, other);
            auto const value = sum_columns(y[0]).reshape(rows);
            auto& tape = logits.backend();
            auto rule = [z, own, slope = y[1], total = sum_columns(y[1]), scale, logits,
                         &tape](auto const& g) {
                std::remove_const_t<decltype(z)> const weight(z.backend(), g, {z.rows(), 1});
                auto const pull =
                    map(detail::divergence_pull<T>{scale}, slope, total, z, own, weight);
                tape.accumulate(logits.buffer(), pull.buffer());
            };
            return {tape, tape.template record<T>(value.buffer(), rule), rows};
        }
    }
    detail::divergence_term<Law, T> const term{law, scale};
    return constant(logits.backend(), sum_columns(map(term, z, own, zt, other)).reshape(rows));
}

}  // namespace grove::inline GROVE_ISA
