// SPDX-License-Identifier: Apache-2.0
#include "../io/published.hpp"

#include "../instances/decoder_cuda.hpp"

using namespace grove;

TEST_CASE("cuda: published models, to the CPU's tolerances in float") {
    cuda_backend backend;
    for (auto const& name : published::architectures) published::check_all(name, backend);
}
TEST_CASE("cuda: published models with rounded operands") {
    cuda_backend exact;
    for (auto [precision, allowed] :
         {std::pair{product_precision::tf32,
                    published::tolerances{5e-3, 2e-2, 1e-5, 1e-3, 0.1, false}},
          std::pair{product_precision::bf16,
                    published::tolerances{5e-2, 1e-1, 1e-4, 1e-2, 0.1, false}}}) {
        cuda_backend backend({.precision = precision});
        for (auto const& name : published::architectures)
            published::check_all(name, backend, allowed, &exact);
    }
}
