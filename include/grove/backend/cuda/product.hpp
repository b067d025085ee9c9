// SPDX-License-Identifier: Apache-2.0
/// @file
/// Products of floats by cuBLASLt, and by our own tiles where rows are few.
///
/// In exact mode only algorithms on tiles without split-K are taken, and each is probed before: it
/// must have the bits of one order of addition that knows nothing of the number of rows. In
/// float32 that is the order of the inner index, as in product_blocks; on the H100 all tiled
/// algorithms were seen to have it (docs/adr/0001-one-engine.md). On tensor cores it is that of
/// the first algorithm offered for many rows. So a choice among those probed changes no bit. Our
/// own tiles are probed and timed beside them.
/// A gradient by weights, Aᵀ · B, has no row that comes alone: its order is that of its extents.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "grove/backend/cuda/few_rows.hpp"
#include "grove/backend/cuda/inner_cut.hpp"
#include "grove/backend/cuda/lt.hpp"
#include "grove/backend/cuda/probe.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Products on one stream, with an algorithm for each class of shapes, found when one first comes.
class lt_products {
public:
    lt_products(thrust_cuda const& system, bool exact, product_precision precision)
        : system_(system), stream_(system.stream()), exact_(exact), precision_(precision) {
        check(cublasLtCreate(&handle_), "cublasLtCreate");
        for (auto& event : events_) check(cudaEventCreate(&event), "cudaEventCreate");
    }
    lt_products(lt_products const&) = delete;
    lt_products& operator=(lt_products const&) = delete;
    ~lt_products() {
        for (auto event : events_) cudaEventDestroy(event);
        cublasLtDestroy(handle_);
    }

    product_precision precision() const { return precision_; }

    /// C = op(A) · op(B). False, and nothing done, where neither cuBLASLt, whatever m is, nor our
    /// own tiles have an algorithm for it. Operands are in bf16 where the precision is that, else
    /// in full; no extent may be 0. Throws device_error where cuBLASLt has none for this m alone.
    bool multiply(product_shape const& p, input<float> const& a, input<float> const& b,
                  output<float> const& c) {
        if (std::max({p.m, p.n, p.k, p.batch}) > std::numeric_limits<std::int32_t>::max())
            return false;
        call const now = make_call(p, a, b, c);
        auto const align_a = alignment(a, p.transpose_a ? p.m : p.k, p.m * p.k, p.batch);
        auto const align_b = alignment(b, p.transpose_b ? p.k : p.n, p.k * p.n, p.batch);
        bool const by_rows = !p.transpose_a;  // the number of tokens is m, else k
        class_key const key{by_rows ? ceiling(p.m) : extent(p.m),
                            extent(p.n),
                            by_rows ? extent(p.k) : ceiling(p.k),
                            extent(p.batch),
                            p.transpose_a,
                            p.transpose_b,
                            align_a,
                            align_b,
                            low_bits(p.n),
                            c.half != nullptr};
        auto entry = choices_.find(key);
        if (entry == choices_.end())
            entry = choices_.emplace(key, choose(now, align_a, align_b)).first;
        return launch(now, entry->second);
    }

private:
    static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

    /// Extents up to powers of two, transposes, alignments, what the result is rounded to: products
    /// alike share an algorithm.
    using class_key = std::array<index_t, 10>;
    using algorithm = cublasLtMatmulAlgo_t;
    using choice = std::variant<std::monostate, algorithm, few_row_product>;
    struct call {
        product_shape p;
        lt_description description;
        input<float> a, b;
        output<float> c;
    };
    struct timed_choice {
        choice which;
        float time = std::numeric_limits<float>::infinity();
    };
    using candidates = std::array<cublasLtMatmulHeuristicResult_t, 16>;

