// SPDX-License-Identifier: Apache-2.0
// Training, sampling and the language-model head on a CUDA device, beside what its tensor cores and
// its memory allow.
//
// Cases are train/MODEL/PRECISION/MODE, sample/MODEL/PRECISION/MODE/BATCH and
// head/forward|gradient/PRECISION/MODE; select with --benchmark_filter. A training step is what
// GRPO does with a rollout: forward, loss with a KL term, backward, clipping and AdamW. The head is
// log-probability and entropy of 8192 tokens, and their gradient by hidden states and by weight.
// Weights, activations and moments are float, whatever the products round their operands to.
//
// `floor_ms` is the least time of a step (sampling: of a token for each sequence), `of_floor` its
// share of the time taken. `MFU` is against bf16's peak in every precision. `GB` is what the case
// took from the device, all that the pool held at its peak; of the head, beyond its inputs.
#include <benchmark/benchmark.h>

#include <string>

#include "../tests/instances/decoder_cuda.hpp"
#include "grove/optim/adamw.hpp"
#include "grove/rl/loss.hpp"
#include "grove/rl/preset.hpp"

namespace {

using grove::index_t;
using backend = grove::cuda_backend;
using model = grove::decoder<backend, float>;
using matrix = grove::tensor<backend, float>;
using benchmark::Counter;

// Of an H100, by product_precision, in multiplications and additions a second: the first two
// measured on the device with cuBLAS at 8192 x 8192 x 8192, bf16 from its data sheet (measured:
// 795e12).
constexpr double peak_flops[] = {51.7e12, 412e12, 989e12};
// Bytes a second read and written by a copy of 4 GB, measured on the device.
constexpr double peak_bytes = 3.03e12;

struct workload {
    std::string name;
    grove::decoder_config config;
    index_t sequences, length;   // of a training step
    index_t prompt, new_tokens;  // of sampling
    std::vector<index_t> batches;
    bool expand_latents = false;
};
std::vector<workload> workloads() {
    workload const tiny{.name = "tiny",  // 3.3 M parameters
                        .config = {.vocab_size = 512,
                                   .hidden_size = 256,
                                   .intermediate_size = 688,
                                   .num_hidden_layers = 4,
                                   .num_attention_heads = 4,
                                   .num_key_value_heads = 4,
                                   .max_position_embeddings = 1024,
                                   .tie_word_embeddings = true},
                        .sequences = 64,
                        .length = 256,
                        .prompt = 1,
                        .new_tokens = 128,
                        .batches = {256}};
    workload const qwen{.name = "qwen",  // the extents of Qwen2.5-0.5B
                        .config = {.vocab_size = 151936,
                                   .hidden_size = 896,
                                   .intermediate_size = 4864,
                                   .num_hidden_layers = 24,
                                   .num_attention_heads = 14,
                                   .num_key_value_heads = 2,
                                   .max_position_embeddings = 4096,
                                   .attention_bias = true,
                                   .tie_word_embeddings = true},
                        .sequences = 8,
                        .length = 1024,
                        .prompt = 64,
                        .new_tokens = 256,
                        .batches = {1, 16, 128, 512}};
    workload moe = qwen;  // DeepSeek-V3 in small: 1.25 B parameters, 0.22 B of them for a token
    moe.name = "moe";
    moe.config = {.vocab_size = 32000,
                  .hidden_size = 1024,
                  .intermediate_size = 2816,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 16,
                  .num_key_value_heads = 16,
                  .max_position_embeddings = 4096,
                  .rope_interleave = true,
                  .kv_lora_rank = 256,
                  .q_lora_rank = 384,
                  .qk_nope_head_dim = 64,
                  .qk_rope_head_dim = 32,
                  .v_head_dim = 64,
                  .n_routed_experts = 64,
                  .num_experts_per_tok = 6,
                  .n_shared_experts = 2,
                  .moe_intermediate_size = 512,
                  .n_group = 8,
                  .topk_group = 4,
                  .routed_scaling_factor = 2.5};
    workload expanded = moe;
    expanded.name = "moe_expanded";
    expanded.expand_latents = true;
    return {tiny, qwen, moe, expanded};
}

// What a token of a model costs, in numbers. Attention is counted expanded, a cache of latents as
// it is kept, whatever association a pass takes.
struct token_cost {
    double weights = 0;    // that it meets in products
    double expert = 0;     // of these, of one expert in all layers
    double attention = 0;  // columns of queries and values, in all heads and layers
    double keys = 0;       // kept in a cache

