// SPDX-License-Identifier: Apache-2.0
/// @file
/// Tensors of other frameworks without a copy, by DLPack (dlpack.h: Debian's libdlpack-dev).
#pragma once

#include <dlpack/dlpack.h>

#include <array>
#include <memory>
#include <type_traits>

#include "grove/backend/cuda/cuda.hpp"
#include "grove/core/tensor.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

template <class T>
DLDataType dlpack_type() {
    auto const code = std::is_floating_point_v<T> ? kDLFloat
                      : std::is_signed_v<T>       ? kDLInt
                                                  : kDLUInt;
    return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * sizeof(T)), 1};
}
inline int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
}

/// A tensor under way to another framework, and what describes it there.
template <class T>
struct exported_tensor {
    device_buffer<T> data;
    std::array<std::int64_t, shape::max_rank> extents{}, strides{};
    DLManagedTensor managed{};
};

}  // namespace detail

/// The tensor for a consumer, which shares its memory and must call the result's deleter once.
/// The consumer's work must come behind the backend's stream, and ours behind the consumer's.
/// @code
/// PyCapsule_New(grove::to_dlpack(logits), "dltensor", …)   // torch.from_dlpack takes it from
/// there
/// @endcode
template <class T>
DLManagedTensor* to_dlpack(tensor<cuda_backend, T> const& x) {
    auto parcel = std::make_unique<detail::exported_tensor<T>>();
    parcel->data = x.buffer();
    if (auto const& block = parcel->data.block()) block->expose();
    int const rank = x.extents().rank();
    std::int64_t stride = 1;
    for (int axis = rank; axis-- > 0;) {
        auto const i = static_cast<std::size_t>(axis);
        parcel->extents[i] = x.extents()[axis];
        parcel->strides[i] = stride;
        stride *= x.extents()[axis];
    }
    parcel->managed.dl_tensor = {parcel->data.data(),
                                 {kDLCUDA, detail::current_device()},
                                 rank,
                                 detail::dlpack_type<T>(),
                                 parcel->extents.data(),
                                 parcel->strides.data(),
                                 0};
    parcel->managed.manager_ctx = parcel.get();
    parcel->managed.deleter = [](DLManagedTensor* self) {
        delete static_cast<detail::exported_tensor<T>*>(self->manager_ctx);
    };
    return &parcel.release()->managed;
}

/// A tensor of another framework, which shares its memory: the deleter is called when the last copy
/// of the result is gone. Throws value_error, and leaves `managed` to the caller, unless it is a
/// contiguous row-major tensor of T on the backend's device.
template <class T>
tensor<cuda_backend, T> from_dlpack(cuda_backend& backend, DLManagedTensor* managed) {
    require<value_error>(managed != nullptr, "from_dlpack", "expected a tensor, got none");
    auto const& x = managed->dl_tensor;
    DLDataType const type = detail::dlpack_type<T>();
    int const device = detail::current_device();
    require<value_error>(x.device.device_type == kDLCUDA && x.device.device_id == device,
                         "from_dlpack", "expected a tensor on CUDA device ", device,
                         ", got one on device ", x.device.device_id, " of type ",
                         static_cast<int>(x.device.device_type));
    require<value_error>(
        x.dtype.code == type.code && x.dtype.bits == type.bits && x.dtype.lanes == 1, "from_dlpack",
        "expected numbers of code ", int{type.code}, " and ", int{type.bits}, " bits, got code ",
        int{x.dtype.code}, ", ", int{x.dtype.bits}, " bits and ", x.dtype.lanes, " lanes");
    require<value_error>(x.ndim >= 0 && x.ndim <= shape::max_rank, "from_dlpack",
                         "expected at most ", int{shape::max_rank}, " extents, got ", x.ndim);
    shape const extents(std::span<index_t const>(x.shape, static_cast<std::size_t>(x.ndim)));
    std::int64_t stride = 1;
    for (int axis = x.ndim; axis-- > 0; stride *= x.shape[axis])
        require<value_error>(
            x.strides == nullptr || x.shape[axis] == 1 || x.strides[axis] == stride, "from_dlpack",
            "expected a contiguous row-major tensor, got stride ",
            x.strides == nullptr ? 0 : x.strides[axis], " on axis ", axis);
    std::shared_ptr<void> const owner(managed, [](void* whole) {
        auto* const self = static_cast<DLManagedTensor*>(whole);
        if (self->deleter != nullptr) self->deleter(self);
    });
    auto* const data = reinterpret_cast<T*>(static_cast<char*>(x.data) + x.byte_offset);
    return {backend, device_buffer<T>(data, extents.size(), owner), extents};
}

}  // namespace grove::inline GROVE_ISA
