// SPDX-License-Identifier: Apache-2.0
#include "../../tests/instances/decoder_cuda.hpp"
#include "run.hpp"

bool digits::run_on_cuda(settings const& s) {
    grove::cuda_backend backend;
    return run_on(backend, s);
}
