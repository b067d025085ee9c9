// SPDX-License-Identifier: Apache-2.0
// Training and sampling on a CUDA device, beside what its tensor cores and its memory allow.
//
// `tiny` is the teaching model of the PyTorch peer (3.3 M parameters), `qwen` has the extents of
// Qwen2.5-0.5B. A training step is what GRPO does with a rollout: forward, loss with a KL term,
// backward, clipping and AdamW, on 64 x 256 or 8 x 1024 tokens. Precision 0 is float32, 1 TF32, 2
// bf16 operands; weights, activations and moments are float in all of them.
#include <benchmark/benchmark.h>

#include <chrono>

#include "grove/backend/cuda/cuda.hpp"
#include "grove/optim/adamw.hpp"
#include "grove/rl/loss.hpp"
#include "grove/rl/preset.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/train/language_policy.hpp"

namespace {

using grove::index_t;
using backend = grove::cuda_backend;
using model = grove::decoder<backend, float>;

// Of an H100: TFLOP/s dense in bf16, bytes/s of a copy.
constexpr double peak_flops = 989e12, peak_bytes = 3.35e12;

grove::decoder_config config(bool tiny) {
    grove::decoder_config c{.vocab_size = 512,
                            .hidden_size = 256,
                            .intermediate_size = 688,
                            .num_hidden_layers = 4,
                            .num_attention_heads = 4,
                            .num_key_value_heads = 4,
                            .max_position_embeddings = 1024,
                            .tie_word_embeddings = true};
    if (tiny) return c;
    c.vocab_size = 151936;
    c.hidden_size = 896;
    c.intermediate_size = 4864;
    c.num_hidden_layers = 24;
    c.num_attention_heads = 14;
    c.num_key_value_heads = 2;
    c.attention_bias = true;
    c.max_position_embeddings = 4096;
    return c;
}
// Multiply-adds of a token in products by weights.
double matrix_weights(grove::decoder_config const& c) {
    auto const h = static_cast<double>(c.hidden_size);
    auto const kv = static_cast<double>(c.num_key_value_heads * c.head_width());
    return static_cast<double>(c.num_hidden_layers) *
               (2 * h * (h + kv) + 3 * h * static_cast<double>(c.intermediate_size)) +
           h * static_cast<double>(c.vocab_size);
}
backend make_backend(benchmark::State const& state) {
    return backend({static_cast<grove::product_mode>(state.range(2)),
                    static_cast<grove::product_precision>(state.range(1))});
}
void report_memory(benchmark::State& state) {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    state.counters["GB"] = static_cast<double>(total - free) / 1e9;
}

// Responses with advantages, and the log-probabilities of two other policies.
struct rollout {
    std::vector<grove::response> responses;
    std::vector<float> old, reference, advantage;
    std::vector<index_t> offsets{0};

