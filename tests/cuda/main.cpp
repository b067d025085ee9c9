// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <iostream>

int main(int argc, char** argv) {
    constexpr int skipped = 77;  // as told to ctest
    int devices = 0;
    if (cudaError_t const status = cudaGetDeviceCount(&devices); status != cudaSuccess) {
        std::cout << "no CUDA device: " << cudaGetErrorString(status) << ", tests skipped\n";
        return skipped;
    }
    return doctest::Context(argc, argv).run();
}
