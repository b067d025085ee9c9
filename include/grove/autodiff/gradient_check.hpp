// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gradients against finite differences: the test that every function of tensors should have.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>
#include <tuple>
#include <vector>

#include "grove/autodiff/checkpoint.hpp"
#include "grove/core/random.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

using real_vector = std::vector<double>;

template <class B>
real_vector real_elements(tensor<B, double> const& x) {
    real_vector elements(static_cast<std::size_t>(x.size()));
    x.backend().download(x.buffer(), std::span<double>(elements));
    return elements;
}
/// The weights of the scalar Σₖ wₖ yₖ that stands for a result y of any shape.
inline real_vector loss_weights(index_t size) {
    random_key const key{.seed = 0x67726164};
    real_vector weights(static_cast<std::size_t>(size));
    for (std::size_t k = 0; k < weights.size(); ++k)
        weights[k] = key.normal(static_cast<std::uint32_t>(k));
    return weights;
}
/// The gradient of Σₖ wₖ f(inputs)ₖ for each input, by the tape.
template <class F, class B, class... Tensors>
std::array<real_vector, sizeof...(Tensors)> tape_gradients(F const& f, B& backend,
                                                           Tensors const&... inputs) {
    std::array<real_vector, sizeof...(Tensors)> gradients;
    std::size_t next = 0;
    for (index_t size : {inputs.size()...})
        gradients[next++].resize(static_cast<std::size_t>(size));
    autodiff<B> tape(backend);
    auto track = [&, i = std::size_t{0}](auto const& x) mutable {
        return leaf(tape, x,
                    [&gradient = gradients[i++]](auto const& g) { gradient = real_elements(g); });
    };
    std::tuple const tracked{track(inputs)...};  // braces: left to right
    auto const y = std::apply(f, tracked);
    auto const weights = loss_weights(y.size());
    backward(y, tensor<B, double>(backend, backend.upload(std::span<double const>(weights)),
                                  y.extents()));
    return gradients;
}
/// The central difference of Σₖ wₖ f(inputs)ₖ along element `at` of `input`, one of `inputs`.
template <class F, class B, class... Tensors>
double central_difference(F const& f, tensor<B, double>& input, std::size_t at,
                          Tensors const&... inputs) {
    B& backend = input.backend();
    auto const elements = real_elements(input);
    auto const centre = input;
    double const step =
        std::cbrt(std::numeric_limits<double>::epsilon()) * std::max(1.0, std::abs(elements[at]));
    auto loss = [&](double x) {
        auto moved = elements;
        moved[at] = x;
        input = {backend, backend.upload(std::span<double const>(moved)), centre.extents()};
        auto const y = real_elements(f(inputs...));
        auto const weights = loss_weights(static_cast<index_t>(y.size()));
        double sum = 0;
        for (std::size_t k = 0; k < y.size(); ++k) sum += weights[k] * y[k];
        return sum;
    };
    double const slope = (loss(elements[at] + step) - loss(elements[at] - step)) / (2 * step);
    input = centre;
    return slope;
}
/// max |a − b| over the largest element of both; infinite where an element is no number.
inline double relative_error(real_vector const& a, real_vector const& b) {
    constexpr double smallest_scale = 1e-3;  // below it, differences are the rounding of f
    double difference = 0, scale = smallest_scale;
    for (std::size_t i = 0; i < a.size(); ++i) {
        double const d = std::abs(a[i] - b[i]);
        if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
        difference = std::max(difference, d);
        scale = std::max({scale, std::abs(a[i]), std::abs(b[i])});
    }
    return difference / scale;
}

}  // namespace detail

/// Compares the gradients that the tape gives for `f` with central finite differences, in double.
///
/// `f` is any function of tensors on every backend that returns one tensor of any shape and is
/// smooth near the inputs. Returns the worst relative error over the inputs: the largest difference
/// of an input's gradient, over that gradient's largest element; infinite where NaN occurs. About
/// 1e-9 where all is well. Calls `f` twice per input element: use small inputs.
/// @code
/// auto cube = [](auto const& x) { return x * x * x; };
/// assert(grove::check_gradient(cube, x) < 1e-6);
/// @endcode
template <class F, class B, std::same_as<tensor<B, double>>... More>
double check_gradient(F const& f, tensor<B, double> first, More... more) {
    auto const analytic = detail::tape_gradients(f, first.backend(), first, more...);
    double worst = 0;
    std::size_t next = 0;
    auto compare = [&](tensor<B, double>& input) {
        auto const& gradient = analytic[next++];
        detail::real_vector numeric(gradient.size());
        for (std::size_t at = 0; at < numeric.size(); ++at)
            numeric[at] = detail::central_difference(f, input, at, first, more...);
        worst = std::max(worst, detail::relative_error(gradient, numeric));
    };
    compare(first);
    (compare(more), ...);
    return worst;
}

}  // namespace grove::inline GROVE_ISA
