// SPDX-License-Identifier: Apache-2.0
#include "grove/rollout/generate.hpp"

#include <doctest/doctest.h>

#include <set>
#include <stdexcept>
#include <string>

#include "../thrown.hpp"
#include "small_model.hpp"

using namespace grove;
using grove_test::model_type;
using grove_test::requests;
using grove_test::same;

namespace {

using tokens = std::vector<std::int32_t>;

/// Truncated sampling, with two end tokens so that completions have many lengths.
generation_options const usual{
    .sampling = {.temperature = 0.9, .top_p = 0.95}, .max_new_tokens = 20, .end_tokens = {3, 17}};

/// `text` up to and including the first place where `ends(i)` holds.
template <class Ends>
tokens cut(tokens text, Ends ends) {
    for (std::size_t i = 0; i < text.size(); ++i)
        if (ends(i)) text.resize(i + 1);
    return text;
}

template <class Error>
std::string message(generator<eigen_backend, float>& engine,
                    std::vector<generation_request> const& asked) {
    return grove_test::message_of<Error>([&] { engine(asked); });
}

}  // namespace

TEST_CASE("a completion depends on its request alone") {
    eigen_backend backend(1), threaded(2);
    for (auto const& config : grove_test::every_config()) {
        model_type const model(backend, config, 7), twin(threaded, config, 7);
        auto const asked = requests(11);
        auto const expected = generator(model, usual)(asked);
        std::set<std::size_t> lengths;
        for (auto const& c : expected) lengths.insert(c.tokens.size());
        REQUIRE(lengths.size() > 3);  // or slots would not become free one by one

        CHECK(same(generator(twin, usual)(asked), expected));
        for (index_t max_batch : {1, 3, 8}) {
            auto options = usual;
            options.max_batch = max_batch;
            CHECK(same(generator(model, options)(asked), expected));
            options.prefill_tokens = max_batch * 4;
            CHECK(same(generator(twin, options)(asked), expected));
        }
        auto const reversed = generator(model, usual)({asked.rbegin(), asked.rend()});
        CHECK(same({reversed.rbegin(), reversed.rend()}, expected));
        CHECK(same(generator(model, usual)({asked[4]}), {expected[4]}));
    }
}

TEST_CASE("other keys make other completions") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::dense_config(), 7);
    auto const prompt = requests(1)[0];
    std::vector<generation_request> samples(6, prompt);
    for (std::uint32_t i = 0; i < 6; ++i) samples[i].key.sample = i / 2;
    auto const made = generator(model, usual)(samples);
    CHECK(same(made[0], made[1]));
    CHECK(same(made[4], made[5]));
    CHECK_FALSE(same(made[0], made[2]));
    CHECK_FALSE(same(made[2], made[4]));
}

TEST_CASE("end tokens, stop sequences and lengths end a completion") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::dense_config(), 7);
    auto const asked = requests(6);
    auto const free = generator(model, {.max_new_tokens = 24})(asked);
    for (auto const& c : free) {
        CHECK(c.tokens.size() == 24);
        CHECK(c.log_probability.size() == 24);
        CHECK(c.kept.all());
        CHECK(c.reason == finish_reason::length);
    }
    auto const& text = free[0].tokens;
    tokens const ends{text[9], text[13]};
    auto const ended = generator(model, {.max_new_tokens = 24, .end_tokens = ends})(asked);
    tokens const stop{text[6], text[7], text[8]};
    auto const stopped =
        generator(model, {.max_new_tokens = 24, .stop_sequences = {{99}, stop}})(asked);
    for (std::size_t r = 0; r < asked.size(); ++r) {
        auto const& whole = free[r].tokens;
        auto const is_end = [&](std::size_t i) {
            return whole[i] == ends[0] || whole[i] == ends[1];
        };
        CHECK(ended[r].tokens == cut(whole, is_end));
        bool const has_end = is_end(ended[r].tokens.size() - 1);
        CHECK(ended[r].reason == (has_end ? finish_reason::end : finish_reason::length));

        auto const is_stop = [&](std::size_t i) {
            return i >= 2 && std::equal(stop.rbegin(), stop.rend(),
                                        whole.rend() - static_cast<std::ptrdiff_t>(i) - 1);
        };
        CHECK(stopped[r].tokens == cut(whole, is_stop));
        bool const has_stop = is_stop(stopped[r].tokens.size() - 1);
        CHECK(stopped[r].reason == (has_stop ? finish_reason::stop : finish_reason::length));
    }
    CHECK(ended[0].reason == finish_reason::end);
    CHECK(stopped[0].reason == finish_reason::stop);
    // An end token is an end even as the last one allowed.
    index_t const at = static_cast<index_t>(ended[0].tokens.size());
    CHECK(generator(model, {.max_new_tokens = at, .end_tokens = ends})(asked)[0].reason ==
          finish_reason::end);
    CHECK(name(finish_reason::end) == "end");
    CHECK(name(finish_reason::stop) == "stop");
    CHECK(name(finish_reason::length) == "length");
}

