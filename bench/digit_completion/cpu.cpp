// SPDX-License-Identifier: Apache-2.0
#include "grove/backend/eigen/eigen.hpp"
#include "run.hpp"

bool digits::run_on_cpu(settings const& s) {
    grove::eigen_backend backend;
    return run_on(backend, s);
}