    rollout(index_t sequences, index_t tokens, index_t vocabulary) {
        grove::random_sequence random({.seed = 2});
        auto const token = [&] {
            return static_cast<std::int32_t>(random.integer(0, vocabulary - 1));
        };
        for (index_t s = 0; s < sequences; ++s) {
            grove::response r{{token()}, {}};
            for (index_t i = 0; i < tokens; ++i) {
                r.tokens.push_back(token());
                float const at = -std::log(static_cast<float>(vocabulary));
                old.push_back(at + 0.1f * static_cast<float>(random.integer(-10, 10)) / 10);
                reference.push_back(at + 0.1f * static_cast<float>(random.integer(-10, 10)) / 10);
            }
            responses.push_back(r);
            advantage.push_back(static_cast<float>(random.integer(-100, 100)) / 50);
            offsets.push_back(offsets.back() + tokens);
        }
    }
    grove::rl::token_batch<float> batch() const {
        return {.old_log_probability = old,
                .reference_log_probability = reference,
                .advantage = advantage,
                .offsets = offsets};
    }
};

// Arguments: tiny, precision, fast mode.
void train(benchmark::State& state) {
    bool const tiny = state.range(0) != 0;
    index_t const sequences = tiny ? 64 : 8, length = tiny ? 256 : 1024;
    auto b = make_backend(state);
    auto const c = config(tiny);
    model m(b, c, 1);
    rollout const data(sequences, length, c.vocab_size);
    auto const input = grove::language_batch::of(data.responses);
    auto const record = data.batch();
    grove::language_forward<backend, float> const forward(m, 1.0, 0.0, nullptr, {});
    grove::adamw<backend, float> optimizer;
    grove::rl::grpo const objective{.kl_coefficient = 0.04};
    auto const all = grove::rl::count(record);
    auto const step = [&] {
        grove::autodiff<backend> tape(b);
        auto const y = forward(tape, input);
        grove::backward(grove::rl::loss(objective, y.log_probability, record, all));
        benchmark::DoNotOptimize(optimizer.step(m, 1e-5));
    };
    for (int i = 0; i < 3; ++i) step();
    b.synchronize();
    double queued = 0;
    for (auto _ : state) {
        auto const start = std::chrono::steady_clock::now();
        step();
        queued += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        b.synchronize();
    }
    state.counters["queue_ms"] = queued * 1e3 / static_cast<double>(state.iterations());
    auto const tokens = static_cast<double>(sequences * length);
    double const flops =
        tokens * (6 * matrix_weights(c) +
                  6.0 * static_cast<double>(c.num_hidden_layers * c.hidden_size * length));
    using benchmark::Counter;
    state.counters["tokens/s"] = Counter(tokens, Counter::kIsIterationInvariantRate);
    state.counters["of_peak"] = Counter(flops / peak_flops, Counter::kIsIterationInvariantRate);
    report_memory(state);
}
// New tokens behind prompts of one (tiny: 128) or 64 (qwen: 256). Arguments: tiny, precision, fast
// mode, batch. The roofline reads all weights and the live keys once a token step.
void sample(benchmark::State& state) {
    bool const tiny = state.range(0) != 0;
    auto b = make_backend(state);
    auto const c = config(tiny);
    model m(b, c, 1);
    auto const batch = static_cast<std::uint32_t>(state.range(3));
    index_t const prompt = tiny ? 1 : 64, length = tiny ? 128 : 256;
    grove::generator<backend, float> engine(
        m, {.max_new_tokens = length, .max_batch = static_cast<index_t>(batch)});
    std::vector<grove::generation_request> requests;
    for (std::uint32_t i = 0; i < batch; ++i)
        requests.push_back(
            {std::vector<std::int32_t>(static_cast<std::size_t>(prompt), 7), {.prompt = i}});
    engine(requests);
    for (auto _ : state) benchmark::DoNotOptimize(engine(requests).size());
    double const bytes =
        4 * (matrix_weights(c) +
             batch * static_cast<double>(prompt + length / 2) * 2 *
                 static_cast<double>(c.num_hidden_layers * c.num_key_value_heads * c.head_width()));
    using benchmark::Counter;
    double const tokens = batch * static_cast<double>(length);
    state.counters["tokens/s"] = Counter(tokens, Counter::kIsIterationInvariantRate);
    state.counters["step_ms"] = Counter(static_cast<double>(length) * 1e-3,
                                        Counter::kIsIterationInvariantRate | Counter::kInvert);
    state.counters["of_bandwidth"] = Counter(bytes * static_cast<double>(length) / peak_bytes,
                                             Counter::kIsIterationInvariantRate);
    report_memory(state);
}

BENCHMARK(train)
    ->ArgNames({"tiny", "precision", "fast"})
    ->ArgsProduct({{1, 0}, {0, 1, 2}, {0, 1}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(sample)
    ->ArgNames({"tiny", "precision", "fast", "batch"})
    ->ArgsProduct({{1}, {0, 1}, {0, 1}, {256}})
    ->ArgsProduct({{0}, {0, 1}, {0, 1}, {1, 16, 128, 512}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
