// SPDX-License-Identifier: Apache-2.0
/// @file
/// Models and optimizers in checkpoints, bit for bit. `Writer` and `Reader` are checkpoint_writer
/// and checkpoint_reader (io/checkpoint.hpp) or anything with their put and get.
#pragma once

#include "grove/io/crc32c.hpp"
#include "grove/nn/decoder.hpp"
#include "grove/optim/adamw.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
/// Calls f(name, tensor&) for everything that makes up a decoder's state.
template <class B, class T, class Visit>
void visit_state(decoder<B, T>& model, std::string const& prefix, Visit&& f) {
    model.visit([&](auto& p) { f(prefix + p.name, p.value); });
    int layer = 0;
    model.visit_routers([&](auto& router) {
        f(prefix + "router." + std::to_string(layer++) + ".score_correction_bias",
          router.score_correction_bias);
    });
}
}  // namespace detail

/// Writes weights and expert biases under `prefix`.
template <class Writer, class B, class T>
void save_model(Writer& file, std::string const& prefix, decoder<B, T>& model) {
    detail::visit_state(model, prefix, [&](std::string const& name, tensor<B, T>& x) {
        file.put(name, to_host(x), x.extents());
    });
}
/// Reads what save_model wrote; throws io_error, naming the section, where something is missing,
/// damaged or of another shape, and then leaves the model as it was.
template <class Reader, class B, class T>
void load_model(Reader const& file, std::string const& prefix, decoder<B, T>& model) {
    std::vector<tensor<B, T>> values;
    detail::visit_state(model, prefix, [&](std::string const& name, tensor<B, T>& x) {
        std::vector<T> elements(static_cast<std::size_t>(x.size()));
        file.get_into(name, elements, x.extents());
        values.push_back(from_host(x.backend(), x.extents(), elements));
    });
    std::size_t i = 0;
    detail::visit_state(model, prefix,
                        [&](std::string const&, tensor<B, T>& x) { x = values[i++]; });
}

/// CRC-32C of all weights and expert biases: equal for equal bits, so that runs can be compared.
template <class B, class T>
std::uint32_t digest(decoder<B, T>& model) {
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
/// Reads what save_optimizer wrote for an optimizer of `model`.
template <class Reader, class B, class T>
void load_optimizer(Reader const& file, std::string const& prefix, adamw<B, T>& optimizer,
                    decoder<B, T>& model) {
    auto const steps = file.template get<std::int64_t>(prefix + "steps").at(0);
    std::vector<std::array<tensor<B, T>, 2>> moments;
    if (steps > 0)
        model.visit([&](auto& p) {
            std::string const name = prefix + std::to_string(moments.size());
            auto read = [&](std::string const& section) {
                std::vector<T> elements(static_cast<std::size_t>(p.value.size()));
                file.get_into(section, elements, p.value.extents());
                return from_host(p.value.backend(), p.value.extents(), elements);
            };
            moments.push_back({read(name + ".m"), read(name + ".v")});
        });
    optimizer.restore(steps, std::move(moments));
}

}  // namespace grove::inline GROVE_ISA
