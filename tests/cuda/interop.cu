// SPDX-License-Identifier: Apache-2.0
// Memory, streams and tensors of others, without a copy.
#include <doctest/doctest.h>

#include <string>

#include "../instances/kernels_cuda.hpp"
#include "../thrown.hpp"
#include "grove/backend/cuda/dlpack.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/product.hpp"

using namespace grove;
using grove_test::message_of;

namespace {

using floats = tensor<cuda_backend, float>;

/// A tensor as another framework would hand it over; counts its deletions.
struct foreign {
    std::int64_t extents[2] = {2, 3};
    std::int64_t strides[2] = {3, 1};
    DLManagedTensor managed{};

    foreign(float* data, int& deleted) {
        managed.dl_tensor = {data, {kDLCUDA, 0}, 2, {kDLFloat, 32, 1}, extents, strides, 0};
        managed.manager_ctx = &deleted;
        managed.deleter = [](DLManagedTensor* self) { ++*static_cast<int*>(self->manager_ctx); };
    }
};
struct device_memory {
    float* data = nullptr;
    explicit device_memory(std::vector<float> const& source) {
        REQUIRE(cudaMalloc(&data, source.size() * sizeof(float)) == cudaSuccess);
        cudaMemcpy(data, source.data(), source.size() * sizeof(float), cudaMemcpyHostToDevice);
        cudaDeviceSynchronize();  // a small copy may be under way, and our stream waits for none
    }
    ~device_memory() { cudaFree(data); }
};

}  // namespace

TEST_CASE("cuda: a user's memory and stream, without a copy") {
    device_memory const memory({1, 2, 3, 4, 5, 6});
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    {
        cuda_backend b(stream);
        floats const x{b, device_buffer<float>(memory.data, 6), {2, 3}};
        CHECK(x.buffer().data() == memory.data);
        CHECK(to_host(matmul(x, x, transpose::no, transpose::yes)) ==
              std::vector<float>{14, 32, 32, 77});
    }
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    float still = 0;
    CHECK(cudaMemcpy(&still, memory.data + 5, sizeof still, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(still == 6);
}

TEST_CASE("cuda: a tensor that DLPack brings is shared, and given back once") {
    cuda_backend b;
    device_memory const memory({1, 2, 3, 4, 5, 6, 7});
    int deleted = 0;
    foreign source(memory.data, deleted);
    source.managed.dl_tensor.byte_offset = sizeof(float);
    {
        auto const x = from_dlpack<float>(b, &source.managed);
        auto const copy = x;
        CHECK(x.extents() == shape{2, 3});
        CHECK(x.buffer().data() == memory.data + 1);
        CHECK(to_host(copy) == std::vector<float>{2, 3, 4, 5, 6, 7});
        CHECK(deleted == 0);
    }
    CHECK(deleted == 1);
}

TEST_CASE("cuda: what DLPack cannot share is refused in a sentence, and stays the caller's") {
    cuda_backend b;
    device_memory const memory({1, 2, 3, 4, 5, 6});
    int deleted = 0;
    auto const refused = [&](auto change) {
        foreign source(memory.data, deleted);
        change(source.managed.dl_tensor);
        return message_of<value_error>([&] { from_dlpack<float>(b, &source.managed); });
    };
    CHECK(refused([](DLTensor& x) { x.device.device_type = kDLCPU; }) ==
          "[from_dlpack] expected a tensor on CUDA device 0, got one on device 0 of type 1");
    CHECK(refused([](DLTensor& x) { x.dtype.bits = 16; }) ==
          "[from_dlpack] expected numbers of code 2 and 32 bits, got code 2, 16 bits and 1 lanes");
    CHECK(refused([](DLTensor& x) { x.strides[1] = 2; }) ==
          "[from_dlpack] expected a contiguous row-major tensor, got stride 2 on axis 1");
    CHECK(refused([](DLTensor& x) { x.ndim = 7; }) ==
          "[from_dlpack] expected at most 6 extents, got 7");
    CHECK_THROWS_AS(from_dlpack<float>(b, nullptr), value_error);
    CHECK(deleted == 0);
}

TEST_CASE("cuda: a tensor goes out by DLPack and comes back") {
    cuda_backend b;
    DLManagedTensor* managed = nullptr;
    void* address = nullptr;
    {
        auto const x = from_host<float>(b, {2, 1, 3}, {1, 2, 3, 4, 5, 6});
        address = x.buffer().data();
        managed = to_dlpack(x);
    }
    auto const& out = managed->dl_tensor;
    CHECK(out.data == address);
    CHECK(out.ndim == 3);
    CHECK((out.shape[0] == 2 && out.shape[1] == 1 && out.shape[2] == 3));
    CHECK((out.strides[0] == 3 && out.strides[1] == 3 && out.strides[2] == 1));
    CHECK((out.dtype.code == kDLFloat && out.dtype.bits == 32 && out.dtype.lanes == 1));
    auto const fresh = b.system().fresh_allocations();
    {
        auto const back = from_dlpack<float>(b, managed);
        CHECK(to_host(back) == std::vector<float>{1, 2, 3, 4, 5, 6});
    }
    auto const reused = b.allocate<float>(6);  // the memory went back to the pool
    CHECK(reused.data() == address);
    CHECK(b.system().fresh_allocations() == fresh);

    auto* const indices = to_dlpack(indices_from(b, {1, 2}));
    CHECK((indices->dl_tensor.dtype.code == kDLInt && indices->dl_tensor.dtype.bits == 32));
    indices->deleter(indices);
}
