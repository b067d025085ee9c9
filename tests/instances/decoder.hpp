// SPDX-License-Identifier: Apache-2.0
// The decoder that tests, examples and benchmarks use, compiled once in decoder.cpp.
#pragma once

#include "grove/backend/eigen/eigen.hpp"
#include "grove/train/decoder_instance.hpp"

GROVE_DECODER_INSTANCE(extern template, grove::eigen_backend, float)
