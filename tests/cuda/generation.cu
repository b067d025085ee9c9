// SPDX-License-Identifier: Apache-2.0
// On CUDA too the importance ratio is exactly 1 before the first step: what is recorded while
// tokens are drawn one by one, with a key cache, has the bits of one packed pass over all of them.
#include <doctest/doctest.h>

#include <cstring>

#include "../nn/small_decoder.hpp"
#include "grove/backend/cuda/cuda.hpp"
#include "grove/rollout/generate.hpp"

using namespace grove;

namespace {

using model_type = decoder<cuda_backend, float>;

std::vector<generation_request> requests(std::uint32_t count) {
    std::vector<generation_request> y;
    for (std::uint32_t i = 0; i < count; ++i)
        y.push_back({std::vector<std::int32_t>(1 + i % 4, static_cast<std::int32_t>(i % 7)),
                     {.seed = 5, .stream = random_stream::rollout, .prompt = i}});
    return y;
}
/// Log-probabilities of all completions in one pass.
std::vector<float> evaluated(model_type const& model, std::vector<generation_request> const& asked,
                             std::vector<completion> const& made) {
    std::vector<std::vector<std::int32_t>> sequences;
    std::vector<std::int32_t> rows, targets;
    std::int32_t first = 0;
    for (std::size_t r = 0; r < asked.size(); ++r) {
        auto& sequence = sequences.emplace_back(asked[r].prompt);
        for (auto token : made[r].tokens) {
            rows.push_back(first + static_cast<std::int32_t>(sequence.size()) - 1);
            targets.push_back(token);
            sequence.push_back(token);
        }
        first += static_cast<std::int32_t>(sequence.size());
    }
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    auto& backend = model.backend();
    auto const hidden = model.forward(backend, batch, keys).hidden;
    return to_host(lm_head(
        gather_rows(hidden, indices_from(backend, rows)),
        [&](auto const& x) { return model.logits(x); }, targets)[0]);
}

}  // namespace

TEST_CASE("cuda: the sampler records the bits of a packed pass") {
    cuda_backend backend;
    auto const asked = requests(64);
    for (auto const& config : {grove_test::dense_config(), grove_test::grouped_config(),
                               grove_test::latent_config(true)}) {
        CAPTURE(config.n_routed_experts);
        CAPTURE(config.kv_lora_rank);
        model_type model(backend, config, 1);
        grove_test::set_weights(model);
        auto const made =
            generator(model, {.max_new_tokens = 9, .end_tokens = {0}, .max_batch = 40})(asked);
        std::vector<float> recorded;
        for (auto const& c : made)
            recorded.insert(recorded.end(), c.log_probability.begin(), c.log_probability.end());
        REQUIRE(recorded.size() > 100);
        auto const expected = evaluated(model, asked, made);
        REQUIRE(expected.size() == recorded.size());
        CHECK(std::memcmp(expected.data(), recorded.data(), recorded.size() * sizeof(float)) == 0);
    }
}
