// SPDX-License-Identifier: Apache-2.0
#include "acting_equals_learning.hpp"

#include "../tests/instances/decoder_cuda.hpp"

acting_equals_learning::difference acting_equals_learning::compare_on_cuda(options const& o) {
    grove::cuda_backend backend({.precision = grove::product_precision_of(o.precision)});
    return compare(backend, o);
}
