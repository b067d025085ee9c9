// SPDX-License-Identifier: Apache-2.0
#include "kernels_cuda.hpp"

namespace grove::inline GROVE_ISA::detail {
GROVE_TEST_KERNELS(template)
}
