// SPDX-License-Identifier: Apache-2.0
// Training and sampling on the model of the PyTorch peer: vocabulary 512, width 256, 4 layers, 4
// heads.
//
// The peer's block with GELU has 8 · width² weights in its MLP; ours with SwiGLU has as many
// multiply-adds at intermediate_size 683. `swiglu` (1024, three matrices) is the peer's --mlp
// swiglu.
#include <benchmark/benchmark.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/train/supervised.hpp"

namespace {

using grove::index_t;
using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

grove::decoder_config config(index_t width, bool experts) {
    grove::decoder_config c{.vocab_size = 512, .intermediate_size = width};
    if (experts) {  // as many multiply-adds a token: 3 routed of 8 and a shared one, a quarter as
                    // wide each
        c.n_routed_experts = 8;
        c.num_experts_per_tok = 3;
        c.moe_intermediate_size = (width + 3) / 4;
    }
    return c;
}
void report(benchmark::State& state, backend const& b, double tokens) {
    state.counters["tokens/s"] =
        benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["fresh"] = static_cast<double>(b.fresh_allocations());
}

// Forward, backward, clipping and AdamW on 16 sequences of 256 tokens. Arguments: width, experts,
// threads.
void train(benchmark::State& state) {
    backend b(static_cast<int>(state.range(2)));
    model m(b, config(state.range(0), state.range(1) != 0), 1);
    grove::supervised_trainer<backend, float> trainer(m, {});
    grove::random_sequence random({.seed = 2});
    std::vector<grove::response> batch(16);
    for (auto& r : batch) {
        r.prompt = {static_cast<std::int32_t>(random.integer(0, 511))};
        for (int i = 0; i < 256; ++i)
            r.tokens.push_back(static_cast<std::int32_t>(random.integer(0, 511)));
    }
    trainer.step(batch, 3e-4);
    for (auto _ : state) benchmark::DoNotOptimize(trainer.step(batch, 3e-4).loss);
    report(state, b, 16 * 256);
}
// 128 new tokens behind prompts of 16, sampled at temperature 1. Arguments: width, experts,
// threads, batch.
void sample(benchmark::State& state) {
    backend b(static_cast<int>(state.range(2)));
    model m(b, config(state.range(0), state.range(1) != 0), 1);
    auto const batch = static_cast<std::uint32_t>(state.range(3));
    grove::generation_options options;
    options.max_new_tokens = 128;
    options.max_batch = batch;
    grove::generator<backend, float> engine(m, options);
    std::vector<grove::generation_request> requests;
    grove::random_sequence random({.seed = 3});
    for (std::uint32_t i = 0; i < batch; ++i) {
        std::vector<std::int32_t> prompt;
        for (int t = 0; t < 16; ++t)
            prompt.push_back(static_cast<std::int32_t>(random.integer(0, 511)));
        requests.push_back({prompt, {.prompt = i}});
    }
    engine(requests);
    for (auto _ : state) benchmark::DoNotOptimize(engine(requests).size());
    report(state, b, static_cast<double>(batch) * 128);
}
BENCHMARK(train)
    ->ArgNames({"width", "experts", "threads"})
    ->ArgsProduct({{683, 1024}, {0}, {1, 2}})
    ->Args({683, 1, 2})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(sample)
    ->ArgNames({"width", "experts", "threads", "batch"})
    ->ArgsProduct({{683, 1024}, {0}, {1, 2}, {64}})
    ->Args({683, 1, 2, 64})
    ->Args({683, 0, 1, 1})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
