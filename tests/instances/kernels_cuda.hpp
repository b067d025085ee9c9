// SPDX-License-Identifier: Apache-2.0
// The kernels that take nvcc longest, compiled once in kernels_cuda.cu.
#pragma once

#include "grove/backend/cuda/cuda.hpp"

#define GROVE_TEST_ATTENTION(Template, T)                                                        \
    Template void launch_attention<T>(thrust_cuda const&, product_precision,                     \
                                      attention_extents const&, T, T const*, T const*, T const*, \
                                      T*, T*);                                                   \
    Template void launch_attention_backward<T>(thrust_cuda const&, product_precision,            \
                                               attention_extents const&, T,                      \
                                               attention_operands<T> const&);
#define GROVE_TEST_TENSOR_ATTENTION(Template, Precision, T)                                      \
    Template bool launch_tensor_attention<Precision, T>(                                         \
        thrust_cuda const&, attention_extents const&, float, attention_pass<T> const&);          \
    Template bool launch_tensor_attention_backward<Precision, T>(                                \
        thrust_cuda const&, attention_extents const&, float, attention_operands<T> const&);
#define GROVE_TEST_GROUPS(Template, Numbers)                                                       \
    Template void multiply_groups<Numbers>(thrust_cuda const&, grouped_shape const&, input<float>, \
                                           input<float>, std::int32_t const*, output<float>);      \
    Template void multiply_outer<Numbers>(thrust_cuda const&, grouped_shape const&, input<float>,  \
                                          input<float>, std::int32_t const*, output<float>);
#define GROVE_TEST_KERNELS(Template)                                                         \
    GROVE_TEST_ATTENTION(Template, float)                                                    \
    GROVE_TEST_ATTENTION(Template, double)                                                   \
    GROVE_TEST_TENSOR_ATTENTION(Template, product_precision::tf32, float)                    \
    GROVE_TEST_TENSOR_ATTENTION(Template, product_precision::bf16, bf16)                     \
    GROVE_TEST_GROUPS(Template, tf32_numbers)                                                \
    GROVE_TEST_GROUPS(Template, bf16_numbers)                                                \
    Template std::span<few_row_product const> products_of_few_rows<float>(product_precision, \
                                                                          product_shape const&);

namespace grove::inline GROVE_ISA::detail {
GROVE_TEST_KERNELS(extern template)
}
