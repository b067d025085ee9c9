// SPDX-License-Identifier: Apache-2.0
// The CUDA backend does what every backend must.
#include "../backend/conformance.hpp"
#include "../instances/kernels_cuda.hpp"

namespace conformance {

GROVE_TEST_BACKENDS(candidate<cuda_backend, float>, candidate<cuda_backend, double>);

}  // namespace conformance