    static index_t ceiling(index_t extent) {
        return static_cast<index_t>(std::bit_ceil(static_cast<std::uint64_t>(extent)));
    }
    /// On tensor cores an order of addition is found for each extent, not for a class of them: it
    /// must not depend on which of the class came first.
    index_t extent(index_t extent) const {
        return precision_ == product_precision::float32 ? ceiling(extent) : extent;
    }
    /// The power of two that divides it, at most 4: the numbers in the widest access.
    static index_t low_bits(index_t extent) { return std::min<index_t>(4, extent & -extent); }
    /// Bytes to which the rows of a matrix, and all matrices of a batch, are aligned for cuBLASLt;
    /// at most 16.
    static std::uint32_t alignment(input<float> const& x, index_t step, index_t size,
                                   index_t batch) {
        bool const half = x.half != nullptr;
        index_t const width = half ? 2 : 4;
        auto const start = half ? reinterpret_cast<std::uintptr_t>(x.half)
                                : reinterpret_cast<std::uintptr_t>(x.full);
        auto const bits =
            static_cast<index_t>(start) | step * width | (batch > 1 ? size * width : 0) | 16;
        return static_cast<std::uint32_t>(bits & -bits);
    }
    /// What cuBLASLt reads or writes.
    static void const* address(input<float> const& x) {
        return x.half != nullptr ? static_cast<void const*>(x.half) : x.full;
    }
    static void* address(output<float> const& x) {
        return x.half != nullptr ? static_cast<void*>(x.half) : x.full;
    }
    call make_call(product_shape const& p, input<float> const& a, input<float> const& b,
                   output<float> const& c) const {
        return {p, lt_description::of(p, precision_, c.half != nullptr), a, b, c};
    }
    call make_call(product_probe const& probe, output<float> const& c) const {
        return make_call(probe.shape(), probe.a(), probe.b(), c);
    }

