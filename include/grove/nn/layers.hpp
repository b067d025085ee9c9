// SPDX-License-Identifier: Apache-2.0
/// @file
/// The small modules: linear, embedding, norm, SwiGLU block.
#pragma once

#include <numeric>
#include <optional>
#include <vector>

#include "grove/nn/decoder_config.hpp"
#include "grove/nn/parameter.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/product.hpp"
#include "grove/ops/rms_norm.hpp"
#include "grove/ops/swiglu.hpp"

namespace grove::inline GROVE_ISA {

/// x [tokens, in] · weight [in, out] + bias [out], where there is one. (Files of the field store
/// the transposed weight.)
template <class B, class T>
struct linear {
    parameter<B, T> weight;
    std::optional<parameter<B, T>> bias{};

    /// `name`.weight, normal with this standard deviation, and `name`.bias, zero.
    static linear make(parameter_maker<B, T>& make, std::string const& name, index_t in,
                       index_t out, double deviation, bool biased = false) {
        return linear::make(make, name, in, std::vector{out}, deviation, biased);
    }
    /// The same for layers of one input side by side, of so many columns each.
    static linear make(parameter_maker<B, T>& make, std::string const& name, index_t in,
                       std::vector<index_t> const& parts, double deviation, bool biased = false) {
        index_t const out = std::accumulate(parts.begin(), parts.end(), index_t{0});
        linear layer{make.normal(name + ".weight", {in, out}, parts, deviation)};
        if (biased) layer.bias = make.constant(name + ".bias", {out}, T(0));
        return layer;
    }
    template <class X>
    X operator()(X const& x, results use = results::activations) const {
        auto const y = matmul(x, lift(x.backend(), weight), transpose::no, transpose::no, use);
        return bias ? y + lift(x.backend(), *bias) : y;
    }
    template <class Visit>
    void visit(Visit&& f) {
        f(weight);
        if (bias) f(*bias);
    }
};

/// Rows of weight [vocab_size, hidden_size] by token.
template <class B, class T>
struct embedding {
    parameter<B, T> weight;

    template <class On>
    tensor<On, T> operator()(On& on, std::vector<std::int32_t> const& tokens) const {
        return gather_rows(lift(on, weight), indices_from(on, tokens));
    }
    template <class Visit>
    void visit(Visit&& f) {
        f(weight);
    }
};

/// A residual stream [tokens, hidden]: x + added, where the addition waits for the norm that
/// follows. `added` may be empty.
template <class X>
struct residual {
    X x, added{};

    X sum() const { return added.empty() ? x : x + added; }
};

/// Root-mean-square norm with a weight [columns].
template <class B, class T>
struct norm {
    parameter<B, T> weight;
    T epsilon;

    static norm make(parameter_maker<B, T>& make, std::string const& name, index_t columns,
                     double epsilon) {
        return {make.constant(name + ".weight", {columns}, T(1)), static_cast<T>(epsilon)};
    }
    template <class X>
    X operator()(X const& x) const {
        return rms_norm(x, lift(x.backend(), weight), epsilon);
    }
    /// Adds what waits to be added: {x, its norm}.
    template <class X>
    std::array<X, 2> operator()(residual<X> const& r) const {
        if (r.added.empty()) return keep_rms_norm(r.x, lift(r.x.backend(), weight), epsilon);
        return add_rms_norm(r.x, r.added, lift(r.x.backend(), weight), epsilon);
    }
    template <class Visit>
    void visit(Visit&& f) {
        f(weight);
    }
};

/// down(silu(gate x) · up x), with gate and up in one product: gate_up_proj [hidden, 2 · width].
template <class B, class T>
struct swiglu_block {
    linear<B, T> gate_up_proj, down_proj;

    static swiglu_block make(parameter_maker<B, T>& make, std::string const& prefix, index_t hidden,
                             index_t width, double deviation, double output_deviation) {
        return {{make.normal(prefix + "gate_up_proj.weight", {hidden, 2 * width}, deviation)},
                {make.normal(prefix + "down_proj.weight", {width, hidden}, output_deviation)}};
    }
    template <class X>
    X operator()(X const& x) const {
        return down_proj(swiglu(gate_up_proj(x)));
    }
    template <class Visit>
    void visit(Visit&& f) {
        gate_up_proj.visit(f);
        down_proj.visit(f);
    }
};

}  // namespace grove::inline GROVE_ISA
