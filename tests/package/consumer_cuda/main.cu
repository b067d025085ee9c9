// SPDX-License-Identifier: Apache-2.0
// The least that a program of CUDA does with grove: a product on memory and a stream of its own.
#include <grove/backend/cuda/cuda.hpp>
#include <grove/ops/create.hpp>
#include <grove/ops/product.hpp>
#include <iostream>

__global__ void count(float* x) { x[threadIdx.x] = static_cast<float>(threadIdx.x); }

int main() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess) {
        std::cout << "compiled and linked; no CUDA device to run on\n";
        return 0;
    }
    cudaStream_t stream = nullptr;
    float* memory = nullptr;
    if (cudaStreamCreate(&stream) != cudaSuccess || cudaMalloc(&memory, 6 * sizeof(float)) != 0)
        return 1;
    count<<<1, 6, 0, stream>>>(memory);
    grove::cuda_backend backend(stream);
    grove::tensor const x(backend, grove::device_buffer<float>(memory, 6), {2, 3});
    auto const y = matmul(x, x, grove::transpose::no, grove::transpose::yes);
    return grove::to_host(y) == std::vector<float>{5, 14, 14, 50} ? 0 : 1;
}
