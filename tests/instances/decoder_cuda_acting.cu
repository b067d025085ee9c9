// SPDX-License-Identifier: Apache-2.0
#include "decoder_cuda.hpp"

GROVE_DECODER_ACTING_INSTANCE(template, grove::cuda_backend, float)
