// SPDX-License-Identifier: Apache-2.0
#include "grove/backend/eigen/eigen.hpp"
#include "program.hpp"
#include "run.hpp"

grove::json r1_zero::run_on_cpu(settings const& s) {
    grove::eigen_backend backend(s.threads);
    return run(backend, s)();
}