    explicit token_cost(grove::decoder_config const& c) {
        auto const of = [](auto... extents) { return (static_cast<double>(extents) * ...); };
        index_t const heads = c.num_attention_heads, h = c.hidden_size, d = c.head_width();
        index_t const query = c.is_latent() ? c.qk_nope_head_dim + c.qk_rope_head_dim : d;
        index_t const value = c.is_latent() ? c.v_head_dim : d;
        weights = of(c.vocab_size, h);
        for (index_t layer = 0; layer < c.num_hidden_layers; ++layer) {
            attention += of(heads, query + value);
            if (c.is_latent()) {
                keys += of(c.kv_lora_rank + c.qk_rope_head_dim);
                weights += of(c.q_lora_rank, h + heads * query) +
                           of(h, c.kv_lora_rank + c.qk_rope_head_dim) +
                           of(c.kv_lora_rank, heads, c.qk_nope_head_dim + value) +
                           of(heads, value, h);
            } else {
                keys += of(2 * c.num_key_value_heads, d);
                weights += of(2 * h, d, heads + c.num_key_value_heads);
            }
            if (!c.is_moe(layer)) {
                weights += of(3 * h, c.intermediate_size);
                continue;
            }
            double const one = of(3 * h, c.moe_intermediate_size);
            expert += one;
            weights += of(c.num_experts_per_tok + c.n_shared_experts) * one;
            weights += of(h, c.n_routed_experts);
        }
    }
    // Bytes that a pass of one token for each of `batch` sequences reads: weights once, those of
    // experts that somebody chose, and the live keys.
    double read(grove::decoder_config const& c, double batch, double length) const {
        double const experts = static_cast<double>(c.n_routed_experts),
                     top = static_cast<double>(c.num_experts_per_tok);
        double const met = experts > 0 ? experts * (1 - std::pow(1 - top / experts, batch)) : top;
        return sizeof(float) * (weights + (met - top) * expert + batch * length * keys);
    }
};

// Bytes of the device that were taken since this was made.
class taken_memory {
public:
    double gigabytes() const { return (before_ - free()) / 1e9; }

private:
    static double free() {
        std::size_t free = 0, total = 0;
        cudaMemGetInfo(&free, &total);
        return static_cast<double>(free);
    }
    double before_ = free();
};
double peak(grove::product_precision precision) { return peak_flops[static_cast<int>(precision)]; }
void report_flops(benchmark::State& state, double flops) {
    constexpr auto rate = Counter::kIsIterationInvariantRate;
    state.counters["TFLOP/s"] = Counter(flops / 1e12, rate);
    state.counters["MFU"] = Counter(flops / peak(grove::product_precision::bf16), rate);
}
// Of an iteration of so many steps, each with this floor in seconds.
void report_floor(benchmark::State& state, double floor, double steps = 1) {
    state.counters["floor_ms"] = floor * 1e3;
    state.counters["of_floor"] = Counter(floor * steps, Counter::kIsIterationInvariantRate);
}

// Numbers with mean 0 and this standard deviation.
struct draw_element {
    grove::random_key key;
    float deviation;
    float* y;
    GROVE_HD void operator()(index_t i) const {
        y[i] = 3.4641016f * deviation * (key.uniform<float>(static_cast<std::uint32_t>(i)) - 0.5f);
    }
};
void draw(matrix const& x, std::uint32_t number, double deviation) {
    x.backend().system().each(x.size(), draw_element{{.seed = 1, .prompt = number},
                                                     static_cast<float>(deviation),
                                                     x.buffer().data()});
}
// Draws on the device: a decoder's own draws, a normal number after another on the host, take half
// a minute for half a billion weights.
void draw(model& m) {
    std::uint32_t number = 0;
    m.visit([&](auto const& p) {
        if (p.value.extents().rank() > 1) draw(p.value, number++, m.config().initializer_range);
    });
}

std::int32_t token(grove::random_sequence& random, index_t vocabulary) {
    return static_cast<std::int32_t>(random.integer(0, vocabulary - 1));
}

// Responses with advantages, and the log-probabilities of two other policies.
struct rollout {
    std::vector<grove::response> responses;
    std::vector<float> old, reference, advantage;
    std::vector<index_t> offsets{0};

