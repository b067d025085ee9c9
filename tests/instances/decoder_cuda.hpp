// SPDX-License-Identifier: Apache-2.0
// The decoder on CUDA that examples and benchmarks use, compiled once in decoder_cuda_*.cu.
#pragma once

#include "grove/train/decoder_instance.hpp"
#include "kernels_cuda.hpp"

GROVE_DECODER_INSTANCE(extern template, grove::cuda_backend, float)
