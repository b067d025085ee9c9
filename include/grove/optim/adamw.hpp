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
/// The factor that brings a gradient of this norm down to `max_norm` (1 where it is below). A
/// `max_norm` of 0 never clips.
inline double clip_factor(double norm, double max_norm) {
    return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
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
    /// `gradient_norm`, at once where the backend can.
    template <class Model>
    static double norm_of(Model& model) {
        if constexpr (has_updates<B, T>) {
            B* backend = nullptr;
            std::vector<buffer> gradients;
            model.visit([&](auto& p) {
                if (p.gradient.empty()) return;
                backend = &p.gradient.backend();
                gradients.push_back(p.gradient.buffer());
            });
            return backend == nullptr ? 0.0 : backend->norm(gradients);
        } else {
            return gradient_norm(model);
        }
    }
    /// Moves every parameter that has a gradient; laws differ in their decay alone.
    template <class Model>
    void update_all(Model& model, law::adamw<T> update) {
        std::size_t i = 0;
        B* backend = nullptr;
        std::vector<parameter_update<buffer, law::adamw<T>>> all;
        model.visit([&](auto& p) {
            auto& [m, v] = moments_[i++];
            if (p.gradient.empty()) return;
            bool const decays = options_.decay_vectors || p.value.extents().rank() > 1;
            update.decay = decays ? static_cast<T>(options_.weight_decay) : T(0);
            auto const gradient = p.gradient.reshape(p.value.extents());
            if constexpr (has_updates<B, T>) {
                backend = &p.value.backend();
                all.push_back(
                    {update, gradient.buffer(), &p.value.buffer(), &m.buffer(), &v.buffer()});
            } else {
                auto next = map(update, p.value, gradient, m, v);
                p.value = next[0];
                m = next[1];
                v = next[2];
            }
            p.clear_gradient();
        });
        if constexpr (has_updates<B, T>) {
            if (backend != nullptr) backend->update(all);
        }
    }
    T correction(double beta) const {
        return static_cast<T>(1.0 / (1.0 - std::pow(beta, static_cast<double>(steps_))));
    }

    adamw_options options_;
    std::int64_t steps_ = 0;
    std::vector<std::array<tensor<B, T>, 2>> moments_;
};

template <class B, class T>
template <class Model>
double adamw<B, T>::step(Model& model, double rate) {
    double const norm = norm_of(model);
    require<value_error>(std::isfinite(norm), "adamw", "expected a finite gradient, got norm ",
                         norm);
    ++steps_;
    make_moments(model);
    update_all(model, {static_cast<T>(rate), static_cast<T>(options_.beta1),
                       static_cast<T>(options_.beta2), static_cast<T>(options_.epsilon), T(0),
                       correction(options_.beta1), correction(options_.beta2),
                       static_cast<T>(clip_factor(norm, options_.max_gradient_norm))});
    return norm;
}

}  // namespace grove::inline GROVE_ISA
