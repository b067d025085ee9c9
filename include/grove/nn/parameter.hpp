// SPDX-License-Identifier: Apache-2.0
/// @file
/// A weight with its gradient, and how a model's code sees it on a tape.
#pragma once

#include <optional>
#include <string>

#include "grove/autodiff/checkpoint.hpp"
#include "grove/core/random.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/pointwise.hpp"

namespace grove::inline GROVE_ISA {

/// A named weight. The gradient is what backward passes have added since it was last cleared; empty
/// before the first.
template <class B, class T = float>
struct parameter {
    std::string name;
    tensor<B, T> value;
    mutable tensor<B, T> gradient{};

    void add_gradient(tensor<B, T> const& g) const {
        gradient = gradient.empty() ? g : gradient + g;
    }
    void clear_gradient() { gradient = {}; }
};

/// The weight as seen from `on`: itself on its own backend, a leaf on a tape over it. A model calls
/// this with the backend of its input, so that one definition acts and learns.
template <class B, class T>
tensor<B, T> lift(B&, parameter<B, T> const& p) {
    return p.value;
}
template <class B, class T>
tensor<autodiff<B>, T> lift(autodiff<B>& on, parameter<B, T> const& p) {
    return leaf(on, p.value, [&p](tensor<B, T> const& g) { p.add_gradient(g); });
}

/// Makes the parameters of a model, numbering them so that each draws its own numbers.
template <class B, class T>
class parameter_maker {
public:
    parameter_maker(B& backend, std::uint64_t seed) : backend_(&backend), seed_(seed) {}
    /// Draws nothing: what would be drawn is zero, for a reader to fill.
    explicit parameter_maker(B& backend) : backend_(&backend) {}

    B& backend() const { return *backend_; }
    /// Normal with mean 0 and this standard deviation.
    parameter<B, T> normal(std::string name, shape extents, double deviation) {
        return normal(std::move(name), extents, {extents[extents.rank() - 1]}, deviation);
    }
    /// The same for matrices side by side, of so many columns each, which draw their own numbers,
    /// as they would apart.
    parameter<B, T> normal(std::string name, shape extents, std::vector<index_t> const& parts,
                           double deviation) {
        if (!seed_) return constant(std::move(name), extents, T(0));
        index_t const columns = extents[extents.rank() - 1];
        std::vector<T> numbers(static_cast<std::size_t>(extents.size()));
        for (index_t first = 0; index_t part : parts) {
            random_key const key{*seed_, random_stream::initialize, 0, count_++, 0};
            for (index_t i = 0; part > 0 && i < extents.size() / columns * part; ++i)
                numbers[static_cast<std::size_t>(i / part * columns + first + i % part)] =
                    static_cast<T>(deviation * key.normal(static_cast<std::uint32_t>(i)));
            first += part;
        }
        return {std::move(name), from_host(*backend_, extents, numbers)};
    }
    parameter<B, T> constant(std::string name, shape extents, T number) {
        ++count_;
        return {std::move(name), full(*backend_, extents, number)};
    }

private:
    B* backend_;
    std::optional<std::uint64_t> seed_;
    std::uint32_t count_ = 0;
};

}  // namespace grove::inline GROVE_ISA
