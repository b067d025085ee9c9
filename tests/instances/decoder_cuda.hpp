// SPDX-License-Identifier: Apache-2.0
// The decoder on CUDA that examples and benchmarks use, compiled once in decoder_cuda_*.cu.
#pragma once

#include "grove/backend/cuda/cuda.hpp"
#include "grove/train/decoder_instance.hpp"

GROVE_DECODER_INSTANCE(extern template, grove::cuda_backend, float)
