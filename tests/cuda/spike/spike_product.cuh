// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products by cuBLASLt whose rows have the same bits whatever the number of rows.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>

#include "grove/backend/concept.hpp"

namespace spike::inline GROVE_ISA {

using grove::index_t;

inline void check(cudaError_t status, char const* operation) {
    if (status != cudaSuccess) grove::fail<grove::error>(operation, cudaGetErrorString(status));
}
inline void check(cublasStatus_t status, char const* operation) {
    if (status != CUBLAS_STATUS_SUCCESS)
        grove::fail<grove::error>(operation, cublasLtGetStatusString(status));
}

/// How a product of `T` is computed: the types of operands, arithmetic and result.
template <class T>
struct product_type;
template <>
struct product_type<float> {
    using result = float;
    static constexpr auto operand = CUDA_R_32F, sum = CUDA_R_32F;
    static constexpr auto arithmetic = CUBLAS_COMPUTE_32F;
};
template <>
struct product_type<double> {
    using result = double;
    static constexpr auto operand = CUDA_R_64F, sum = CUDA_R_64F;
    static constexpr auto arithmetic = CUBLAS_COMPUTE_64F;
};
template <>
struct product_type<__nv_bfloat16> {
    using result = float;
    static constexpr auto operand = CUDA_R_16BF, sum = CUDA_R_32F;
    static constexpr auto arithmetic = CUBLAS_COMPUTE_32F;
};

/// A product as cuBLASLt describes it, and the algorithm to run it with.
struct product_plan {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t left, right, result;
    cublasLtMatmulAlgo_t algorithm;
};

class products {
public:
    static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

    products() { check(cublasLtCreate(&handle_), "products"); }
    products(products const&) = delete;
    products& operator=(products const&) = delete;
    ~products() { cublasLtDestroy(handle_); }

    /// C = op(A) · op(B), row-major, on `stream`; `workspace` has workspace_bytes.
    template <class T>
    void multiply(grove::product_shape const& p, T const* a, T const* b,
                  typename product_type<T>::result* c, void* workspace, cudaStream_t stream) {
        typename product_type<T>::result const one = 1, zero = 0;
        auto& [operation, left, right, result, algorithm] = plan<T>(p, alignment(a), alignment(b));
        // cuBLASLt stores columns one after another: to it, this is Cᵀ = Bᵀ · Aᵀ.
        check(cublasLtMatmul(handle_, &operation, &one, b, &left, a, &right, &zero, c, &result, c,
                             &result, &algorithm, workspace, workspace_bytes, stream),
              "matmul");
    }

private:
    using plan_key = std::array<index_t, 9>;

    static std::uint32_t alignment(void const* address) {
        auto const bits = reinterpret_cast<std::uintptr_t>(address);
        return static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, bits & (~bits + 1)));
    }
    template <class T>
    product_plan& plan(grove::product_shape const& p, std::uint32_t align_a,
                       std::uint32_t align_b) {
        using type = product_type<T>;
        plan_key const key{type::operand, p.m,     p.n,     p.k,    p.transpose_a,
                           p.transpose_b, p.batch, align_a, align_b};
        auto const [entry, fresh] = plans_.try_emplace(key);
        if (fresh) entry->second = make_plan<T>(p, align_a, align_b);
        return entry->second;
    }
    /// An algorithm that works on tiles: all of these add in one order along k, while those for a
    /// few rows or columns (matrix times vector) have orders of their own. Where cuBLASLt offers
    /// only the latter, the algorithm is that of more rows and columns.
    template <class T>
    product_plan make_plan(grove::product_shape const& p, std::uint32_t align_a,
                           std::uint32_t align_b) {
        product_plan y = describe<T>(p);
        cublasLtMatmulPreferenceOpaque_t preference;
        auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
            check(cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value),
                  "matmul");
        };
        check(cublasLtMatmulPreferenceInit(&preference), "matmul");
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
               static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
        grove::product_shape other = p;
        for (other.n = p.n; other.n <= std::max<index_t>(p.n, 64); other.n *= 2)
            for (other.m = p.m; other.m <= std::max<index_t>(p.m, 1024); other.m *= 2)
                if (choose<T>(y, other, preference)) return y;
        grove::fail<grove::error>("matmul",
                                  "expected an algorithm on tiles, got none for m = ", p.m,
                                  ", n = ", p.n, ", k = ", p.k);
    }
    /// Gives `y` the first algorithm for the shape `other` that works on tiles and can run `y`.
    template <class T>
    bool choose(product_plan& y, grove::product_shape const& other,
                cublasLtMatmulPreferenceOpaque_t& preference) const {
        product_plan like = describe<T>(other);
        std::array<cublasLtMatmulHeuristicResult_t, 16> found{};
        int count = 0;
        check(cublasLtMatmulAlgoGetHeuristic(handle_, &like.operation, &like.left, &like.right,
                                             &like.result, &like.result, &preference,
                                             static_cast<int>(found.size()), found.data(), &count),
              "matmul");
        for (int i = 0; i < count; ++i) {
            y.algorithm = found[static_cast<std::size_t>(i)].algo;
            if (is_tiled(y.algorithm) && is_valid(y)) return true;
        }
        return false;
    }
    static bool is_tiled(cublasLtMatmulAlgo_t const& algorithm) {
        std::uint32_t tile = CUBLASLT_MATMUL_TILE_UNDEFINED;
        std::size_t written = 0;
        check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile,
                                                   sizeof tile, &written),
              "matmul");
        return tile != CUBLASLT_MATMUL_TILE_UNDEFINED;
    }
    bool is_valid(product_plan& y) const {
        cublasLtMatmulHeuristicResult_t result{};
        return cublasLtMatmulAlgoCheck(handle_, &y.operation, &y.left, &y.right, &y.result,
                                       &y.result, &y.algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
               result.workspaceSize <= workspace_bytes;
    }
    template <class T>
    static product_plan describe(grove::product_shape const& p) {
        using type = product_type<T>;
        product_plan y{};
        auto transpose = [&](bool transposed, cublasLtMatmulDescAttributes_t which) {
            auto const value = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
            check(cublasLtMatmulDescSetAttribute(&y.operation, which, &value, sizeof value),
                  "matmul");
        };
        auto layout = [&](cublasLtMatrixLayoutOpaque_t& target, cudaDataType_t kind, index_t rows,
                          index_t columns) {
            auto set = [&](cublasLtMatrixLayoutAttribute_t which, auto value) {
                check(cublasLtMatrixLayoutSetAttribute(&target, which, &value, sizeof value),
                      "matmul");
            };
            check(cublasLtMatrixLayoutInit(&target, kind, rows, columns, rows), "matmul");
            set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(p.batch));
            set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, std::int64_t{rows * columns});
        };
        check(cublasLtMatmulDescInit(&y.operation, type::arithmetic, type::sum), "matmul");
        transpose(p.transpose_b, CUBLASLT_MATMUL_DESC_TRANSA);
        transpose(p.transpose_a, CUBLASLT_MATMUL_DESC_TRANSB);
        layout(y.left, type::operand, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k);
        layout(y.right, type::operand, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m);
        layout(y.result, type::sum, p.n, p.m);
        return y;
    }

    cublasLtHandle_t handle_ = nullptr;
    std::map<plan_key, product_plan> plans_;
};

}  // namespace spike::inline GROVE_ISA
