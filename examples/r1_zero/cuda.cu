// SPDX-License-Identifier: Apache-2.0
#include "../../tests/instances/decoder_cuda.hpp"
#include "program.hpp"
#include "run.hpp"

grove::json r1_zero::run_on_cuda(settings const& s) {
    grove::cuda_backend backend({.precision = grove::product_precision_of(s.precision)});
    return run(backend, s)();
}