    rollout(index_t sequences, index_t tokens, index_t vocabulary) {
        grove::random_sequence random({.seed = 2});
        for (index_t s = 0; s < sequences; ++s) {
            grove::response r{{token(random, vocabulary)}, {}};
            for (index_t i = 0; i < tokens; ++i) {
                r.tokens.push_back(token(random, vocabulary));
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

// The floor: products and attention at the precision's peak, then AdamW, which reads weights,
// gradients and moments and writes all but the gradients.
void train(benchmark::State& state, workload const& w, grove::product_options const& products) {
    taken_memory const taken;
    backend b(products);
    model m(b, w.config);
    draw(m);
    rollout const data(w.sequences, w.length, w.config.vocab_size);
    auto const input = grove::language_batch::of(data.responses);
    auto const record = data.batch();
    grove::language_forward<backend, float> const forward(m, 1.0, 0.0, nullptr,
                                                          {.expand_latents = w.expand_latents});
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
    for (auto _ : state) step();  // each waits for its gradient's norm
    token_cost const cost(w.config);
    auto const tokens = static_cast<double>(w.sequences * w.length);
    double const flops =
        tokens * (6 * cost.weights + 3 * cost.attention * static_cast<double>(w.length));
    double const moved = 7 * sizeof(float) * static_cast<double>(m.parameter_count());
    state.counters["tokens/s"] = Counter(tokens, Counter::kIsIterationInvariantRate);
    report_flops(state, flops);
    report_floor(state, flops / peak(products.precision) + moved / peak_bytes);
    state.counters["GB"] = taken.gigabytes();
}

// New tokens for `batch` sequences. The floor of a token step: what it reads, the cache at half of
// the new tokens.
void sample(benchmark::State& state, workload const& w, grove::product_options const& products,
            index_t batch) {
    taken_memory const taken;
    backend b(products);
    model m(b, w.config);
    draw(m);
    grove::generator<backend, float> engine(
        m,
        {.max_new_tokens = w.new_tokens, .max_batch = batch, .expand_latents = w.expand_latents});
    std::vector<grove::generation_request> requests;
    grove::random_sequence random({.seed = 2});
    for (index_t i = 0; i < batch; ++i) {
        requests.push_back({{}, {.prompt = static_cast<std::uint32_t>(i)}});
        for (index_t t = 0; t < w.prompt; ++t)
            requests.back().prompt.push_back(token(random, w.config.vocab_size));
    }
    engine(requests);
    for (auto _ : state) benchmark::DoNotOptimize(engine(requests).size());
    auto const steps = static_cast<double>(w.new_tokens), count = static_cast<double>(batch);
    double const bytes =
        token_cost(w.config).read(w.config, count, static_cast<double>(w.prompt) + steps / 2);
    state.counters["tokens/s"] = Counter(count * steps, Counter::kIsIterationInvariantRate);
    state.counters["step_ms"] =
        Counter(steps * 1e-3, Counter::kIsIterationInvariantRate | Counter::kInvert);
    report_floor(state, bytes / peak_bytes, steps);
    state.counters["GB"] = taken.gigabytes();
}

// The floor: one product of tokens, width and vocabulary, or the three that a gradient needs.
void head(benchmark::State& state, bool gradient, grove::product_options const& products) {
    index_t const tokens = 8192, width = 896, vocabulary = 151936;
    backend b(products);
    grove::parameter<backend, float> weight{"weight", grove::zeros<float>(b, {vocabulary, width})};
    auto const hidden = grove::zeros<float>(b, {tokens, width});
    std::array const seeds{grove::zeros<float>(b, {tokens}), grove::zeros<float>(b, {tokens})};
    draw(weight.value, 0, 0.02);
    draw(hidden, 1, 1.0);
    for (std::uint32_t i = 0; i < 2; ++i) draw(seeds[i], 2 + i, 1.0 / tokens);
    std::vector<std::int32_t> targets;
    grove::random_sequence random({.seed = 2});
    for (index_t i = 0; i < tokens; ++i) targets.push_back(token(random, vocabulary));
    auto const logits = [&](auto const& x) {
        return matmul(x, lift(x.backend(), weight), grove::transpose::no, grove::transpose::yes);
    };
    auto const step = [&] {
        if (!gradient) return void(lm_head(hidden, logits, targets));
        matrix by_hidden;
        weight.clear_gradient();
        grove::autodiff<backend> tape(b);
        auto const x = leaf(tape, hidden, [&](matrix const& g) { by_hidden = g; });
        auto const y = lm_head(x, logits, targets);
        for (std::size_t i = 0; i < 2; ++i) tape.accumulate(y[i].buffer(), seeds[i].buffer());
        tape.tape().run();
    };
    b.synchronize();
    taken_memory const taken;
    for (int i = 0; i < 2; ++i) step();
    b.synchronize();
    for (auto _ : state) {
        step();
        b.synchronize();
    }
    double const flops = (gradient ? 6.0 : 2.0) * static_cast<double>(tokens) *
                         static_cast<double>(width * vocabulary);
    report_flops(state, flops);
    report_floor(state, flops / peak(products.precision));
    state.counters["GB"] = taken.gigabytes();
}

template <class... Arguments>
void add(std::string const& name, Arguments const&... arguments) {
    benchmark::RegisterBenchmark(name.c_str(), arguments...)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
    auto const models = workloads();
    for (auto const& [precision, bits] : {std::pair{"float32", grove::product_precision::float32},
                                          std::pair{"tf32", grove::product_precision::tf32},
                                          std::pair{"bf16", grove::product_precision::bf16}})
        for (auto const& [mode, order] : {std::pair{"exact", grove::product_mode::exact},
                                          std::pair{"fast", grove::product_mode::fast}}) {
            grove::product_options const products{order, bits};
            auto const suffix = std::string("/") + precision + "/" + mode;
            for (auto const& w : models) {
                add("train/" + w.name + suffix, train, w, products);
                for (index_t batch : w.batches)
                    add("sample/" + w.name + suffix + "/" + std::to_string(batch), sample, w,
                        products, batch);
            }
            add("head/forward" + suffix, head, false, products);
            add("head/gradient" + suffix, head, true, products);
        }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
