// SPDX-License-Identifier: Apache-2.0
#include "conformance.hpp"

#include "grove/backend/eigen/eigen.hpp"
#include "grove/backend/reference/reference.hpp"

namespace conformance {

GROVE_TEST_BACKENDS(candidate<reference_backend, float>, candidate<reference_backend, double>,
                    candidate<eigen_backend, float, 1>, candidate<eigen_backend, double, 1>,
                    candidate<eigen_backend, float, 2>, candidate<eigen_backend, double, 2>);

}  // namespace conformance
