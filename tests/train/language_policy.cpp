// SPDX-License-Identifier: Apache-2.0
#include "grove/train/language_policy.hpp"

#include <doctest/doctest.h>

#include "../rollout/small_model.hpp"

using namespace grove;
using grove_test::model_type;

namespace {

std::vector<response> responses_of(std::vector<generation_request> const& asked,
                                   std::vector<completion> const& made) {
    std::vector<response> responses;
    for (std::size_t i = 0; i < asked.size(); ++i)
        responses.push_back({asked[i].prompt, made[i].tokens, made[i].kept, made[i].experts});
    return responses;
}
std::vector<float> learned(model_type const& model, std::vector<response> const& responses,
                           pass_options const& options = {}) {
    autodiff<eigen_backend> tape(model.backend());
    language_forward<eigen_backend, float> const forward(model, 1.0, 0.0, nullptr, options);
    return to_host(forward(tape, language_batch::of(responses)).log_probability);
}
std::vector<float> recorded(std::vector<completion> const& made) {
    std::vector<float> all;
    for (auto const& c : made)
        all.insert(all.end(), c.log_probability.begin(), c.log_probability.end());
    return all;
}

}  // namespace

TEST_CASE("language_forward: recorded experts keep a rollout's experts on other weights") {
    eigen_backend backend(2);
    auto const asked = grove_test::requests(6);
    for (auto const& config :
         {grove_test::moe_config(), grove_test::latent_config(), grove_test::softmax_config()}) {
        model_type model(backend, config, 7);
        generator engine(model, {.max_new_tokens = 9, .max_batch = 4, .record_routing = true});
        auto const made = engine(asked);
        auto const responses = responses_of(asked, made);
        auto const layers =
            static_cast<std::size_t>(config.num_hidden_layers - config.first_k_dense_replace);
        for (auto const& r : responses) {
            REQUIRE(r.experts.size() == layers);
            for (auto const& layer : r.experts)
                CHECK(layer.size() == (r.prompt.size() + r.tokens.size() - 1) * 3);
        }
        CHECK(learned(model, responses) == recorded(made));
        CHECK(learned(model, responses, {.recompute = true}) == recorded(made));

        // Routers that would choose otherwise: replayed, the weights' share alone changes.
        auto free = responses;
        for (auto& r : free) r.experts.clear();
        CHECK(learned(model, free) == recorded(made));
        model.visit_routers([&](auto& router) {
            std::vector<float> bias(8);
            for (std::size_t e = 0; e < 8; ++e) bias[e] = e % 2 == 0 ? 5.0f : -5.0f;
            router.score_correction_bias = from_host(backend, {8}, bias);
        });
        CHECK(learned(model, responses) == recorded(made));
        CHECK(learned(model, free) != recorded(made));
    }
}

TEST_CASE("language_forward: a learner that expands latents agrees with a sampler that does") {
    eigen_backend backend(2);
    model_type const model(backend, grove_test::latent_config(), 7);
    auto const asked = grove_test::requests(6);
    generator engine(model, {.max_new_tokens = 9, .max_batch = 4, .expand_latents = true});
    auto const made = engine(asked);
    auto const responses = responses_of(asked, made);
    pass_options const expand{.expand_latents = true};
    CHECK(learned(model, responses, expand) == recorded(made));
    CHECK(learned(model, responses) != recorded(made));
}

TEST_CASE("language_batch: experts of all responses or of none") {
    response const with{{1, 2}, {3}, {}, {{0, 1, 2, 3}}}, without{{1}, {2}};
    CHECK_NOTHROW(language_batch::of(std::vector{with, with}));
    CHECK_THROWS_WITH_AS(language_batch::of(std::vector{with, without}),
                         "[language_batch] expected recorded experts of 1 layers, got 0",
                         value_error);
    CHECK_THROWS_AS(language_batch::of(std::vector{without, with}), value_error);
}
