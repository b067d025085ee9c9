// SPDX-License-Identifier: Apache-2.0
// The language-model head with log-probability, entropy and a divergence from a teacher: the pass
// that holds a chunk of logits against the composite that holds all of them.
//
// `extra_MB` is resident memory beyond inputs and gradients. The widths at a vocabulary of
// 151,936 are one iteration each; select with --benchmark_filter. CPU is the time of all threads.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <fstream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/core/random.hpp"
#include "grove/distill/divergence.hpp"
#include "grove/ops/lm_head.hpp"

namespace {

using grove::index_t;
using backend = grove::eigen_backend;
using matrix = grove::tensor<backend, float>;

double resident_bytes() {
    std::ifstream file("/proc/self/statm");
    double size = 0, resident = 0;
    file >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

struct heads {
    backend b;
    matrix hidden, weight, other_hidden, other_weight;
    std::vector<std::int32_t> targets;
    std::vector<float> weights;
    grove::distill::generalized_jsd law{0.5};
    double inputs;

    heads(index_t tokens, index_t width, index_t vocabulary)
        : hidden(drawn({tokens, width}, 1, 1.0)),
          weight(drawn({width, vocabulary}, 2, 0.05)),
          other_hidden(drawn({tokens, width}, 3, 1.0)),
          other_weight(drawn({width, vocabulary}, 4, 0.05)),
          targets(static_cast<std::size_t>(tokens), 7),
          weights(static_cast<std::size_t>(tokens), 1.0f / static_cast<float>(tokens)),
          inputs(resident_bytes()) {}

    auto teacher() const {
        return grove::head_teacher{other_hidden,
                                   [w = other_weight](auto const& x) { return matmul(x, w); }};
    }
    /// Megabytes in use beyond inputs and the two gradients: the pool keeps what it took.
    double extra() const {
        double const gradients = sizeof(float) * static_cast<double>(hidden.size() + weight.size());
        return (resident_bytes() - inputs - gradients) / 1e6;
    }

private:
    matrix drawn(grove::shape extents, std::uint64_t seed, double scale) {
        std::vector<float> numbers(static_cast<std::size_t>(extents.size()));
        grove::random_key const key{.seed = seed};
        for (std::size_t i = 0; i < numbers.size(); ++i)
            numbers[i] = static_cast<float>(
                scale * (key.uniform<double>(static_cast<std::uint32_t>(i)) - 0.5));
        return from_host(b, extents, numbers);
    }
};

/// Measures `step(heads)` behind one call that is not measured. Arguments: tokens, width,
/// vocabulary.
template <class Step>
void measure(benchmark::State& state, Step step) {
    heads h(state.range(0), state.range(1), state.range(2));
    step(h);
    state.counters["extra_MB"] = h.extra();
    for (auto _ : state) benchmark::DoNotOptimize(step(h));
    state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.range(0)),
                                                    benchmark::Counter::kIsIterationInvariantRate);
}
void one_pass(benchmark::State& state) {
    measure(state, [](heads& h) {
        matrix gradient;
        auto const pass =
            lm_head_pass(h.hidden, grove::head_matrix{h.weight}, gradient, h.targets, h.teacher(),
                         h.law, grove::head_weights<float>{h.weights, {}, h.weights});
        return pass.divergence[0];
    });
}
void composite(benchmark::State& state) {
    measure(state, [](heads& h) {
        matrix by_hidden, by_weight;
        grove::autodiff<backend> tape(h.b);
        auto const x = leaf(tape, h.hidden, [&](matrix const& g) { by_hidden = g; });
        auto const w = leaf(tape, h.weight, [&](matrix const& g) { by_weight = g; });
        auto const z = matmul(x, w);
        auto const other = matmul(h.other_hidden, h.other_weight);
        auto const y = token_statistics(z, indices_from(tape, h.targets));
        auto const d = token_divergence(z, constant(tape, other), h.law);
        auto const one = from_host(h.b, {h.hidden.rows()}, h.weights);
        tape.accumulate(y[0].buffer(), one.buffer());
        tape.accumulate(d.buffer(), one.buffer());
        float const first = to_host(value_of(d))[0];
        tape.tape().run();
        return first;
    });
}
std::vector<std::string> const names{"tokens", "width", "vocabulary"};
BENCHMARK(one_pass)
    ->ArgNames(names)
    ->Args({1024, 64, 8192})
    ->Args({1024, 256, 32000})
    ->Args({512, 64, 151936})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(composite)
    ->ArgNames(names)
    ->Args({1024, 64, 8192})
    ->Args({1024, 256, 32000})
    ->Args({512, 64, 151936})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(one_pass)
    ->ArgNames(names)
    ->ArgsProduct({{8192}, {64, 896}, {151936}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
