// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of floats as cuBLASLt describes them.
#pragma once

#include <cublasLt.h>

#include <cstdint>

#include "grove/backend/concept.hpp"
#include "grove/backend/cuda/error.hpp"
#include "grove/backend/cuda/precision.hpp"

namespace grove::inline GROVE_ISA::detail {

inline void check(cublasStatus_t status, char const* call) {
    require<device_error>(status == CUBLAS_STATUS_SUCCESS, call, "expected success, got ",
                          cublasLtGetStatusString(status));
}

/// A product as cuBLASLt describes it. It stores columns one after another: to it, C = A · B is
/// Cᵀ = Bᵀ · Aᵀ.
struct lt_description {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t left, right, result;

    /// With a result in bf16 where `rounded`.
    static lt_description of(product_shape const& p, product_precision precision, bool rounded) {
        lt_description y{};
        bool const tf32 = precision == product_precision::tf32;
        check(
            cublasLtMatmulDescInit(
                &y.operation, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
            "cublasLtMatmulDescInit");
        y.transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
        y.transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
        auto const operand = precision == product_precision::bf16 ? CUDA_R_16BF : CUDA_R_32F;
        lay_out(y.left, operand, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.batch);
        lay_out(y.right, operand, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.batch);
        lay_out(y.result, rounded ? CUDA_R_16BF : CUDA_R_32F, p.n, p.m, p.batch);
        return y;
    }

private:
    void transpose(cublasLtMatmulDescAttributes_t which, bool transposed) {
        auto const value = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
        check(cublasLtMatmulDescSetAttribute(&operation, which, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
    }
    static void lay_out(cublasLtMatrixLayoutOpaque_t& layout, cudaDataType_t type, index_t rows,
                        index_t columns, index_t batch) {
        auto set = [&](cublasLtMatrixLayoutAttribute_t which, auto value) {
            check(cublasLtMatrixLayoutSetAttribute(&layout, which, &value, sizeof value),
                  "cublasLtMatrixLayoutSetAttribute");
        };
        check(cublasLtMatrixLayoutInit(&layout, type, static_cast<std::uint64_t>(rows),
                                       static_cast<std::uint64_t>(columns), rows),
              "cublasLtMatrixLayoutInit");
        set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(batch));
        set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, std::int64_t{rows * columns});
    }
};

}  // namespace grove::inline GROVE_ISA::detail
