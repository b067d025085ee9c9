// SPDX-License-Identifier: Apache-2.0
/// @file
/// Models and optimizers in checkpoints, bit for bit. A model is any class template over a backend
/// and a number type that offers `visit`. `Writer` and `Reader` are checkpoint_writer
/// and checkpoint_reader (io/checkpoint.hpp) or anything with their put and get.
#pragma once

#include "grove/io/crc32c.hpp"
#include "grove/optim/adamw.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
/// Calls f(name, tensor&) for everything that makes up a model's state.
template <class Model, class Visit>
void visit_state(Model& model, std::string const& prefix, Visit&& f) {
    model.visit([&](auto& p) { f(prefix + p.name, p.value); });
    int layer = 0;
    auto const visit_router = [&](auto& router) {
        f(prefix + "router." + std::to_string(layer++) + ".score_correction_bias",
          router.score_correction_bias);
    };
    if constexpr (requires { model.visit_routers(visit_router); })
        model.visit_routers(visit_router);
}
}  // namespace detail

/// Writes weights and expert biases under `prefix`.
template <class Writer, template <class...> class Model, class B, class T, class... More>
void save_model(Writer& file, std::string const& prefix, Model<B, T, More...>& model) {
    detail::visit_state(model, prefix, [&](std::string const& name, tensor<B, T>& x) {
        file.put(name, to_host(x), x.extents());
    });
}
/// Reads the tensors that save_model wrote for a model like `model`, which it leaves as it is;
/// throws io_error, naming the section, where one is missing, damaged or of another shape.
template <class Reader, template <class...> class Model, class B, class T, class... More>
std::vector<tensor<B, T>> read_model(Reader const& file, std::string const& prefix,
                                     Model<B, T, More...>& model) {
    std::vector<tensor<B, T>> values;
    detail::visit_state(model, prefix, [&](std::string const& name, tensor<B, T>& x) {
        std::vector<T> elements(static_cast<std::size_t>(x.size()));
        file.get_into(name, elements, x.extents());
        values.push_back(from_host(x.backend(), x.extents(), elements));
    });
    return values;
}
/// Gives a model the tensors that read_model returned for it.
template <template <class...> class Model, class B, class T, class... More>
void restore_model(Model<B, T, More...>& model, std::vector<tensor<B, T>> const& values) {
    std::size_t i = 0;
    detail::visit_state(model, "", [&](std::string const&, tensor<B, T>& x) { x = values[i++]; });
}
/// read_model and restore_model: where it throws, the model is as it was.
template <class Reader, class Model>
void load_model(Reader const& file, std::string const& prefix, Model& model) {
    restore_model(model, read_model(file, prefix, model));
}

/// CRC-32C of all weights and expert biases: equal for equal bits, so that runs can be compared.
template <template <class...> class Model, class B, class T, class... More>
std::uint32_t digest(Model<B, T, More...>& model) {
    std::uint32_t sum = 0;
    detail::visit_state(model, "", [&](std::string const&, tensor<B, T>& x) {
        std::vector<T> const elements = to_host(x);
        sum = crc32c(std::as_bytes(std::span(elements)), sum);
    });
    return sum;
}

/// Writes an optimizer's steps and moments under `prefix`.
template <class Writer, class B, class T>
void save_optimizer(Writer& file, std::string const& prefix, adamw<B, T>& optimizer) {
    file.template put_value<std::int64_t>(prefix + "steps", optimizer.steps());
    std::size_t i = 0;
    for (auto& [m, v] : optimizer.moments()) {
        std::string const name = prefix + std::to_string(i++);
        file.put(name + ".m", to_host(m), m.extents());
        file.put(name + ".v", to_host(v), v.extents());
    }
}
/// What adamw::restore takes: the steps, and the moments of each parameter.
template <class B, class T>
struct optimizer_state {
    std::int64_t steps = 0;
    std::vector<std::array<tensor<B, T>, 2>> moments;
};
/// Reads what save_optimizer wrote for an optimizer of `model`; throws as read_model does.
template <class Reader, template <class...> class Model, class B, class T, class... More>
optimizer_state<B, T> read_optimizer(Reader const& file, std::string const& prefix,
                                     Model<B, T, More...>& model) {
    optimizer_state<B, T> state{file.template get_value<std::int64_t>(prefix + "steps"), {}};
    if (state.steps == 0) return state;
    model.visit([&](auto& p) {
        std::string const name = prefix + std::to_string(state.moments.size());
        auto const read = [&](std::string const& section) {
            std::vector<T> elements(static_cast<std::size_t>(p.value.size()));
            file.get_into(section, elements, p.value.extents());
            return from_host(p.value.backend(), p.value.extents(), elements);
        };
        state.moments.push_back({read(name + ".m"), read(name + ".v")});
    });
    return state;
}
/// Makes an optimizer of `model` the one that save_optimizer wrote; where it throws, it is as it
/// was.
template <class Reader, class B, class T, class Model>
void load_optimizer(Reader const& file, std::string const& prefix, adamw<B, T>& optimizer,
                    Model& model) {
    auto state = read_optimizer(file, prefix, model);
    optimizer.restore(state.steps, std::move(state.moments));
}

}  // namespace grove::inline GROVE_ISA
