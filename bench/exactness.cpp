// SPDX-License-Identifier: Apache-2.0
// What it costs that acting equals learning. Dense and grouped-query models pay nothing: their
// exact kernels are the only ones (bench/product.cpp holds them against Eigen's). Latent attention
// has two associations of its products, either of which acts and learns with the same bits:
// `absorbed` keeps latents, `expanded` keeps keys and values. What one of them costs against the
// faster of the two, in learning and in sampling, is the price of exactness.
#include <benchmark/benchmark.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/rl/differentiable.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/train/language_policy.hpp"

namespace {

using grove::index_t;
using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

// DeepSeek-V3's proportions: a latent four times as wide as a head's unrotated columns.
grove::decoder_config latent_config(index_t rank) {
    return {.vocab_size = 512,
            .intermediate_size = 683,
            .max_position_embeddings = 1024,
            .rope_interleave = true,
            .kv_lora_rank = rank,
            .q_lora_rank = 128,
            .qk_nope_head_dim = 32,
            .qk_rope_head_dim = 16,
            .v_head_dim = 32};
}
std::vector<grove::response> responses(index_t tokens) {
    grove::random_sequence random({.seed = 2});
    std::vector<grove::response> batch(static_cast<std::size_t>(4096 / tokens));
    for (auto& r : batch) {
        r.prompt = {static_cast<std::int32_t>(random.integer(0, 511))};
        for (index_t i = 0; i < tokens; ++i)
            r.tokens.push_back(static_cast<std::int32_t>(random.integer(0, 511)));
    }
    return batch;
}

// Forward and backward on 4096 tokens. Arguments: rank of the latent, tokens of a sequence,
// expanded, recomputed.
void learn(benchmark::State& state) {
    backend b;
    model m(b, latent_config(state.range(0)), 1);
    auto const batch = grove::language_batch::of(responses(state.range(1)));
    grove::language_forward<backend, float> const forward(
        m, 1.0, 0.0, nullptr,
        {.recompute = state.range(3) != 0, .expand_latents = state.range(2) != 0});
    auto const step = [&] {
        grove::autodiff<backend> tape(b);
        grove::backward(grove::mean(forward(tape, batch).log_probability));
        m.visit([](auto& p) { p.clear_gradient(); });
    };
    step();
    for (auto _ : state) step();
    state.counters["tokens/s"] =
        benchmark::Counter(4096, benchmark::Counter::kIsIterationInvariantRate);
}
// 64 sequences of `tokens` tokens, 16 of them the prompt's. Arguments: rank of the latent, 0 for
// grouped queries; tokens; expanded.
void sample(benchmark::State& state) {
    backend b;
    auto config = latent_config(state.range(0));
    if (state.range(0) == 0) config.q_lora_rank = 0;
    model m(b, config, 1);
    index_t const generated = state.range(1) - 16;
    grove::generator<backend, float> engine(
        m, {.max_new_tokens = generated, .expand_latents = state.range(2) != 0});
    std::vector<grove::generation_request> requests;
    for (std::uint32_t i = 0; i < 64; ++i)
        requests.push_back(
            {std::vector<std::int32_t>(16, static_cast<std::int32_t>(i)), {.prompt = i}});
    engine(requests);
    for (auto _ : state) benchmark::DoNotOptimize(engine(requests).size());
    state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(64 * generated),
                                                    benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(learn)
    ->ArgNames({"rank", "tokens", "expanded", "recomputed"})
    ->ArgsProduct({{128}, {64, 256, 1024}, {0, 1}, {0}})
    ->ArgsProduct({{128}, {256}, {0, 1}, {1}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(sample)
    ->ArgNames({"rank", "tokens", "expanded"})
    ->ArgsProduct({{128}, {64, 256, 1024}, {0, 1}})
    ->Args({0, 256, 0})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