    bool launch(call const& now, choice const& which) const {
        if (auto const* theirs = std::get_if<algorithm>(&which)) return launch(now, *theirs);
        if (auto const* own = std::get_if<few_row_product>(&which))
            (*own)(system_, now.p, now.a, now.b, now.c);
        return which.index() > 0;
    }
    bool launch(call const& now, algorithm const& theirs) const {
        float const one = 1, zero = 0;
        auto const& [operation, left, right, result] = now.description;
        auto const status =
            cublasLtMatmul(handle_, const_cast<cublasLtMatmulDescOpaque_t*>(&operation), &one,
                           address(now.b), const_cast<cublasLtMatrixLayoutOpaque_t*>(&left),
                           address(now.a), const_cast<cublasLtMatrixLayoutOpaque_t*>(&right), &zero,
                           address(now.c), const_cast<cublasLtMatrixLayoutOpaque_t*>(&result),
                           address(now.c), const_cast<cublasLtMatrixLayoutOpaque_t*>(&result),
                           &theirs, workspace_.data(), workspace_bytes, stream_);
        // An algorithm of this class may still not fit this member of it.
        if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE)
            return false;
        check(status, "cublasLtMatmul");
        return true;
    }

    /// In exact mode the fastest algorithm with the bits of the order; in fast mode the
    /// heuristic's first.
    choice choose(call const& now, std::uint32_t align_a, std::uint32_t align_b) const {
        product_probe probe(system_, now.p, now.a.half != nullptr, now.c.half != nullptr);
        std::optional<algorithm> order;
        if (exact_ && precision_ == product_precision::float32) probe.expect_chain();
        if (exact_ && precision_ != product_precision::float32) {
            order = tensor_core_order(now, align_a, align_b);
            if (!order) return {};
            if (!launch(make_call(probe, probe.expected()), *order)) return only(now, *order);
        }
        timed_choice best = best_of_theirs(now, probe, align_a, align_b);
        if (exact_)
            for (auto own : products_of_few_rows(precision_, now.p))
                improve(best, now, probe, choice(own));
        if (best.which.index() > 0 || !order) return best.which;
        return only(now, *order);
    }
    timed_choice best_of_theirs(call const& now, product_probe const& probe, std::uint32_t align_a,
                                std::uint32_t align_b) const {
        product_shape like = now.p;
        // For few rows or columns only products of matrix and vector may be offered: then look at
        // what more of them would take.
        for (like.n = now.p.n; like.n <= std::max<index_t>(now.p.n, 64); like.n *= 2)
            for (like.m = now.p.m; like.m <= std::max<index_t>(now.p.m, 1024); like.m *= 2) {
                candidates found{};
                auto const count =
                    offered(make_call(like, now.a, now.b, now.c), align_a, align_b, found);
                timed_choice best;
                for (auto const& candidate : std::span(found).first(count)) {
                    if (!is_valid(now, candidate.algo)) continue;
                    if (!exact_) return {candidate.algo};
                    if (is_tiled(candidate.algo)) improve(best, now, probe, candidate.algo);
                }
                if (best.which.index() > 0) return best;
            }
        return {};
    }
    /// Takes a candidate that has the bits and is faster.
    void improve(timed_choice& best, call const& now, product_probe const& probe,
                 choice const& which) const {
        if (!launch(make_call(probe, probe.result()), which) || !probe.same_bits()) return;
        float const time = milliseconds(now, which);
        if (time < best.time) best = {which, time};
    }
    choice only(call const& now, algorithm const& order) const {
        require<device_error>(is_valid(now, order), "matmul",
                              "expected an algorithm of cuBLASLt with the bits of other numbers of "
                              "rows, got none for ",
                              now.p.m, " x ", now.p.n, " x ", now.p.k);
        return order;
    }
    /// The first tiled algorithm that is offered for 1024 rows, and runs for one as well; for a
    /// gradient by weights, the first for its class of inner extents.
    std::optional<algorithm> tensor_core_order(call const& now, std::uint32_t align_a,
                                               std::uint32_t align_b) const {
        call many = now, least = now;
        if (now.p.transpose_a)
            many.p.k = least.p.k = ceiling(now.p.k);
        else
            many.p.m = 1024, least.p.m = 1;
        candidates found{};
        auto const count = offered(many, align_a, align_b, found);
        auto const runs = [&](call const& like, algorithm const& theirs) {
            return is_valid(make_call(like.p, like.a, like.b, like.c), theirs);
        };
        for (auto const& candidate : std::span(found).first(count))
            if (is_tiled(candidate.algo) && runs(many, candidate.algo) &&
                runs(least, candidate.algo))
                return candidate.algo;
        return {};
    }
    std::size_t offered(call const& now, std::uint32_t align_a, std::uint32_t align_b,
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
        auto like = lt_description::of(now.p, precision_, now.c.half != nullptr);
        int count = 0;
        auto const status = cublasLtMatmulAlgoGetHeuristic(
            handle_, &like.operation, &like.left, &like.right, &like.result, &like.result,
            &preference, static_cast<int>(found.size()), found.data(), &count);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED) return 0;
        check(status, "cublasLtMatmulAlgoGetHeuristic");
        return static_cast<std::size_t>(count);
    }
    static bool is_tiled(algorithm const& theirs) {
        std::uint32_t tile = CUBLASLT_MATMUL_TILE_UNDEFINED;
        std::size_t written = 0;
        check(cublasLtMatmulAlgoConfigGetAttribute(&theirs, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile,
                                                   sizeof tile, &written),
              "cublasLtMatmulAlgoConfigGetAttribute");
        return tile != CUBLASLT_MATMUL_TILE_UNDEFINED;
    }
    bool is_valid(call const& now, algorithm const& theirs) const {
        auto d = now.description;
        cublasLtMatmulHeuristicResult_t result{};
        return cublasLtMatmulAlgoCheck(handle_, &d.operation, &d.left, &d.right, &d.result,
                                       &d.result, &theirs, &result) == CUBLAS_STATUS_SUCCESS &&
               result.workspaceSize <= workspace_bytes;
    }
    /// The least of three runs after a first one; infinite where it does not run.
    float milliseconds(call const& now, choice const& which) const {
        float least = std::numeric_limits<float>::infinity();
        if (!launch(now, which)) return least;
        for (int run = 0; run < 3; ++run) {
            // What a step reads in between leaves little of the operands in the cache. And while
            // the device is busy with it, the host gets ahead: only the device is timed.
            check(cudaMemsetAsync(workspace_.data(), 0, workspace_bytes, stream_),
                  "cudaMemsetAsync");
            check(cudaEventRecord(events_[0], stream_), "cudaEventRecord");
            launch(now, which);
            check(cudaEventRecord(events_[1], stream_), "cudaEventRecord");
            check(cudaEventSynchronize(events_[1]), "cudaEventSynchronize");
            float time = 0;
            check(cudaEventElapsedTime(&time, events_[0], events_[1]), "cudaEventElapsedTime");
            least = std::min(least, time);
        }
        return least;
    }

    thrust_cuda const& system_;
    cudaStream_t stream_;
    bool exact_;
    product_precision precision_;
    device_buffer<char> workspace_ = system_.allocate<char>(index_t{workspace_bytes});
    cublasLtHandle_t handle_ = nullptr;
    std::array<cudaEvent_t, 2> events_{};
    std::map<class_key, choice> choices_;
};

}  // namespace grove::inline GROVE_ISA::detail
