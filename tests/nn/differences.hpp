// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include "small_decoder.hpp"

namespace grove_test {

/// Gradients of the loss against central differences, at a few elements of every parameter.
template <class B>
void check_differences(B& backend, decoder_config const& config) {
    decoder<B, double> model(backend, config, 1);
    set_weights(model);
    autodiff<B> tape(backend);
    backward(grove_test::loss(tape, model));
    model.visit([&](auto& p) {
        CAPTURE(p.name);
        auto const gradient = to_host(p.gradient);
        auto const centre = p.value;
        for (std::size_t sample = 0; sample < 3; ++sample) {
            std::size_t const at = (gradient.size() * (2 * sample + 1)) / 6;
            double const step = 1e-5;
            auto const loss = [&](double shift) {
                auto moved = to_host(centre);
                moved[at] += shift;
                p.value = from_host(backend, centre.extents(), moved);
                return to_host(grove_test::loss(backend, model))[0];
            };
            double const slope = (loss(step) - loss(-step)) / (2 * step);
            CHECK(gradient[at] == doctest::Approx(slope).epsilon(1e-7));
        }
        p.value = centre;
    });
}

}  // namespace grove_test
