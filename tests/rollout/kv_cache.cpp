// SPDX-License-Identifier: Apache-2.0
#include "grove/rollout/kv_cache.hpp"

#include <doctest/doctest.h>

#include "grove/nn/decoder.hpp"
#include "small_model.hpp"

using namespace grove;

namespace {

using tokens = std::vector<std::int32_t>;

/// Hidden states of two sequences fed to slots 2 and 0 of a cache, in pieces of these sizes.
template <class B>
std::vector<float> cached(decoder<B, float> const& model, tokens const& first, tokens const& second,
                          std::size_t piece, pass_options const& options) {
    kv_cache<B, float> cache(model.backend(), model.config(), 3, 60, options.expand_latents);
    std::vector<float> a, b;
    for (std::size_t at = 0; at < std::max(first.size(), second.size()); at += piece) {
        cached_keys<B, float> keys(cache);
        packed_tokens batch;
        auto const feed = [&](index_t slot, tokens const& all) {
            auto const end = std::min(at + piece, all.size()), begin = std::min(at, end);
            keys.add(slot, static_cast<index_t>(begin), static_cast<index_t>(end - begin));
            for (std::size_t i = begin; i < end; ++i) {
                batch.tokens.push_back(all[i]);
                batch.positions.push_back(static_cast<std::int32_t>(i));
            }
            return static_cast<long>((end - begin)) * model.config().hidden_size;
        };
        auto const split = feed(2, first);
        feed(0, second);
        batch.layout = keys.layout();
        auto const hidden = to_host(model.forward(model.backend(), batch, keys, options).hidden);
        a.insert(a.end(), hidden.begin(), hidden.begin() + split);
        b.insert(b.end(), hidden.begin() + split, hidden.end());
    }
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

template <class B>
void check_same_bits(B& backend, decoder_config const& config, pass_options const& options = {}) {
    decoder<B, float> const model(backend, config, 4);
    tokens first, second;
    for (std::int32_t i = 0; i < 51; ++i) first.push_back(i * i % 53);
    for (std::int32_t i = 0; i < 37; ++i) second.push_back((i * 7 + 1) % 53);
    auto const batch = packed_tokens::of({first, second});
    fresh_keys keys{batch.layout};
    auto const expected = to_host(model.forward(backend, batch, keys, options).hidden);
    for (std::size_t piece : {1, 5, 33, 60})
        CHECK(cached(model, first, second, piece, options) == expected);
}

}  // namespace

TEST_CASE("cached keys give the bits of fresh keys, however the tokens are cut") {
    reference_backend reference;
    eigen_backend eigen(2);
    check_same_bits(reference, grove_test::dense_config());
    for (auto const& config : grove_test::every_config()) check_same_bits(eigen, config);
    check_same_bits(reference, grove_test::latent_config());
    check_same_bits(eigen, grove_test::latent_config(), {.expand_latents = true});
}

TEST_CASE("latent attention keeps its latents, or keys and values where it expands them") {
    eigen_backend backend(1);
    auto const config = grove_test::latent_config();
    decoder<eigen_backend, float> const model(backend, config, 4);
    kv_cache<eigen_backend, float> latents(backend, config, 1, 8);
    kv_cache<eigen_backend, float> expanded(backend, config, 1, 8, true);
    index_t const heads = config.num_attention_heads;
    CHECK(latents.keys(0).columns() == config.kv_lora_rank + config.qk_rope_head_dim);
    CHECK(expanded.keys(0).columns() ==
          heads * (config.qk_nope_head_dim + config.qk_rope_head_dim));
    CHECK(expanded.values(0).columns() == heads * config.v_head_dim);

    packed_tokens batch = packed_tokens::of({{1, 2}});
    for (auto* cache : {&latents, &expanded}) {
        cached_keys<eigen_backend, float> keys(*cache);
        keys.add(0, 0, 2);
        CHECK_THROWS_AS(model.forward(backend, batch, keys, {.expand_latents = cache == &latents}),
                        shape_error);
    }
}

TEST_CASE("a slot takes no more tokens than it has room for") {
    eigen_backend backend(1);
    kv_cache<eigen_backend, float> cache(backend, grove_test::dense_config(), 2, 10);
    CHECK(cache.capacity() == 10);
    CHECK(cache.keys(1).extents() == shape{20, 20});
    cached_keys<eigen_backend, float> keys(cache);
    keys.add(1, 7, 3);
    CHECK(keys.layout().key_first == tokens{10});
    CHECK(keys.layout().key_counts == tokens{10});
    CHECK_THROWS_WITH_AS(keys.add(0, 8, 3),
                         "[cached_keys] expected at most 10 tokens in a slot, got 11", shape_error);
}
