// SPDX-License-Identifier: Apache-2.0
/// @file
/// AdamW (Loshchilov & Hutter 2019) and the gradient's norm.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "grove/backend/refinement.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/reduce.hpp"

namespace grove::inline GROVE_ISA {

namespace law {
/// One AdamW step of one number: (weight, gradient, m, v) → (weight, m, v).
template <class T>
struct adamw {
    T rate, beta1, beta2, epsilon, decay;
    T correction1, correction2;  ///< 1 / (1 − βᵗ)
    T gradient_scale;            ///< from clipping

    template <class N>
    GROVE_HD several<N, 3> operator()(N w, N g, N m, N v) const {
        g = g * N(gradient_scale);
        m = N(beta1) * m + N(T(1) - beta1) * g;
        // Of a weight that no longer learns: subnormal numbers are a hundred times slower on a CPU.
        m = math::select(math::abs(m) < N(std::numeric_limits<T>::min()), N(T(0)), m);
        v = N(beta2) * v + N(T(1) - beta2) * g * g;
        N const step = m * N(correction1) / (math::sqrt(v * N(correction2)) + N(epsilon));
        return {{w - N(rate) * (step + N(decay) * w), m, v}};
    }
};
/// The factor that brings a gradient of this norm down to `max_norm` (1 where it is below). A
/// `max_norm` of 0 never clips.
struct clip {
    double max_norm;
    GROVE_HD double operator()(double norm) const {
        return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
    }
};
}  // namespace law

/// √Σ g² over the gradients of all parameters that have one; double accumulation.
template <class Model>
double gradient_norm(Model& model) {
    double total = 0;
    model.visit([&](auto& p) {
        if (p.gradient.empty()) return;
        for (auto part : to_host(sum_columns(map(law::square{}, p.gradient))))
            total += static_cast<double>(part);
    });
    return std::sqrt(total);
}
/// Settings of AdamW.
struct adamw_options {
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.0;   ///< of matrices …
    bool decay_vectors = false;  ///< … and of vectors too (norms, biases)
    double max_gradient_norm = 1.0;
};

/// AdamW over the parameters of a model that offers `visit`.
template <class B, class T = float>
class adamw {
public:
    explicit adamw(adamw_options options = {}) : options_(options) {}

    /// One step with this learning rate; clears the gradients. Returns their norm before clipping.
    /// Throws value_error, and changes nothing, where the norm is not finite.
    template <class Model>
    double step(Model& model, double rate);

    std::int64_t steps() const { return steps_; }
    /// For checkpoints: the number of steps and the moments {m, v} of each parameter in visiting
    /// order.
    std::vector<std::array<tensor<B, T>, 2>>& moments() { return moments_; }
    void restore(std::int64_t steps, std::vector<std::array<tensor<B, T>, 2>> moments) {
        steps_ = steps;
        moments_ = std::move(moments);
    }

private:
    using buffer = typename B::template buffer<T>;

    template <class Model>
    void make_moments(Model& model) {
        std::size_t i = 0;
        model.visit([&](auto& p) {
            if (i++ == moments_.size())
                moments_.push_back({zeros<T>(p.value.backend(), p.value.extents()),
                                    zeros<T>(p.value.backend(), p.value.extents())});
        });
    }
    /// Moves every parameter that has a gradient, and returns the gradients' norm: in one go where
    /// the backend can.
    template <class Model>
    double update(Model& model, law::adamw<T> step) {
        law::clip const clip{options_.max_gradient_norm};
        if constexpr (has_updates<B, T>) {
            B* backend = nullptr;
            std::vector<parameter_update<buffer, law::adamw<T>>> all;
            each_gradient(model, step, [&](auto& p, auto const& gradient, auto& moments) {
                backend = &p.value.backend();
                all.push_back({step, gradient.buffer(), &p.value.buffer(), &moments[0].buffer(),
                               &moments[1].buffer()});
            });
            return backend == nullptr ? 0.0 : backend->update(all, clip);
        } else {
            double const norm = gradient_norm(model);
            if (!std::isfinite(norm)) return norm;
            step.gradient_scale = static_cast<T>(clip(norm));
            each_gradient(model, step, [&](auto& p, auto const& gradient, auto& moments) {
                auto next = map(step, p.value, gradient, moments[0], moments[1]);
                p.value = next[0];
                moments = {next[1], next[2]};
            });
            return norm;
        }
    }
    /// move(parameter, gradient, {m, v}) for each that has a gradient; laws differ in their decay
    /// alone.
    template <class Model, class Move>
    void each_gradient(Model& model, law::adamw<T>& step, Move const& move) {
        std::size_t i = 0;
        model.visit([&](auto& p) {
            auto& moments = moments_[i++];
            if (p.gradient.empty()) return;
            bool const decays = options_.decay_vectors || p.value.extents().rank() > 1;
            step.decay = decays ? static_cast<T>(options_.weight_decay) : T(0);
            move(p, p.gradient.reshape(p.value.extents()), moments);
        });
    }

    adamw_options options_;
    std::int64_t steps_ = 0;
    std::vector<std::array<tensor<B, T>, 2>> moments_;
};

template <class B, class T>
template <class Model>
double adamw<B, T>::step(Model& model, double rate) {
    make_moments(model);
    auto const correction = [&](double beta) {
        return static_cast<T>(1.0 / (1.0 - std::pow(beta, static_cast<double>(steps_ + 1))));
    };
    double const norm =
        update(model, {static_cast<T>(rate), static_cast<T>(options_.beta1),
                       static_cast<T>(options_.beta2), static_cast<T>(options_.epsilon), T(0),
                       correction(options_.beta1), correction(options_.beta2), T(1)});
    require<value_error>(std::isfinite(norm), "adamw", "expected a finite gradient, got norm ",
                         norm);
    ++steps_;
    model.visit([](auto& p) { p.clear_gradient(); });
    return norm;
}

}  // namespace grove::inline GROVE_ISA
