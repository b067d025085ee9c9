// SPDX-License-Identifier: Apache-2.0
/// @file
/// Bad indices, offsets and logits: found by kernels, thrown by the host when it next waits for
/// them.
#pragma once

#include <cstdint>

#include "grove/backend/cuda/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

enum class fault_kind { none, index, offsets, not_a_number, infinite };

/// What a kernel met, in the memory of the host.
struct fault_record {
    fault_kind kind;
    char const* operation;  // of the host; a kernel only carries it
    index_t got, limit, place;
};

/// Given to kernels by value. The first report since the last throw is kept, the others are not.
struct fault_report {
    int* claimed;
    fault_record* record;
    char const* operation;

    __device__ void index(index_t got, index_t limit, index_t place) const {
        keep({fault_kind::index, operation, got, limit, place});
    }
    __device__ void offsets(index_t rows) const {
        keep({fault_kind::offsets, operation, 0, rows, 0});
    }
    __device__ void not_a_number(index_t place) const {
        keep({fault_kind::not_a_number, operation, 0, 0, place});
    }
    __device__ void infinite(index_t place) const {
        keep({fault_kind::infinite, operation, 0, 0, place});
    }
    __device__ void keep(fault_record const& met) const {
        if (atomicExch(claimed, 1) == 0) *record = met;
    }
};

/// Where kernels of one stream leave their faults.
class fault_board {
public:
    explicit fault_board(cudaStream_t stream) : stream_(stream) {
        check(cudaMallocHost(&record_, sizeof(fault_record)), "cudaMallocHost");
        *record_ = {};
        check(cudaMalloc(&claimed_, sizeof(int)), "cudaMalloc");
        clear();
    }
    fault_board(fault_board const&) = delete;
    fault_board& operator=(fault_board const&) = delete;
    ~fault_board() {
        cudaFree(claimed_);
        cudaFreeHost(record_);
    }

    /// For a kernel of `operation`, which must be a literal.
    fault_report report(char const* operation) const { return {claimed_, record_, operation}; }
    /// Whether a kernel met a fault. It may still be under way: `raise` alone tells which.
    bool has_met() const { return record_->kind != fault_kind::none; }
    /// Throws value_error for the first fault since the last; only where the stream was waited for.
    void raise() {
        fault_record const met = *record_;
        if (met.kind == fault_kind::none) return;
        *record_ = {};
        clear();
        if (met.kind == fault_kind::offsets)
            fail<value_error>(met.operation, "expected offsets that ascend from 0 to ", met.limit,
                              ", got others");
        if (met.kind == fault_kind::not_a_number)
            fail<value_error>(met.operation, "expected logits without NaN, got one at ", met.place);
        if (met.kind == fault_kind::infinite)
            fail<value_error>(met.operation, "expected a finite largest logit, got another at ",
                              met.place);
        fail<value_error>(met.operation, "expected indices in [0, ", met.limit, "), got ", met.got,
                          " at ", met.place);
    }

private:
    void clear() { check(cudaMemsetAsync(claimed_, 0, sizeof(int), stream_), "cudaMemsetAsync"); }

    cudaStream_t stream_;
    fault_record* record_ = nullptr;
    int* claimed_ = nullptr;
};

}  // namespace grove::inline GROVE_ISA::detail
