// SPDX-License-Identifier: Apache-2.0
// On CUDA too the importance ratio is exactly 1 before the first step: what is recorded while
// tokens are drawn one by one, with a key cache, has the bits of one packed pass over all of them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "../instances/decoder_cuda.hpp"
#include "../nn/small_decoder.hpp"
#include "../thrown.hpp"
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
/// Log-probabilities of all completions in one pass, over what sampling kept.
std::vector<float> evaluated(model_type const& model, std::vector<generation_request> const& asked,
                             std::vector<completion> const& made, double temperature) {
    std::vector<std::vector<std::int32_t>> sequences;
    kept_tokens kept;
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
        for (std::size_t t = 1; t < made[r].kept.offsets.size(); ++t) {
            if (kept.all()) kept.offsets = {0};
            auto const set = made[r].kept.rows(static_cast<index_t>(t) - 1, 1).tokens;
            kept.tokens.insert(kept.tokens.end(), set.begin(), set.end());
            kept.offsets.push_back(static_cast<std::int32_t>(kept.tokens.size()));
        }
    }
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    auto& backend = model.backend();
    auto const hidden = model.forward(backend, batch, keys).hidden;
    return to_host(lm_head(gather_rows(hidden, indices_from(backend, rows)),
                           [&](auto const& x) { return model.logits(x); }, targets,
                           {static_cast<float>(temperature), kept})[0]);
}

bool same(completion const& a, completion const& b) {
    return a.tokens == b.tokens && a.log_probability == b.log_probability &&
           a.kept.tokens == b.kept.tokens && a.kept.offsets == b.kept.offsets &&
           a.reason == b.reason;
}

}  // namespace

TEST_CASE("cuda: in every precision the sampler records the bits of a packed pass") {
    auto const asked = requests(64);
    std::vector<sampling_options> const samplings{
        {}, {.temperature = 0.7, .top_p = 0.9}, {.top_k = 5, .min_p = 0.1}};
    for (auto precision :
         {product_precision::float32, product_precision::tf32, product_precision::bf16})
        for (auto const& config : {grove_test::dense_config(), grove_test::grouped_config(),
                                   grove_test::latent_config(true)})
            for (auto const& sampling : samplings) {
                CAPTURE(static_cast<int>(precision));
                CAPTURE(config.n_routed_experts);
                CAPTURE(config.kv_lora_rank);
                CAPTURE(sampling.top_k);
                cuda_backend backend({.precision = precision});
                model_type model(backend, config, 1);
                grove_test::set_weights(model);
                auto const made = generator(model, {.sampling = sampling,
                                                    .max_new_tokens = 9,
                                                    .end_tokens = {0},
                                                    .max_batch = 40})(asked);
                std::vector<float> recorded;
                bool truncated = false;
                for (auto const& c : made) {
                    recorded.insert(recorded.end(), c.log_probability.begin(),
                                    c.log_probability.end());
                    truncated = truncated || !c.kept.all();
                }
                CHECK(truncated == sampling.truncates());
                REQUIRE(recorded.size() > 100);
                auto const expected = evaluated(model, asked, made, sampling.temperature);
                REQUIRE(expected.size() == recorded.size());
                CHECK(std::memcmp(expected.data(), recorded.data(),
                                  recorded.size() * sizeof(float)) == 0);
            }
}

TEST_CASE("cuda: a completion is the same alone and among others, and when asked again") {
    cuda_backend backend;
    auto const asked = requests(48);
    model_type model(backend, grove_test::grouped_config(), 1);
    grove_test::set_weights(model);
    generator engine(model, {.sampling = {.temperature = 1.2, .top_p = 0.95},
                             .max_new_tokens = 9,
                             .end_tokens = {0},
                             .max_batch = 48});
    auto const together = engine(asked);
    for (std::size_t i : {std::size_t{0}, std::size_t{17}, std::size_t{47}}) {
        auto const alone = engine({asked[i]})[0];
        CHECK(alone.tokens == together[i].tokens);
        CHECK(alone.log_probability == together[i].log_probability);
        CHECK(alone.kept.tokens == together[i].kept.tokens);
    }
}

