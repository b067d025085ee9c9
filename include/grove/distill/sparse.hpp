// SPDX-License-Identifier: Apache-2.0
/// @file
/// A teacher of whom only the likeliest tokens are known: what stored or served teachers give.
#pragma once

#include <numeric>
#include <vector>

#include "grove/distill/evaluate.hpp"

namespace grove::inline GROVE_ISA::distill {

/// What becomes of the tokens that a sparse teacher does not list.
enum class tail {
    /// They are one further token: with the teacher's remaining mass 1 − Σp and the student's. A
    /// divergence of the two distributions so coarsened: 0 if they agree, at most the full one.
    merged,
    /// Both distributions are taken given that the token is a listed one: what the student puts
    /// elsewhere is not corrected.
    renormalized,
    /// They are left out of the sum, and nothing else changes (verl's forward KL on the top 32): no
    /// divergence, but can be negative, and for reverse_kl grows with the student's listed mass.
    omitted,
};

/// The listed tokens of one row, in any order.
template <class T>
struct sparse_teacher {
    std::span<std::int32_t const> tokens;  ///< [k], distinct
    std::span<T const> log_probability;    ///< [k], natural, at the comparison's temperature
};

namespace detail {

/// Indices of the listed tokens in ascending order of tokens; throws unless these are distinct and
/// within the vocabulary, and their probabilities at most 1 together.
template <class T>
std::vector<std::size_t> ascending(sparse_teacher<T> const& teacher, std::size_t vocabulary) {
    char const* const operation = "divergence";
    auto const& [tokens, log_p] = teacher;
    require<shape_error>(!tokens.empty() && tokens.size() == log_p.size(), operation,
                         "expected as many log-probabilities as listed tokens, and one at least, "
                         "got ",
                         log_p.size(), " for ", tokens.size());
    std::vector<std::size_t> order(tokens.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return tokens[a] < tokens[b]; });
    double mass = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        auto const token = tokens[order[i]];
        require<value_error>(token >= 0 && static_cast<std::size_t>(token) < vocabulary, operation,
                             "expected listed tokens in [0, ", vocabulary, "), got ", token);
        require<value_error>(i == 0 || tokens[order[i - 1]] != token, operation,
                             "expected distinct listed tokens, got ", token, " twice");
        mass += std::exp(static_cast<double>(log_p[i]));
    }
    require<value_error>(mass > 0 && mass < 1 + 1e-3, operation,
                         "expected listed probabilities that sum to at most 1, got ", mass);
    return order;
}

/// Σ e^(log q) over the tokens from `begin` to `end`.
template <class T>
double mass_between(log_probabilities<T> const& q, std::size_t begin, std::size_t end) {
    double mass = 0;
    log_probabilities<T> part = q;
    part.logits = q.logits.subspan(begin, end - begin);
    for_each_pack<T>(std::ssize(part.logits), [&](std::ptrdiff_t i, int count) {
        mass += log_probabilities<T>::total(math::exp(part.at(i, count)));
    });
    return mass;
}

}  // namespace detail

/// The divergence from a sparse teacher to a student's row of logits `[vocabulary]`, and its
/// derivative by the logits where `gradient` is not empty. Throws as the dense form does, and
/// value_error for tokens outside the vocabulary or listed twice, or probabilities above 1.
/// ```cpp
/// distill::sparse_teacher<float> teacher{ids, log_probabilities};
/// double d = distill::divergence(distill::forward_kl{}, student, teacher, gradient,
///                                distill::tail::merged);
/// ```
template <class T, divergence_law Law>
double divergence(Law const& law, std::span<T const> student, sparse_teacher<T> const& teacher,
                  std::span<T> gradient = {}, tail rest = tail::merged, double temperature = 1.0) {
    char const* const operation = "divergence";
    require<shape_error>(gradient.empty() || gradient.size() == student.size(), operation,
                         "expected gradient [", student.size(), "] like student, got [",
                         gradient.size(), "]");
    detail::check_temperature(operation, temperature);
    auto const order = detail::ascending(teacher, student.size());
    detail::log_probabilities<T> const q(operation, "student", student, temperature);
    auto const token = [&](std::size_t i) {
        return static_cast<std::size_t>(teacher.tokens[order[i]]);
    };
    auto const log_q = [&](std::size_t i) {
        return static_cast<double>(student[token(i)]) * static_cast<double>(q.scale) -
               static_cast<double>(q.log_normalizer);
    };
    // The unlisted mass as a sum of its own: 1 − Σ would cancel where the student is sure.
    double listed_q = 0, listed_p = 0, other_q = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        listed_q += std::exp(log_q(i));
        listed_p += std::exp(static_cast<double>(teacher.log_probability[order[i]]));
        other_q += detail::mass_between(q, i == 0 ? 0 : token(i - 1) + 1, token(i));
    }
    other_q += detail::mass_between(q, token(order.size() - 1) + 1, student.size());

    using number = dual<double, 1>;
    bool const given_listed = rest == tail::renormalized;
    double const shift_q = given_listed ? std::log(listed_q) : 0;
    double const shift_p = given_listed ? std::log(listed_p) : 0;
    double value = 0, total = 0, slope_of_rest = 0;
    std::vector<double> slope(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        auto const log_p = static_cast<double>(teacher.log_probability[order[i]]);
        number const d = law(number::variable(log_q(i) - shift_q, 0), number(log_p - shift_p));
        value += d.value;
        total += slope[i] = d.derivative[0];
    }
    if (rest == tail::merged && (other_q > 0 || listed_p < 1)) {
        number const d = law(number::variable(std::log(other_q), 0),
                             number(std::log(std::max(0.0, 1 - listed_p))));
        value += d.value;
        total += slope_of_rest = d.derivative[0];
    }
    require<value_error>(std::isfinite(value) && std::isfinite(total), operation,
                         "expected a finite divergence, got ", value,
                         ": one side excludes a token that the other does not");
    if (gradient.empty()) return value;
    auto const scale = static_cast<double>(q.scale);
    double const share = other_q > 0 ? slope_of_rest / other_q : 0;
    for (std::size_t v = 0; v < student.size(); ++v) {
        double const probability = std::exp(static_cast<double>(student[v]) * scale -
                                            static_cast<double>(q.log_normalizer));
        gradient[v] = given_listed ? T(0) : static_cast<T>(scale * probability * (share - total));
    }
    for (std::size_t i = 0; i < order.size(); ++i)
        gradient[token(i)] =
            static_cast<T>(scale * (slope[i] - std::exp(log_q(i) - shift_q) * total));
    return value;
}

}  // namespace grove::inline GROVE_ISA::distill
