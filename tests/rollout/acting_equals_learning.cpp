// SPDX-License-Identifier: Apache-2.0
// The promise that the importance ratio is exactly 1 before the first step: what the sampler
// records is, bit for bit, what the trainer computes for the same tokens.
#include <doctest/doctest.h>

#include "grove/ops/lm_head.hpp"
#include "small_model.hpp"

using namespace grove;
using grove_test::model_type;

namespace {

/// The trainer's log-probabilities of all completions, on the model's backend or on a tape.
template <class On>
std::vector<float> learned(On& on, model_type const& model, sampling_options const& sampling,
                           std::vector<generation_request> const& asked,
                           std::vector<completion> const& made, index_t chunk) {
    std::vector<std::vector<std::int32_t>> sequences;
    std::vector<std::int32_t> rows, targets;
    auto const temperature = static_cast<float>(sampling.recorded_temperature());
    head_options<float> head{.temperature = temperature, .kept = {}, .chunk = chunk};
    if (!made[0].kept.all()) head.kept.offsets = {0};
    std::int32_t first = 0;
    for (std::size_t r = 0; r < asked.size(); ++r) {
        auto& sequence = sequences.emplace_back(asked[r].prompt);
        auto const& c = made[r];
        for (std::size_t t = 0; t < c.tokens.size(); ++t) {
            rows.push_back(first + static_cast<std::int32_t>(sequence.size()) - 1);
            targets.push_back(c.tokens[t]);
            sequence.push_back(c.tokens[t]);
            if (c.kept.all()) continue;
            auto const kept = c.kept.tokens.begin();
            head.kept.tokens.insert(head.kept.tokens.end(), kept + c.kept.offsets[t],
                                    kept + c.kept.offsets[t + 1]);
            head.kept.offsets.push_back(static_cast<std::int32_t>(head.kept.tokens.size()));
        }
        first += static_cast<std::int32_t>(sequence.size());
    }
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    auto const hidden = model.forward(on, batch, keys).hidden;
    auto const logits = [&](auto const& x) { return model.logits(x); };
    return to_host(lm_head(gather_rows(hidden, indices_from(on, rows)), logits, targets, head)[0]);
}

}  // namespace

TEST_CASE("the sampler records the trainer's log-probabilities, bit for bit") {
    eigen_backend backend(2);
    auto const asked = grove_test::requests(8);
    for (auto config : grove_test::every_config()) {
        config.tie_word_embeddings = config.n_routed_experts > 0;
        CAPTURE(config.n_routed_experts);
        model_type const model(backend, config, 7);
        for (sampling_options const& sampling :
             {sampling_options{},
              {.temperature = 0.6},
              {.temperature = 0},
              {.top_p = 0.9},
              {.temperature = 0.6, .top_p = 0.9},
              {.top_k = 5},
              {.min_p = 0.1},
              {.temperature = 0.6, .top_k = 20, .top_p = 0.9, .min_p = 0.05}}) {
            CAPTURE(sampling.temperature);
            CAPTURE(sampling.top_k);
            CAPTURE(sampling.top_p);
            CAPTURE(sampling.min_p);
            auto const made = generator(model, {.sampling = sampling,
                                                .max_new_tokens = 14,
                                                .end_tokens = {3, 17},
                                                .max_batch = 5})(asked);
            std::vector<float> recorded;
            for (auto const& c : made)
                recorded.insert(recorded.end(), c.log_probability.begin(), c.log_probability.end());
            REQUIRE(recorded.size() > 40);
            bool const greedy = sampling.temperature == 0;
            CHECK(made[0].kept.all() == (greedy || !sampling.truncates()));

            CHECK(learned(backend, model, sampling, asked, made, 1024) == recorded);
            autodiff<eigen_backend> tape(backend);
            CHECK(learned(tape, model, sampling, asked, made, 7) == recorded);
        }
    }
}