TEST_CASE("cuda: recorded passes give the bits of eager ones, and are taken where they can be") {
    cuda_backend backend;
    static_assert(records_passes<cuda_backend, float>);
    auto const asked = requests(48);
    for (auto const& config : {grove_test::dense_config(), grove_test::grouped_config(),
                               grove_test::latent_config(true)}) {
        model_type model(backend, config, 1);
        grove_test::set_weights(model);
        for (auto const& sampling :
             {sampling_options{}, {.temperature = 0.7, .top_p = 0.9}, {.temperature = 0.0}}) {
            generation_options options{
                .sampling = sampling, .max_new_tokens = 9, .end_tokens = {0}};
            options.max_batch = 20;  // finished sequences make room: passes of both kinds
            generator recorded(model, options);
            options.graphs = false;
            generator eager(model, options);
            auto const expected = eager(asked);
            CHECK(eager.report().graph_launches == 0);
            CHECK(eager.report().without_graphs == "the options say so");
            for (int call = 0; call < 3; ++call) {
                auto const got = recorded(asked);
                CHECK(recorded.report().graph_launches > 0);
                CHECK(recorded.report().without_graphs.empty());
                REQUIRE(got.size() == expected.size());
                for (std::size_t i = 0; i < got.size(); ++i) {
                    CHECK(got[i].tokens == expected[i].tokens);
                    CHECK(got[i].log_probability == expected[i].log_probability);
                    CHECK(got[i].kept.tokens == expected[i].kept.tokens);
                    CHECK(got[i].kept.offsets == expected[i].kept.offsets);
                }
            }
        }
    }
}

TEST_CASE("cuda: passes that are queued ahead give the bits of passes that wait") {
    std::vector<sampling_options> const samplings{
        {}, {.temperature = 0.7, .top_p = 0.9}, {.temperature = 0.0}, {.top_k = 3}};
    for (auto precision : {product_precision::float32, product_precision::bf16})
        for (auto config : {grove_test::dense_config(), grove_test::grouped_config()}) {
            config.max_position_embeddings = 40;
            cuda_backend backend({.precision = precision});
            model_type model(backend, config, 1);
            grove_test::set_weights(model);
            for (auto const& sampling : samplings)
                for (bool long_prompts : {false, true}) {
                    auto asked = requests(24);
                    if (!long_prompts)
                        for (auto& request : asked) request.prompt.resize(1);
                    // Some end with a token or a sequence, others where the cache is full.
                    generation_options options{.sampling = sampling,
                                               .max_new_tokens = 60,
                                               .end_tokens = {0},
                                               .stop_sequences = {{2, 3}, {5, 5, 1}}};
                    options.graphs = false;
                    auto const expected = generator(model, options)(asked);
                    options.graphs = true;
                    options.prefill_tokens = 5;
                    for (index_t max_batch : {1, 3, 10, 32}) {
                        options.max_batch = max_batch;
                        generator ahead(model, options);
                        for (int call = 0; call < 2; ++call) {
                            std::vector<std::vector<std::int32_t>> seen(asked.size());
                            auto const got =
                                ahead(asked, [&](std::size_t request, completion const& so_far) {
                                    seen[request].push_back(so_far.tokens.back());
                                    CHECK(seen[request].size() == so_far.tokens.size());
                                });
                            for (std::size_t i = 0; i < got.size(); ++i) {
                                CAPTURE(i);
                                CHECK(same(got[i], expected[i]));
                                CHECK(seen[i] == expected[i].tokens);
                            }
                        }
                        CHECK(ahead.report().graph_launches > 0);
                    }
                }
        }
}

TEST_CASE("cuda: without others that wait, tokens are seen in the order of passes that wait") {
    cuda_backend backend;
    model_type model(backend, grove_test::dense_config(), 1);
    grove_test::set_weights(model);
    auto const asked = requests(16);
    generation_options options{.max_new_tokens = 12, .end_tokens = {0, 4}};
    using seen = std::vector<std::pair<std::size_t, std::int32_t>>;
    auto const order = [&] {
        seen y;
        generator(model, options)(asked, [&](std::size_t request, completion const& so_far) {
            y.emplace_back(request, so_far.tokens.back());
        });
        return y;
    };
    auto const ahead = order();
    options.graphs = false;
    CHECK(ahead == order());
}

