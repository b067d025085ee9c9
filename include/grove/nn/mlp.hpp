// SPDX-License-Identifier: Apache-2.0
/// @file
/// Multilayer perceptrons: the networks of control.
#pragma once

#include <vector>

#include "grove/nn/layers.hpp"

namespace grove::inline GROVE_ISA {

namespace law {

struct relu {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return math::max(x, N(0));
    }
};
struct tanh {
    template <class N>
    GROVE_HD N operator()(N x) const {
        return math::tanh(x);
    }
};
/// Activation(x + bias): one pass over a layer's outputs instead of two.
template <class Activation>
struct biased {
    template <class N>
    GROVE_HD N operator()(N x, N bias) const {
        return Activation{}(x + bias);
    }
};

}  // namespace law

/// Linear layers with an activation, which is any law, between them: [rows, widths₀] → [rows,
/// widths_last]. Without layers it returns its input.
/// @code
/// auto net = grove::mlp<grove::eigen_backend>::make(maker, "critic", {4, 64, 64, 1});
/// auto value = net(observations);  // [rows, 1]
/// @endcode
template <class B, class T = float, class Activation = law::tanh>
struct mlp {
    std::vector<linear<B, T>> layers;
    bool activated = false;  ///< the last layer too, where another network follows

    /// `name`.0.weight … with normal weights of deviation gain / √in, and biases of 0; the last
    /// layer's gain is `last_gain` (0.01 for a policy that starts without preferences, Andrychowicz
    /// et al. 2021). Throws configuration_error for a width that is not positive.
    static mlp make(parameter_maker<B, T>& make, std::string const& name,
                    std::vector<index_t> const& widths, double last_gain = 1.0, double gain = 1.0) {
        mlp net;
        for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
            require<configuration_error>(widths[i] > 0 && widths[i + 1] > 0, "mlp",
                                         "expected positive widths, got ", widths[i], " and ",
                                         widths[i + 1]);
            bool const last = i + 2 == widths.size();
            double const deviation =
                (last ? last_gain : gain) / std::sqrt(static_cast<double>(widths[i]));
            net.layers.push_back(linear<B, T>::make(make, name + '.' + std::to_string(i), widths[i],
                                                    widths[i + 1], deviation, true));
        }
        return net;
    }
    template <class X>
    X operator()(X x) const {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            auto const& [weight, bias] = layers[i];
            if (i + 1 == layers.size() && !activated) return layers[i](x);
            x = map(law::biased<Activation>{}, matmul(x, lift(x.backend(), weight)),
                    lift(x.backend(), *bias));
        }
        return x;
    }
    template <class Visit>
    void visit(Visit&& f) {
        for (auto& layer : layers) layer.visit(f);
    }
};

}  // namespace grove::inline GROVE_ISA
