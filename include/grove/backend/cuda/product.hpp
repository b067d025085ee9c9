// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of floats by cuBLASLt, with TF32 off.
///
/// In exact mode only algorithms on tiles without split-K are taken: on the H100 all of these were
/// seen to add in the order of the inner index (docs/adr/0001-one-engine.md), as product_blocks
/// does, and each is probed before it is taken. So a choice among them, or none, changes no bit.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <span>

#include "grove/backend/concept.hpp"
#include "grove/backend/cuda/probe.hpp"

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

    static lt_description of(product_shape const& p) {
        lt_description y{};
        check(cublasLtMatmulDescInit(&y.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              "cublasLtMatmulDescInit");
        y.transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
        y.transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
        lay_out(y.left, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.batch);
        lay_out(y.right, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.batch);
        lay_out(y.result, p.n, p.m, p.batch);
        return y;
    }

private:
    void transpose(cublasLtMatmulDescAttributes_t which, bool transposed) {
        auto const value = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
        check(cublasLtMatmulDescSetAttribute(&operation, which, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
    }
    static void lay_out(cublasLtMatrixLayoutOpaque_t& layout, index_t rows, index_t columns,
                        index_t batch) {
        auto set = [&](cublasLtMatrixLayoutAttribute_t which, auto value) {
            check(cublasLtMatrixLayoutSetAttribute(&layout, which, &value, sizeof value),
                  "cublasLtMatrixLayoutSetAttribute");
        };
        check(cublasLtMatrixLayoutInit(&layout, CUDA_R_32F, static_cast<std::uint64_t>(rows),
                                       static_cast<std::uint64_t>(columns), rows),
              "cublasLtMatrixLayoutInit");
        set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(batch));
        set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, std::int64_t{rows * columns});
    }
};

/// Products on one stream, with an algorithm for each class of shapes, found when one first comes.
class lt_products {
public:
    lt_products(thrust_cuda const& system, bool exact)
        : system_(system), stream_(system.stream()), exact_(exact) {
        check(cublasLtCreate(&handle_), "cublasLtCreate");
        for (auto& event : events_) check(cudaEventCreate(&event), "cudaEventCreate");
    }
    lt_products(lt_products const&) = delete;
    lt_products& operator=(lt_products const&) = delete;
    ~lt_products() {
        for (auto event : events_) cudaEventDestroy(event);
        cublasLtDestroy(handle_);
    }

    /// C = op(A) · op(B). False, and nothing done, where cuBLASLt has no algorithm for it. No
    /// extent may be 0.
    bool multiply(product_shape const& p, float const* a, float const* b, float* c) {
        if (std::max({p.m, p.n, p.k, p.batch}) > std::numeric_limits<std::int32_t>::max())
            return false;
        std::uint32_t const align_a = alignment(a, p.transpose_a ? p.m : p.k, p.m * p.k, p.batch);
        std::uint32_t const align_b = alignment(b, p.transpose_b ? p.k : p.n, p.k * p.n, p.batch);
        call const now{p, lt_description::of(p), a, b, c};
        class_key const key{ceiling(p.m),     ceiling(p.n),  ceiling(p.k),
                            ceiling(p.batch), p.transpose_a, p.transpose_b,
                            align_a,          align_b,       low_bits(p.n)};
        auto entry = choices_.find(key);
        if (entry == choices_.end())
            entry = choices_.emplace(key, choose(now, align_a, align_b)).first;
        return entry->second.found && launch(now, entry->second.algorithm);
    }

private:
    static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

    /// Extents up to powers of two, transposes, alignments: products alike share an algorithm.
    using class_key = std::array<index_t, 9>;
    struct choice {
        bool found = false;
        cublasLtMatmulAlgo_t algorithm{};
    };
    struct call {
        product_shape p;
        lt_description description;
        float const *a, *b;
        float* c;
    };
    using candidates = std::array<cublasLtMatmulHeuristicResult_t, 16>;

    static index_t ceiling(index_t extent) {
        return static_cast<index_t>(std::bit_ceil(static_cast<std::uint64_t>(extent)));
    }
    /// The power of two that divides it, at most 4: the numbers in the widest access.
    static index_t low_bits(index_t extent) { return std::min<index_t>(4, extent & -extent); }
    /// Bytes to which the rows of a matrix, and all matrices of a batch, are aligned; at most 16.
    static std::uint32_t alignment(void const* address, index_t step, index_t size, index_t batch) {
        auto const bits = static_cast<index_t>(reinterpret_cast<std::uintptr_t>(address)) |
                          step * index_t{sizeof(float)} |
                          (batch > 1 ? size * index_t{sizeof(float)} : 0) | 16;
        return static_cast<std::uint32_t>(bits & -bits);
    }