TEST_CASE("cuda: an exception with a pass under way leaves the generator fit for the next call") {
    cuda_backend backend;
    model_type model(backend, grove_test::dense_config(), 1);
    grove_test::set_weights(model);
    auto asked = requests(16);
    for (auto& request : asked)
        for (auto& token : request.prompt) token %= 5;
    generation_options const options{.max_new_tokens = 12, .end_tokens = {0}, .max_batch = 8};
    auto engine = std::make_unique<generator<cuda_backend, float>>(model, options);
    auto const expected = (*engine)(asked);
    for (int limit : {1, 2, 9, 23, 60}) {
        int calls = 0;
        auto const interrupt = [&](std::size_t, completion const&) {
            if (++calls == limit) throw std::runtime_error("enough");
        };
        CHECK_THROWS_WITH((*engine)(asked, interrupt), "enough");
        if (limit == 9) engine = std::make_unique<generator<cuda_backend, float>>(model, options);
        auto const got = (*engine)(asked);
        for (std::size_t i = 0; i < got.size(); ++i) CHECK(same(got[i], expected[i]));
    }
    // Token 5 leads to logits that are no numbers, once it has been drawn and is fed.
    cuda_backend::buffer<float> embedding;
    model.visit([&](auto& p) {
        if (p.name.find("embed_tokens") != std::string::npos) embedding = p.value.buffer();
    });
    std::vector<float> sound(7 * 8);
    backend.download(embedding, std::span(sound));
    auto broken = sound;
    broken[5 * 8] = std::nanf("");
    for (int call = 0; call < 2; ++call) {
        backend.assign(embedding, std::span<float const>(broken));
        CHECK(grove_test::message_of<value_error>([&] { (*engine)(asked); }) ==
              "[sampler] expected logits without NaN, got one at 0");
        backend.assign(embedding, std::span<float const>(sound));
        auto const got = (*engine)(asked);
        for (std::size_t i = 0; i < got.size(); ++i) CHECK(same(got[i], expected[i]));
    }
}

TEST_CASE("cuda: what is fetched arrives as it was, whatever is queued behind it") {
    cuda_backend b;
    index_t const size = 1 << 20;
    std::vector<std::int32_t> const ones(size, 1), twos(size, 2);
    auto x = b.upload(std::span<std::int32_t const>(ones));
    cuda_backend::arrival<std::int32_t> first, second;
    b.fetch(b.slice(x, 0, 3), second);  // forgotten
    b.fetch(x, first);
    b.assign(x, std::span<std::int32_t const>(twos));
    b.fetch(b.slice(x, size - 5, 5), second);
    auto const was = b.await(first), is = b.await(second);
    CHECK(std::vector(was.begin(), was.end()) == ones);
    CHECK(std::vector(is.begin(), is.end()) == std::vector<std::int32_t>(5, 2));
    b.gather(x, 1, b.upload(std::span<std::int32_t const>(std::vector<std::int32_t>{size})));
    b.fetch(x, first);
    CHECK_THROWS_AS(b.await(first), value_error);
    CHECK_NOTHROW(b.await(first));
}

TEST_CASE("cuda: recorded passes follow weights that move, and take no fresh memory") {
    cuda_backend backend;
    model_type model(backend, grove_test::grouped_config(), 1), other(backend, model.config(), 2);
    grove_test::set_weights(model);
    auto const asked = requests(16);
    generation_options options{.max_new_tokens = 9};
    generator recorded(model, options);
    options.graphs = false;
    generator eager(model, options);
    recorded(asked);
    recorded(asked);
    auto const fresh = backend.system().fresh_allocations();
    for (int call = 0; call < 5; ++call) recorded(asked);
    CHECK(backend.system().fresh_allocations() == fresh);
    model.copy_from(other);
    auto const got = recorded(asked), expected = eager(asked);
    for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(got[i].tokens == expected[i].tokens);
        CHECK(got[i].log_probability == expected[i].log_probability);
    }
}

TEST_CASE("cuda: why passes are not recorded is said") {
    cuda_backend backend, on_default_stream(cudaStream_t{nullptr});
    model_type model(backend, grove_test::grouped_config(), 1),
        other(on_default_stream, model.config(), 1);
    generator chosen(model, {.max_new_tokens = 3, .record_routing = true});
    chosen(requests(2));
    CHECK(chosen.report().without_graphs == "experts are recorded on the host");
    generator uncaptured(other, {.max_new_tokens = 3});
    uncaptured(requests(2));
    CHECK(uncaptured.report().without_graphs == "a default stream cannot be captured");
    CHECK(uncaptured.report().passes == 3);
}
