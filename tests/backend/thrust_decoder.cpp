// SPDX-License-Identifier: Apache-2.0
// A decoder, dense and with experts, acts, learns and generates on Thrust's host systems with the
// reference backend's bits.
#include <doctest/doctest.h>

#include <vector>

#include "../nn/small_decoder.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/backend/thrust/tbb.hpp"
#include "grove/backend/thrust/thrust.hpp"
#include "grove/rollout/generate.hpp"

using namespace grove;

namespace {

struct outcome {
    std::vector<float> acting_log_probability, log_probability;
    std::vector<std::vector<float>> gradients;
    std::vector<std::int32_t> experts;

    friend bool operator==(outcome const&, outcome const&) = default;
};

/// Log-probabilities of grove_test::next_tokens, acting and learning, and the gradients of −mean
/// log-probability + 0.3 · Σ balance.
template <class B>
outcome learn(B& backend, decoder_config const& config) {
    decoder<B, float> model(backend, config, 1);
    grove_test::set_weights(model);
    auto const batch = grove_test::two_sequences();
    auto const logits = [&](auto const& x) { return model.logits(x); };
    head_options<float> const options{.temperature = 0.7f, .kept = {}, .chunk = 3};
    auto const log_probability = [&](auto const& hidden) {
        return lm_head(hidden, logits, grove_test::next_tokens, options)[0];
    };
    outcome result;
    fresh_keys keys{batch.layout};
    auto const acted = model.forward(backend, batch, keys);
    result.acting_log_probability = to_host(log_probability(acted.hidden));
    for (auto const& routing : acted.routings)
        for (auto expert : to_host(routing.experts)) result.experts.push_back(expert);

    autodiff<B> tape(backend);
    auto const output = model.forward(tape, batch, keys, {.balance = true});
    auto const learned = log_probability(output.hidden);
    result.log_probability = to_host(learned);
    auto loss = affine(mean(learned), -1.0f);
    for (auto const& routing : output.routings) loss = loss + affine(routing.balance, 0.3f);
    backward(loss);
    model.visit([&](auto& p) { result.gradients.push_back(to_host(p.gradient)); });
    return result;
}

/// Tokens of four prompts with a key cache, and the log-probabilities recorded with them.
template <class B>
std::vector<completion> generate(B& backend, decoder_config const& config) {
    decoder<B, float> model(backend, config, 1);
    grove_test::set_weights(model);
    std::vector<generation_request> requests;
    for (std::uint32_t i = 0; i < 4; ++i)
        requests.push_back({std::vector<std::int32_t>(1 + i, static_cast<std::int32_t>(i + 1)),
                            {.seed = 5, .stream = random_stream::rollout, .prompt = i}});
    return generator(
        model,
        {.sampling = {.top_p = 0.9}, .max_new_tokens = 9, .end_tokens = {0}, .max_batch = 3})(
        requests);
}

decoder_config const configs[] = {grove_test::dense_config(), grove_test::grouped_config()};

}  // namespace

TEST_CASE("thrust: a decoder acts and learns with the reference's bits") {
    reference_backend reference;
    thrust_backend<thrust_sequential> sequential;
    thrust_backend<thrust_tbb> single(1), two(2);
    for (auto const& config : configs) {
        CAPTURE(config.n_routed_experts);
        auto const expected = learn(reference, config);
        REQUIRE(expected.gradients.size() > 10);
        REQUIRE(expected.experts.empty() == (config.n_routed_experts == 0));
        CHECK(expected.log_probability == expected.acting_log_probability);
        CHECK(learn(sequential, config) == expected);
        CHECK(learn(single, config) == expected);
        CHECK(learn(two, config) == expected);
    }
}

TEST_CASE("thrust: a decoder generates with a key cache as on the reference") {
    reference_backend reference;
    thrust_backend<thrust_tbb> threads(2);
    for (auto const& config : configs) {
        CAPTURE(config.n_routed_experts);
        auto const expected = generate(reference, config);
        auto const completions = generate(threads, config);
        REQUIRE(completions.size() == expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
            CHECK(!completions[i].tokens.empty());
            CHECK(completions[i].tokens == expected[i].tokens);
            CHECK(completions[i].log_probability == expected[i].log_probability);
            CHECK(completions[i].kept.tokens == expected[i].kept.tokens);
        }
    }
}
