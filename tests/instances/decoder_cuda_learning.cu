// SPDX-License-Identifier: Apache-2.0
#include "decoder_cuda.hpp"

GROVE_DECODER_LEARNING_INSTANCE(template, grove::cuda_backend, float)
