// SPDX-License-Identifier: Apache-2.0
/// @file
/// Kernels as named function objects of an element (one thread each) or of a row and a lane (one
/// warp each). What they compute for a row depends on that row alone; sums run in a fixed order.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "grove/backend/refinement.hpp"

namespace spike::inline GROVE_ISA {

using grove::index_t, grove::shape;

/// The first bad index that a kernel met; reported by the next download or synchronisation.
struct index_fault {
    int operation;  // 1 + its place in cuda_backend's list of names; 0: none
    std::int32_t index, limit;
};

/// Bodies of kernels. Each is called with the number of its element, or with its row and lane.
namespace kernel {

template <class Body>
__global__ void each(index_t size, Body body) {
    index_t const i = index_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < size) body(i);
}
template <class Body>
__global__ void each_warp(Body body) {
    body(index_t{blockIdx.x}, static_cast<int>(threadIdx.x));
}
/// Number of `keys` (ascending) that are < `key`, or ≤ it where `after`.
__device__ inline index_t bound(std::int32_t const* keys, index_t size, index_t key, bool after) {
    index_t low = 0, high = size;
    while (low < high) {
        index_t const middle = (low + high) / 2;
        if (keys[middle] < key || (after && keys[middle] == key))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
template <class T>
__device__ T warp_sum(T x) {
    for (int width = 16; width > 0; width /= 2) x += __shfl_xor_sync(~0U, x, width);
    return x;
}

template <class Law, class T, int Outputs, int Inputs>
struct map {
    Law law;
    index_t columns;
    T* y[Outputs];
    T const* x[Inputs];
    index_t row_stride[Inputs], column_stride[Inputs];

    __device__ void operator()(index_t at) const { apply(at, std::make_index_sequence<Inputs>()); }
    template <std::size_t... I>
    __device__ void apply(index_t at, std::index_sequence<I...>) const {
        index_t const i = at / columns, j = at % columns;
        auto const result = law(x[I][i * row_stride[I] + j * column_stride[I]]...);
        using traits = grove::detail::output_traits<std::remove_const_t<decltype(result)>>;
        for (int k = 0; k < Outputs; ++k) y[k][at] = traits::get(result, k);
    }
};
/// The law of a place: i itself.
struct place {
    template <class Number>
    __device__ Number operator()(index_t i) const {
        return static_cast<Number>(i);
    }
};
template <class T, class Law>
struct tabulate {
    Law law;
    T* y;
    __device__ void operator()(index_t i) const { y[i] = law.template operator()<T>(i); }
};
template <class To, class From>
struct cast {
    From const* x;
    To* y;
    __device__ void operator()(index_t i) const { y[i] = static_cast<To>(x[i]); }
};
template <class T>
struct reduce_columns {
    grove::reduction how;
    T const* x;
    index_t columns;
    T* y;
    __device__ void operator()(index_t i, int lane) const {
        T const* row = x + i * columns;
        bool const sum = how == grove::reduction::sum;
        T result = sum ? T(0) : row[0];
        for (index_t j = lane; j < columns; j += 32)
            result = sum ? result + row[j] : grove::math::max(result, row[j]);
        for (int width = 16; width > 0; width /= 2) {
            T const other = __shfl_xor_sync(~0U, result, width);
            result = sum ? result + other : grove::math::max(result, other);
        }
        if (lane == 0) y[i] = result;
    }
};
/// Sums rows order[p] (or p) of x over p in [offsets[s], offsets[s+1]); where there are no offsets,
/// over the places of `s` in the ascending keys.
template <class T>
struct sum_rows {
    T const* x;
    index_t columns;
    std::int32_t const *offsets, *keys, *order;
    index_t count;
    T* y;
    __device__ void operator()(index_t at) const {
        index_t const s = at / columns, j = at % columns;
        index_t const begin = offsets ? offsets[s] : bound(keys, count, s, false);
        index_t const end = offsets ? offsets[s + 1] : bound(keys, count, s, true);
        T sum = T(0);
        for (index_t p = begin; p < end; ++p) sum += x[(order ? order[p] : p) * columns + j];
        y[at] = sum;
    }
};
template <class T>
struct repeat_segments {
    T const* x;
    index_t columns;
    std::int32_t const* offsets;
    index_t segments;
    T* y;
    __device__ void operator()(index_t at) const {
        index_t const s = bound(offsets, segments + 1, at / columns, true) - 1;
        y[at] = s >= 0 && s < segments ? x[s * columns + at % columns] : T(0);
    }
};
/// One thread a row picks the next largest k times; equal numbers in order of their columns.
template <class T>
struct top_k {
    T const* x;
    index_t columns, k;
    std::int32_t* y;
    __device__ void operator()(index_t i) const {
        T const* row = x + i * columns;
        index_t last = -1;
        for (index_t t = 0; t < k; ++t) {
            index_t best = -1;
            for (index_t j = 0; j < columns; ++j) {
                bool const later =
                    last < 0 || row[j] < row[last] || (row[j] == row[last] && j > last);
                if (later && (best < 0 || row[j] > row[best])) best = j;
            }
            y[i * k + t] = static_cast<std::int32_t>(last = best);
        }
    }
};
struct segment_offsets {
    std::int32_t const* keys;
    index_t count;
    std::int32_t* y;
    __device__ void operator()(index_t s) const {
        y[s] = static_cast<std::int32_t>(bound(keys, count, s, false));
    }
};
struct check_index {
    std::int32_t const* index;
    std::int32_t limit;
    int operation;
    index_fault* fault;
    __device__ void operator()(index_t i) const {
        if (index[i] >= 0 && index[i] < limit) return;
        if (atomicCAS(&fault->operation, 0, operation) == 0) {
            fault->index = index[i];
            fault->limit = limit;
        }
    }
};
/// y[i] = x[index[i]], or y[index[i]] = x[i] where `write`; rows outside [0, limit) are left out.
template <class T, bool Write>
struct move_rows {
    T const* x;
    index_t columns;
    std::int32_t const* index;
    index_t limit;
    T* y;
    __device__ void operator()(index_t at) const {
        index_t const row = index[at / columns], other = row * columns + at % columns;
        if (row < 0 || row >= limit) return;
        if constexpr (Write)
            y[other] = x[at];
        else
            y[at] = x[other];
    }
};
/// Views have all axes; those beyond the rank have one element.
template <class T, bool Place>
struct move_strided {
    T const* x;
    index_t offset, extents[shape::max_rank], strides[shape::max_rank];
    T* y;
    __device__ void operator()(index_t at) const {
        index_t rest = at, place = offset;
#pragma unroll
        for (int axis = shape::max_rank - 1; axis >= 0; --axis) {
            place += rest % extents[axis] * strides[axis];
            rest /= extents[axis];
        }
        if constexpr (Place)
            y[place] = x[at];
        else
            y[at] = x[place];
    }
};
template <class T>
struct grouped_matmul {
    grove::grouped_shape g;
    T const *x, *w;
    std::int32_t const* offsets;
    T* y;
    __device__ void operator()(index_t at) const {
        index_t const i = at / g.n, j = at % g.n, e = bound(offsets, g.groups + 1, i, true) - 1;
        if (e < 0 || e >= g.groups) return;
        T sum = T(0);
        for (index_t t = 0; t < g.k; ++t)
            sum = grove::math::fma(x[i * g.k + t],
                                   w[e * g.k * g.n + (g.transpose_b ? j * g.k + t : t * g.n + j)],
                                   sum);
        y[at] = sum;
    }
};
template <class T>
struct grouped_outer {
    grove::grouped_shape g;
    T const *x, *y;
    std::int32_t const* offsets;
    T* w;
    __device__ void operator()(index_t at) const {
        index_t const e = at / (g.k * g.n), rest = at % (g.k * g.n);
        index_t const k = g.transpose_b ? rest % g.k : rest / g.n;
        index_t const n = g.transpose_b ? rest / g.k : rest % g.n;
        T sum = T(0);
        for (index_t i = offsets[e]; i < offsets[e + 1]; ++i)
            sum = grove::math::fma(x[i * g.k + k], y[i * g.n + n], sum);
        w[at] = sum;
    }
};
/// One warp a query and head: the keys in order, with a running maximum.
template <class T>
struct attention {
    static constexpr int max_dim = 128;
    grove::attention_shape shape;
    T const *q, *k, *v;
    std::int32_t const *offsets, *key_first, *key_counts;
    index_t sequences;
    T *out, *log_normalizer;
    __device__ void operator()(index_t at, int lane) const {
        index_t const i = at / shape.heads, h = at % shape.heads, dim = shape.head_dim;
        index_t const s = bound(offsets, sequences + 1, i, true) - 1;
        index_t const columns = shape.key_value_heads * dim;
        index_t const base =
            key_first[s] * columns + h / (shape.heads / shape.key_value_heads) * dim;
        T const scale = T(1) / grove::math::sqrt(static_cast<T>(dim));
        T top = -INFINITY, sum = T(0), mean[max_dim / 32] = {};
        for (index_t t = 0, seen = key_counts[s] - (offsets[s + 1] - i) + 1; t < seen; ++t) {
            index_t const place = base + t * columns;
            T dot = T(0);
            for (index_t d = lane; d < dim; d += 32) dot += q[at * dim + d] * k[place + d];
            T const score = warp_sum(dot) * scale, next = grove::math::max(top, score);
            T const keep = grove::math::exp(top - next), weight = grove::math::exp(score - next);
            sum = sum * keep + weight;
#pragma unroll
            for (int part = 0; part < max_dim / 32; ++part)
                if (index_t const d = lane + 32 * part; d < dim)
                    mean[part] = mean[part] * keep + weight * v[place + d];
            top = next;
        }
#pragma unroll
        for (int part = 0; part < max_dim / 32; ++part)
            if (index_t const d = lane + 32 * part; d < dim) out[at * dim + d] = mean[part] / sum;
        if (lane == 0) log_normalizer[at] = top + grove::math::log(sum);
    }
};

}  // namespace kernel
}  // namespace spike::inline GROVE_ISA
