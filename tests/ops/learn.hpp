// SPDX-License-Identifier: Apache-2.0
// Values and gradients of functions of tensors, for comparing two ways to compute the same.
#pragma once

#include <array>
#include <vector>

#include "../core/values.hpp"
#include "grove/autodiff/checkpoint.hpp"
#include "grove/ops/create.hpp"

template <class T>
std::vector<double> in_double(std::vector<T> const& x) {
    return {x.begin(), x.end()};
}
template <class T, class B>
grove::tensor<B, T> random_tensor(B& backend, grove::shape extents, std::uint64_t seed) {
    return grove::from_host(backend, extents, random_values<T>(extents.size(), seed));
}

/// f(inputs) and the gradients of Σ wₖ f(inputs)ₖ with random w, on the host.
template <class F, class B, class T, class... More>
std::vector<std::vector<T>> learn(F const& f, grove::tensor<B, T> const& first,
                                  More const&... more) {
    std::vector<std::vector<T>> results(2 + sizeof...(More));
    std::size_t next = 0;
    grove::autodiff<B> tape(first.backend());
    auto track = [&](grove::tensor<B, T> const& x) {
        return grove::leaf(tape, x, [&gradient = results[++next]](grove::tensor<B, T> const& g) {
            gradient = grove::to_host(g);
        });
    };
    std::tuple const inputs{track(first), track(more)...};
    auto const y = std::apply(f, inputs);
    results[0] = grove::to_host(y);
    grove::backward(y, random_tensor<T>(first.backend(), y.extents(), 99));
    return results;
}

/// How far `f` and `g` are apart, in values and gradients.
template <class F, class G, class... Tensors>
double disagreement(F const& f, G const& g, Tensors const&... inputs) {
    auto const x = learn(f, inputs...), y = learn(g, inputs...);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        worst = std::max(worst, worst_error(x[i], in_double(y[i])));
    return worst;
}

/// What a few hundred roundings cost.
template <class T>
constexpr double tolerance = 400 * double(std::numeric_limits<T>::epsilon());
