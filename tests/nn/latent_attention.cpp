// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/latent_attention.hpp"

#include <doctest/doctest.h>

#include "differences.hpp"
#include "grove/backend/eigen/eigen.hpp"

using namespace grove;
using grove_test::latent_config;
using grove_test::softmax_config;

namespace {

std::vector<double> logits(auto& on, auto const& model, pass_options const& options = {}) {
    auto const batch = grove_test::two_sequences();
    fresh_keys keys{batch.layout};
    return to_host(model.logits(model.forward(on, batch, keys, options).hidden));
}
double worst(std::vector<double> const& a, std::vector<double> const& b) {
    REQUIRE(a.size() == b.size());
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
    return worst;
}
template <class B>
std::vector<double> gradients(B& backend, decoder<B, double>& model, pass_options options = {}) {
    autodiff<B> tape(backend);
    backward(grove_test::loss(tape, model, options));
    std::vector<double> all;
    model.visit([&](auto& p) {
        auto const g = to_host(p.gradient);
        all.insert(all.end(), g.begin(), g.end());
        p.clear_gradient();
    });
    return all;
}
std::vector<decoder_config> configs() {
    return {latent_config(true), latent_config(false), softmax_config()};
}

}  // namespace

TEST_CASE("latent attention, biases and softmax routing: gradients by finite differences") {
    eigen_backend backend(1);
    for (auto const& config : configs()) grove_test::check_differences(backend, config);
}

TEST_CASE("latent attention, biases and softmax routing: eigen agrees with reference") {
    eigen_backend eigen(2);
    reference_backend reference;
    for (auto const& config : configs()) {
        decoder<eigen_backend, double> ours(eigen, config, 1);
        decoder<reference_backend, double> oracle(reference, config, 1);
        grove_test::set_weights(ours);
        grove_test::set_weights(oracle);
        CHECK(worst(logits(eigen, ours), logits(reference, oracle)) < 1e-12);
        CHECK(worst(gradients(eigen, ours), gradients(reference, oracle)) < 1e-12);
    }
}

TEST_CASE("both associations of latent attention are the same function") {
    eigen_backend backend(2);
    for (bool compressed : {true, false}) {
        decoder<eigen_backend, double> model(backend, latent_config(compressed), 1);
        grove_test::set_weights(model);
        pass_options const expand{.expand_latents = true};
        CHECK(worst(logits(backend, model), logits(backend, model, expand)) < 1e-13);
        CHECK(worst(gradients(backend, model), gradients(backend, model, expand)) < 1e-12);
    }
}

TEST_CASE("learning has the bits of acting in either association") {
    eigen_backend backend(2);
    decoder<eigen_backend, float> model(backend, latent_config(true), 1);
    grove_test::set_weights(model);
    auto const batch = grove_test::two_sequences();
    auto const hidden = [&](auto& on, pass_options const& options) {
        fresh_keys keys{batch.layout};
        return to_host(model.forward(on, batch, keys, options).hidden);
    };
    autodiff<eigen_backend> tape(backend);
    for (bool expand : {false, true}) {
        pass_options const options{.expand_latents = expand};
        CHECK(hidden(tape, options) == hidden(backend, options));
    }
    CHECK(hidden(tape, {}) != hidden(tape, {.expand_latents = true}));
}

TEST_CASE("latent attention: sequences that share keys act, but do not learn") {
    eigen_backend backend(1);
    decoder<eigen_backend, float> model(backend, latent_config(true), 1);
    packed_tokens const batch{{1, 2}, {0, 0}, [] {
                                  attention_layout shared;
                                  shared.add(1, 0, 1);
                                  shared.add(1, 0, 1);
                                  return shared;
                              }()};
    fresh_keys keys{batch.layout};
    CHECK_NOTHROW(model.forward(backend, batch, keys));
    autodiff<eigen_backend> tape(backend);
    CHECK_THROWS_AS(model.forward(tape, batch, keys), value_error);
}

TEST_CASE("recomputing blocks changes neither results nor gradients") {
    eigen_backend backend(2);
    for (auto const& config : configs()) {
        decoder<eigen_backend, double> model(backend, config, 1);
        grove_test::set_weights(model);
        autodiff<eigen_backend> tape(backend);
        pass_options const recompute{.recompute = true};
        CHECK(logits(tape, model, recompute) == logits(backend, model));
        CHECK(gradients(backend, model, recompute) == gradients(backend, model));
    }
}

TEST_CASE("recorded experts can be replayed, on other weights too") {
    eigen_backend backend(2);
    decoder<eigen_backend, double> model(backend, latent_config(true), 1);
    grove_test::set_weights(model);
    auto const batch = grove_test::two_sequences();
    auto chosen = [&](pass_options const& options) {
        fresh_keys keys{batch.layout};
        chosen_experts experts;
        for (auto const& routing : model.forward(backend, batch, keys, options).routings)
            experts.push_back(to_host(routing.experts));
        return experts;
    };
    auto const recorded = chosen({});
    auto const before = logits(backend, model);
    CHECK(logits(backend, model, {.replay = &recorded}) == before);
    autodiff<eigen_backend> tape(backend);
    CHECK(logits(tape, model, {.recompute = true, .replay = &recorded}) == before);

    model.visit_routers([&](auto& router) {
        auto bias = to_host(router.score_correction_bias);
        std::reverse(bias.begin(), bias.end());
        for (double& b : bias) b *= 7;
        router.score_correction_bias = from_host(backend, {router.experts()}, bias);
    });
    CHECK(chosen({}) != recorded);
    CHECK(chosen({.replay = &recorded}) == recorded);
    CHECK(logits(backend, model, {.replay = &recorded}) == before);
    CHECK(logits(backend, model) != before);

    auto const refused = [&](chosen_experts const& experts) {
        return [&, experts] { chosen({.replay = &experts}); };
    };
    auto few = recorded, wrong = recorded;
    few.pop_back();
    CHECK_THROWS_WITH_AS(refused(few)(), "[decoder] expected recorded experts of 2 layers, got 1",
                         shape_error);
    wrong[0][4] = 8;
    CHECK_THROWS_AS(refused(wrong)(), value_error);
    wrong[0].pop_back();
    CHECK_THROWS_WITH_AS(refused(wrong)(),
                         "[mixture_of_experts] expected 21 recorded experts, got 20", shape_error);
}
