// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/train/state.hpp"
#include "grove/train/supervised.hpp"

namespace {

using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

grove::decoder_config const small{.vocab_size = 12,
                                  .hidden_size = 16,
                                  .intermediate_size = 24,
                                  .num_hidden_layers = 2,
                                  .num_attention_heads = 2,
                                  .num_key_value_heads = 2,
                                  .max_position_embeddings = 16,
                                  .initializer_range = 0.2};
// x behind x + 1, modulo 10.
std::vector<grove::response> counting() {
    std::vector<grove::response> all;
    for (std::int32_t x = 0; x < 10; ++x) all.push_back({{x}, {(x + 1) % 10, (x + 2) % 10, 11}});
    return all;
}

}  // namespace

TEST_CASE("supervised_trainer: fits what it is shown") {
    backend b(1);
    model m(b, small, 1);
    grove::supervised_trainer<backend, float> trainer(m, {});
    auto const first = trainer.step(counting(), 3e-3);
    CHECK(first.tokens == 30);
    CHECK(first.loss == doctest::Approx(std::log(12.0)).epsilon(0.2));
    double loss = 0;
    for (int i = 0; i < 150; ++i) loss = trainer.step(counting(), 3e-3).loss;
    CHECK(loss < 0.05);
}

TEST_CASE("supervised_trainer: prompts are not learned, packing does not mix sequences") {
    backend b(1);
    model m(b, small, 1);
    auto const all = counting();
    auto policy = grove::rl::differentiable<float>(b, grove::language_forward<backend, float>(m));
    auto const together = policy.evaluate(grove::language_batch::of(all), {}).log_probability;
    REQUIRE(together.size() == 30);
    for (std::size_t i = 0; i < all.size(); ++i) {
        auto const alone =
            policy.evaluate(grove::language_batch::of(std::vector{all[i]}), {}).log_probability;
        for (std::size_t t = 0; t < 3; ++t) CHECK(alone[t] == together[3 * i + t]);
    }
}

TEST_CASE("language_batch: kept tokens of several responses, and refusals") {
    using grove::response;
    auto const batch = grove::language_batch::of(
        std::vector<response>{{{1}, {2, 3}, {{0, 2, 3}, {2, 5, 3}}}, {{4, 5}, {6}, {{0, 1}, {6}}}});
    CHECK(batch.inputs.tokens == std::vector<std::int32_t>{1, 2, 4, 5});
    CHECK(batch.inputs.positions == std::vector<std::int32_t>{0, 1, 0, 1});
    CHECK(batch.rows == std::vector<std::int32_t>{0, 1, 3});
    CHECK(batch.targets == std::vector<std::int32_t>{2, 3, 6});
    CHECK(batch.offsets == std::vector<grove::index_t>{0, 2, 3});
    CHECK(batch.kept.offsets == std::vector<std::int32_t>{0, 2, 3, 4});
    CHECK(batch.kept.tokens == std::vector<std::int32_t>{2, 5, 3, 6});
    CHECK_THROWS_AS(grove::language_batch::of(std::vector<response>{{{}, {1}}}),
                    grove::value_error);
    CHECK_THROWS_AS(grove::language_batch::of(std::vector<response>{{{1}, {}}}),
                    grove::value_error);
    CHECK_THROWS_AS(
        grove::language_batch::of(std::vector<response>{{{1}, {2}, {{0, 1}, {2}}}, {{1}, {2}}}),
        grove::value_error);
}

TEST_CASE("micro_batches: cuts at the limit, at least one response each") {
    std::vector<grove::response> r{{{1, 1}, {1}}, {{1}, {1}}, {{1, 1, 1, 1}, {1, 1}}, {{1}, {1}}};
    CHECK(grove::micro_batches(r, 5) == std::vector<std::size_t>{0, 2, 3, 4});
    CHECK(grove::micro_batches(r, 1) == std::vector<std::size_t>{0, 1, 2, 3, 4});
    CHECK(grove::micro_batches(r, 100) == std::vector<std::size_t>{0, 4});
}
