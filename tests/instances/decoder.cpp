// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

GROVE_DECODER_INSTANCE(template, grove::eigen_backend, float)
