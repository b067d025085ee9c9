// SPDX-License-Identifier: Apache-2.0
// Matrix products beside Eigen's own on the same operands, and beside the peak of fused
// multiply-adds.
#include <benchmark/benchmark.h>

#include <Eigen/Core>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/core/random.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/product.hpp"

namespace {

using grove::index_t;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::vector<float> noise(index_t size, std::uint32_t stream) {
    grove::random_key const key{.seed = 1, .prompt = stream};
    std::vector<float> x(static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = key.uniform<float>(static_cast<std::uint32_t>(i)) - 0.5f;
    return x;
}
void report(benchmark::State& state, double operations) {
    state.counters["GFLOP/s"] =
        benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// The limit: 24 independent chains of fused multiply-adds in registers.
void peak(benchmark::State& state) {
    using number = grove::pack<float>;
    number sum[24];
    number x(0.999f), y(1e-4f);
    benchmark::DoNotOptimize(x.value);
    benchmark::DoNotOptimize(y.value);
    constexpr int rounds = 4096;
    for (auto _ : state) {
        for (int i = 0; i < rounds; ++i)
#pragma GCC unroll 24
            for (auto& s : sum) s = number::fma(x, s, y);
        for (auto& s : sum) benchmark::DoNotOptimize(s.value);
    }
    report(state, 2.0 * 24 * rounds * number::size);
}
BENCHMARK(peak);

// Arguments: m, n, k, transpose a, transpose b, threads.
void grove_product(benchmark::State& state) {
    index_t const m = state.range(0), n = state.range(1), k = state.range(2);
    grove::eigen_backend backend(static_cast<int>(state.range(5)));
    grove::product_shape const p{m, n, k, state.range(3) != 0, state.range(4) != 0};
    auto const a = backend.upload(std::span<float const>(noise(m * k, 1)));
    auto const b = backend.upload(std::span<float const>(noise(k * n, 2)));
    for (auto _ : state) benchmark::DoNotOptimize(backend.matmul(p, a, b).data());
    report(state, 2.0 * static_cast<double>(m * n * k));
}
// The same on one thread by Eigen's expression.
void eigen_product(benchmark::State& state) {
    index_t const m = state.range(0), n = state.range(1), k = state.range(2);
    bool const ta = state.range(3) != 0, tb = state.range(4) != 0;
    auto const a = noise(m * k, 1), b = noise(k * n, 2);
    Eigen::Map<matrix const> const A(a.data(), ta ? k : m, ta ? m : k);
    Eigen::Map<matrix const> const B(b.data(), tb ? n : k, tb ? k : n);
    matrix c(m, n);
    for (auto _ : state) {
        if (ta) {
            c.noalias() = A.transpose() * B;
        } else if (tb) {
            c.noalias() = A * B.transpose();
        } else {
            c.noalias() = A * B;
        }
        benchmark::DoNotOptimize(c.data());
    }
    report(state, 2.0 * static_cast<double>(m * n * k));
}
void shapes(benchmark::internal::Benchmark* b, bool both) {
    struct extents {
        index_t m, n, k, ta, tb;
    };
    // Forward, gradient of the input, gradient of the weight; decoding 64, 16 and 1 tokens.
    for (auto [m, n, k, ta, tb] : std::initializer_list<extents>{{2048, 256, 256, 0, 0},
                                                                 {2048, 1024, 256, 0, 0},
                                                                 {2048, 256, 1024, 0, 0},
                                                                 {4096, 512, 512, 0, 0},
                                                                 {2048, 256, 1024, 0, 1},
                                                                 {256, 1024, 4096, 1, 0},
                                                                 {64, 1024, 256, 0, 0},
                                                                 {16, 1024, 256, 0, 0},
                                                                 {1, 1024, 256, 0, 0}})
        for (index_t threads = 1; threads <= (both ? 2 : 1); ++threads)
            b->Args({m, n, k, ta, tb, threads});
    b->ArgNames({"m", "n", "k", "ta", "tb", "threads"})->UseRealTime();
}
BENCHMARK(grove_product)->Apply([](auto* b) { shapes(b, true); });
BENCHMARK(eigen_product)->Apply([](auto* b) { shapes(b, false); });

}  // namespace
