// SPDX-License-Identifier: Apache-2.0
/// @file
/// Divergences of rows of logits and their gradients, on plain spans.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>
#include <string_view>

#include "grove/core/error.hpp"
#include "grove/core/number.hpp"
#include "grove/core/shape.hpp"
#include "grove/distill/divergence.hpp"

namespace grove::inline GROVE_ISA::distill {

/// `law(log q, log p)` → what one token of the vocabulary adds to a divergence; see divergence.hpp.
template <class Law>
concept divergence_law = requires(Law const& law, dual<double, 1> x) {
    { law(x, x) } -> std::same_as<dual<double, 1>>;
};

/// What to do about vocabularies of different sizes.
enum class vocabularies {
    equal,  ///< refuse them
    /// Give the smaller one tokens of probability 0 at its end, as for tables that are padded
    /// differently: forward_kl is then infinite for a smaller student, reverse_kl for a smaller
    /// teacher.
    padded,
};

/// How two rows of logits become the distributions that are compared.
struct comparison {
    /// Divides the logits of both; > 0. There is no factor τ²: where the gradient is to keep its
    /// size under a high temperature (Hinton et al. 2015), it is the weight's to hold it.
    double temperature = 1.0;
    vocabularies sizes = vocabularies::equal;
};

namespace detail {

/// A row of logits as log-probabilities at a temperature.
template <class T>
struct log_probabilities {
    std::span<T const> logits;
    T scale;               // 1 / temperature
    T log_normalizer = 0;  // log Σ e^(logit·scale)

    /// Throws value_error for a row without a finite logit, or with one that is +∞ or NaN.
    log_probabilities(std::string_view operation, std::string_view whose, std::span<T const> row,
                      double temperature)
        : logits(row), scale(static_cast<T>(1 / temperature)) {
        T top = -std::numeric_limits<T>::infinity();
        bool ordered = true;
        for (T x : row) {
            ordered &= x < std::numeric_limits<T>::infinity();
            top = std::max(top, x);
        }
        require<value_error>(ordered && std::isfinite(top), operation, "expected logits of the ",
                             whose, " below ∞, and one above −∞, got others");
        T const shift = top * scale;
        double sum = 0;
        for_each_pack<T>(std::ssize(row), [&](std::ptrdiff_t i, int count) {
            sum += total(math::exp(math::fma(load(i, count), pack<T>(scale), pack<T>(-shift))));
        });
        log_normalizer = shift + static_cast<T>(std::log(sum));
    }
    /// `count` log-probabilities from token `i` on; −∞ beyond the last token.
    pack<T> at(std::ptrdiff_t i, int count) const {
        return math::fma(load(i, count), pack<T>(scale), pack<T>(-log_normalizer));
    }
    /// The sum of a pack's lanes.
    static double total(pack<T> x) {
        T lanes[pack<T>::size];
        x.store(lanes);
        double sum = 0;
        for (T lane : lanes) sum += static_cast<double>(lane);
        return sum;
    }

private:
    pack<T> load(std::ptrdiff_t i, int count) const {
        auto const own = std::clamp<std::ptrdiff_t>(std::ssize(logits) - i, 0, count);
        return load_pack(logits.data() + std::min(i, std::ssize(logits)), static_cast<int>(own),
                         -std::numeric_limits<T>::infinity());
    }
};

inline void check_temperature(std::string_view operation, double temperature) {
    require<value_error>(temperature > 0 && std::isfinite(temperature), operation,
                         "expected a temperature > 0, got ", temperature);
}

}  // namespace detail

/// The divergence of two rows of logits, and, where `gradient` is not empty, its derivative by each
/// logit of the student (`gradient` is as long as `student`).
///
/// Throws shape_error for sizes that differ (unless `how` pads), value_error for a temperature
/// ≤ 0, for logits that are NaN or +∞, and for a divergence that is infinite.
/// ```cpp
/// std::vector<float> gradient(student.size());
/// double d = distill::divergence(distill::forward_kl{}, student, teacher, gradient);
/// ```
template <class T, divergence_law Law>
double divergence(Law const& law, std::span<T const> student, std::span<T const> teacher,
                  std::span<T> gradient = {}, comparison const& how = {}) {
    char const* const operation = "divergence";
    require<shape_error>(student.size() == teacher.size() || how.sizes == vocabularies::padded,
                         operation, "expected student and teacher to share a vocabulary, got ",
                         student.size(), " and ", teacher.size(),
                         " tokens; pad them where ids mean the same");
    require<shape_error>(gradient.empty() || gradient.size() == student.size(), operation,
                         "expected gradient [", student.size(), "] like student, got [",
                         gradient.size(), "]");
    detail::check_temperature(operation, how.temperature);
    using number = dual<pack<T>, 1>;
    using row = detail::log_probabilities<T>;
    row const q(operation, "student", student, how.temperature);
    row const p(operation, "teacher", teacher, how.temperature);
    double value = 0, slope = 0;
    for_each_pack<T>(static_cast<std::ptrdiff_t>(std::max(student.size(), teacher.size())),
                     [&](std::ptrdiff_t i, int count) {
                         pack<T> const log_q = q.at(i, count), log_p = p.at(i, count);
                         auto const nowhere = math::max(log_q, log_p) ==
                                              pack<T>(-std::numeric_limits<T>::infinity());
                         number const d = number::select(
                             nowhere, number(T(0)), law(number::variable(log_q, 0), number(log_p)));
                         value += row::total(d.value);
                         slope += row::total(d.derivative[0]);
                         if (auto const own = std::ssize(gradient) - i; own > 0)
                             store_pack(d.derivative[0], gradient.data() + i,
                                        static_cast<int>(std::min<std::ptrdiff_t>(own, count)));
                     });
    require<value_error>(std::isfinite(value) && std::isfinite(slope), operation,
                         "expected a finite divergence, got ", value,
                         ": one side excludes a token that the other does not");
    for_each_pack<T>(std::ssize(gradient), [&](std::ptrdiff_t i, int count) {
        pack<T> const g = load_pack(gradient.data() + i, count);
        store_pack(
            (g - math::exp(q.at(i, count)) * pack<T>(static_cast<T>(slope))) * pack<T>(q.scale),
            gradient.data() + i, count);
    });
    return value;
}

/// The same for `rows` rows of logits, student [rows, vocabulary] and teacher [rows, vocabulary]:
/// value[i] is row i's divergence, row i of `gradient` (or empty) its derivative by the student's
/// logits. Throws as `divergence` does.
template <class T, divergence_law Law>
void divergences(Law const& law, std::span<T const> student, std::span<T const> teacher,
                 std::span<T> value, std::span<T> gradient = {}, comparison const& how = {}) {
    std::size_t const rows = value.size();
    auto const fits = [&](std::size_t size) { return rows == 0 ? size == 0 : size % rows == 0; };
    require<shape_error>(fits(student.size()) && fits(teacher.size()), "divergences", "expected ",
                         rows, " rows of logits, got ", student.size(), " and ", teacher.size(),
                         " logits");
    require<shape_error>(gradient.empty() || gradient.size() == student.size(), "divergences",
                         "expected gradient [", student.size(), "] like student, got [",
                         gradient.size(), "]");
    for (std::size_t i = 0; i < rows; ++i) {
        auto const part = [&](auto all) {
            return all.subspan(i * (all.size() / rows), all.size() / rows);
        };
        value[i] =
            static_cast<T>(divergence(law, part(student), part(teacher), part(gradient), how));
    }
}

}  // namespace grove::inline GROVE_ISA::distill