TEST_CASE("prompt and completion fit the model's positions together") {
    eigen_backend backend(1);
    auto config = grove_test::dense_config();
    config.max_position_embeddings = 16;
    model_type const model(backend, config, 7);
    generator engine(model, {.max_new_tokens = 100});
    std::vector<generation_request> asked{{tokens(15, 2), {}}, {tokens(10, 3), {}}};
    auto const made = engine(asked);
    CHECK(made[0].tokens.size() == 1);
    CHECK(made[1].tokens.size() == 6);
    CHECK(made[1].reason == finish_reason::length);
    auto whole = asked[1].prompt;
    whole.insert(whole.end(), made[1].tokens.begin(), made[1].tokens.end());
    auto const batch = packed_tokens::of({whole});
    fresh_keys keys{batch.layout};
    CHECK_NOTHROW(model.forward(backend, batch, keys));

    asked[0].prompt.push_back(2);
    CHECK(message<shape_error>(engine, asked) ==
          "[generate] expected prompts shorter than 16 tokens, got 16");
}

TEST_CASE("bad requests are refused, and the generator goes on") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::dense_config(), 7);
    generator engine(model, usual);
    auto const asked = requests(5);
    auto const expected = engine(asked);
    CHECK(engine({}).empty());
    CHECK(message<value_error>(engine, {{{1}, {}}, {{}, {}}}) ==
          "[generate] expected a prompt of at least one token, got none");
    CHECK(message<value_error>(engine, {{{1, 53}, {}}}) ==
          "[decoder] expected token ids in [0, 53), got 53 at 1");
    CHECK(same(engine(asked), expected));

    generator fresh(model, usual);  // a call without requests comes first
    CHECK(fresh({}).empty());
    CHECK(same(fresh(asked), expected));
}

TEST_CASE("on_token sees every token, and may throw") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::dense_config(), 7);
    auto options = usual;
    options.max_batch = 2;
    generator engine(model, options);
    auto const asked = requests(5);
    auto const expected = engine(asked);

    std::vector<tokens> seen(asked.size());
    auto const made = engine(asked, [&](std::size_t request, completion const& so_far) {
        seen[request].push_back(so_far.tokens.back());
        CHECK(seen[request] == so_far.tokens);
        CHECK(so_far.log_probability.size() == so_far.tokens.size());
    });
    CHECK(same(made, expected));
    for (std::size_t r = 0; r < asked.size(); ++r) CHECK(seen[r] == expected[r].tokens);

    for (int limit : {1, 2, 7}) {
        int calls = 0;
        auto const interrupt = [&](std::size_t, completion const&) {
            if (++calls == limit) throw std::runtime_error("enough");
        };
        CHECK_THROWS_WITH(engine(asked, interrupt), "enough");
        CHECK(same(engine(asked), expected));
    }
}

TEST_CASE("generating again takes no memory from the system") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::moe_config(), 7);
    generator engine(model, usual);
    auto const asked = requests(6);
    engine(asked);
    auto const before = backend.fresh_allocations();
    engine(asked);
    CHECK(backend.fresh_allocations() == before);
    engine(requests(9));  // more at a time needs a larger cache
    CHECK(backend.fresh_allocations() > before);
}

TEST_CASE("generation options outside their ranges are refused") {
    eigen_backend backend(1);
    model_type const model(backend, grove_test::dense_config(), 7);
    auto const refuse = [&](generation_options const& options) {
        CHECK_THROWS_AS(generator(model, options), configuration_error);
    };
    refuse({.sampling = {.top_p = 2}});
    refuse({.max_new_tokens = 0});
    refuse({.max_batch = 0});
    refuse({.prefill_tokens = 0});
    refuse({.stop_sequences = {{1}, {}}});
    CHECK_THROWS_WITH(generation_options{.max_batch = -1}.validate(),
                      "[generation_options] expected positive max_new_tokens, max_batch and "
                      "prefill_tokens, got 64, -1, 8192");
}
