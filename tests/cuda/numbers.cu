// SPDX-License-Identifier: Apache-2.0
// The number types and random keys mean the same in a kernel as on the host.
#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <stdexcept>

#include "grove/core/dual.hpp"
#include "grove/core/math.hpp"
#include "grove/core/random.hpp"

namespace {

constexpr int threads = 64;

struct result {
    double value, slope, uniform;
    std::uint32_t word;
};

__host__ __device__ result evaluate(int thread) {
    using number = grove::dual<double, 1>;
    auto const x = number::variable(0.25 * (thread - threads / 2), 0);
    auto const y = grove::math::sigmoid(x) * grove::math::clamp(x, -2.0, 2.0);
    grove::random_key const key{.seed = 42, .sample = static_cast<std::uint32_t>(thread)};
    return {y.value, y.derivative[0], key.uniform<double>(3), key.words(3)[2]};
}

__global__ void evaluate_each(result* results) { results[threadIdx.x] = evaluate(threadIdx.x); }

void check(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

}  // namespace

TEST_CASE("cuda: duals, laws' math and random keys agree with the host") {
    result* allocated = nullptr;
    check(cudaMallocManaged(&allocated, threads * sizeof(result)));
    std::unique_ptr<result, cudaError_t (*)(void*)> const results(allocated, cudaFree);

    evaluate_each<<<1, threads>>>(results.get());
    check(cudaGetLastError());
    check(cudaDeviceSynchronize());

    for (int i = 0; i < threads; ++i) {
        result const expected = evaluate(i), got = results.get()[i];
        CHECK(got.word == expected.word);
        CHECK(got.uniform == expected.uniform);
        CHECK(got.value == doctest::Approx(expected.value).epsilon(1e-14));
        CHECK(got.slope == doctest::Approx(expected.slope).epsilon(1e-14));
    }
}