    bool launch(call const& now, cublasLtMatmulAlgo_t const& algorithm) const {
        float const one = 1, zero = 0;
        auto const& [operation, left, right, result] = now.description;
        auto const status =
            cublasLtMatmul(handle_, const_cast<cublasLtMatmulDescOpaque_t*>(&operation), &one,
                           now.b, const_cast<cublasLtMatrixLayoutOpaque_t*>(&left), now.a,
                           const_cast<cublasLtMatrixLayoutOpaque_t*>(&right), &zero, now.c,
                           const_cast<cublasLtMatrixLayoutOpaque_t*>(&result), now.c,
                           const_cast<cublasLtMatrixLayoutOpaque_t*>(&result), &algorithm,
                           workspace_.data(), workspace_bytes, stream_);
        // An algorithm of this class may still not fit this member of it.
        if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE)
            return false;
        check(status, "cublasLtMatmul");
        return true;
    }

    /// In exact mode the fastest tiled algorithm, by time; in fast mode the heuristic's first.
    choice choose(call const& now, std::uint32_t align_a, std::uint32_t align_b) const {
        product_probe const probe(system_, now.p);
        product_shape like = now.p;
        // For few rows or columns only products of matrix and vector may be offered: then look at
        // what more of them would take.
        for (like.n = now.p.n; like.n <= std::max<index_t>(now.p.n, 64); like.n *= 2)
            for (like.m = now.p.m; like.m <= std::max<index_t>(now.p.m, 1024); like.m *= 2) {
                candidates found{};
                auto const count = offered(like, align_a, align_b, found);
                choice const best = fastest(now, probe, std::span(found).first(count));
                if (best.found) return best;
            }
        return {};
    }
    std::size_t offered(product_shape const& p, std::uint32_t align_a, std::uint32_t align_b,
                        candidates& found) const {
        cublasLtMatmulPreferenceOpaque_t preference;
        auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
            check(cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value),
                  "cublasLtMatmulPreferenceSetAttribute");
        };
        check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
        if (exact_)
            prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                   static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
        auto like = lt_description::of(p);
        int count = 0;
        auto const status = cublasLtMatmulAlgoGetHeuristic(
            handle_, &like.operation, &like.left, &like.right, &like.result, &like.result,
            &preference, static_cast<int>(found.size()), found.data(), &count);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED) return 0;
        check(status, "cublasLtMatmulAlgoGetHeuristic");
        return static_cast<std::size_t>(count);
    }
    choice fastest(call const& now, product_probe const& probe,
                   std::span<cublasLtMatmulHeuristicResult_t const> found) const {
        choice best;
        float least = std::numeric_limits<float>::infinity();
        for (auto const& candidate : found) {
            auto const& algorithm = candidate.algo;
            if (!is_valid(now, algorithm)) continue;
            if (!exact_) return {true, algorithm};
            if (!is_tiled(algorithm) || !is_exact(probe, algorithm)) continue;
            float const time = milliseconds(now, algorithm);
            if (time < least) {
                least = time;
                best = {true, algorithm};
            }
        }
        return best;
    }
    bool is_exact(product_probe const& probe, cublasLtMatmulAlgo_t const& algorithm) const {
        call const trial{probe.shape(), lt_description::of(probe.shape()), probe.a(), probe.b(),
                         probe.result()};
        return launch(trial, algorithm) && probe.same_bits();
    }
    static bool is_tiled(cublasLtMatmulAlgo_t const& algorithm) {
        std::uint32_t tile = CUBLASLT_MATMUL_TILE_UNDEFINED;
        std::size_t written = 0;
        check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile,
                                                   sizeof tile, &written),
              "cublasLtMatmulAlgoConfigGetAttribute");
        return tile != CUBLASLT_MATMUL_TILE_UNDEFINED;
    }
    bool is_valid(call const& now, cublasLtMatmulAlgo_t const& algorithm) const {
        auto d = now.description;
        cublasLtMatmulHeuristicResult_t result{};
        return cublasLtMatmulAlgoCheck(handle_, &d.operation, &d.left, &d.right, &d.result,
                                       &d.result, &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
               result.workspaceSize <= workspace_bytes;
    }
    /// Of the second of two runs; infinite where it does not run.
    float milliseconds(call const& now, cublasLtMatmulAlgo_t const& algorithm) const {
        float time = std::numeric_limits<float>::infinity();
        if (!launch(now, algorithm)) return time;
        check(cudaEventRecord(events_[0], stream_), "cudaEventRecord");
        if (!launch(now, algorithm)) return time;
        check(cudaEventRecord(events_[1], stream_), "cudaEventRecord");
        check(cudaEventSynchronize(events_[1]), "cudaEventSynchronize");
        check(cudaEventElapsedTime(&time, events_[0], events_[1]), "cudaEventElapsedTime");
        return time;
    }

    thrust_cuda const& system_;
    cudaStream_t stream_;
    bool exact_;
    device_buffer<char> workspace_ = system_.allocate<char>(index_t{workspace_bytes});
    cublasLtHandle_t handle_ = nullptr;
    std::array<cudaEvent_t, 2> events_{};
    std::map<class_key, choice> choices_;
};

}  // namespace grove::inline GROVE_ISA::detail
