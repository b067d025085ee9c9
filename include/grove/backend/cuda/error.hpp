// SPDX-License-Identifier: Apache-2.0
/// @file
/// Failures of the CUDA runtime as exceptions. The headers of this folder need nvcc.
#pragma once

#if !defined(__CUDACC__)
#error "grove: the CUDA backend has kernels; include it in a file that nvcc compiles (.cu)"
#endif

#include <cuda_runtime_api.h>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// A call to the CUDA runtime or a library of it that failed: no device, no memory left, a kernel
/// that could not run. Errors of a kernel under way are thrown by a later call.
class device_error : public error {
    using error::error;
};

namespace detail {

/// Throws device_error with the name of the call, unless it succeeded.
inline void check(cudaError_t status, char const* call) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // it is reported here, and not again by the next launch
    fail<device_error>(call, "expected success, got ", cudaGetErrorName(status), ": ",
                       cudaGetErrorString(status));
}

}  // namespace detail
}  // namespace grove::inline GROVE_ISA
