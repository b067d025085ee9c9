// SPDX-License-Identifier: Apache-2.0
/// @file
/// What is computed from one row at a time: sums, softmax statistics, norms. Lanes are combined in
/// one fixed order, so that a row's bits depend on the row alone.
#pragma once

#include <algorithm>
#include <span>

#include "grove/core/number.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA::detail {

template <class T>
T sum_lanes(pack<T> x) {
    alignas(64) T lanes[pack<T>::size];
    x.store(lanes);
    for (int width = pack<T>::size / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    return lanes[0];
}
template <class T>
T max_lanes(pack<T> x) {
    alignas(64) T lanes[pack<T>::size];
    x.store(lanes);
    T result = lanes[0];
    for (T lane : lanes) result = math::max(result, lane);
    return result;
}

/// Σ term(i, count) over packs of [0, size); `term` must return zeros in the lanes beyond `count`.
template <class T, class Term>
T sum_packs(index_t size, Term&& term) {
    pack<T> sum;
    for_each_pack<T>(size, [&](index_t i, int count) { sum += term(i, count); });
    return sum_lanes(sum);
}
template <class T>
T sum_row(T const* x, index_t size) {
    return sum_packs<T>(size, [&](index_t i, int count) { return load_pack(x + i, count); });
}
template <class T>
T max_row(T const* x, index_t size) {
    pack<T> result(x[0]);
    for_each_pack<T>(size, [&](index_t i, int count) {
        result = math::max(result, load_pack(x + i, count, x[0]));
    });
    return max_lanes(result);
}
template <class T>
T dot_row(T const* x, T const* y, index_t size) {
    return sum_packs<T>(size, [&](index_t i, int count) {
        return load_pack(x + i, count) * load_pack(y + i, count);
    });
}

/// Turns scores into unnormalised probabilities e^(s·scale − max) in place; returns (max, sum).
template <class T>
std::pair<T, T> exponentiate_row(T* scores, index_t size, T scale) {
    T const top = max_row(scores, size) * scale;
    pack<T> sum;
    for_each_pack<T>(size, [&](index_t i, int count) {
        pack<T> const s = load_pack(scores + i, count, -std::numeric_limits<T>::infinity());
        pack<T> const p = math::exp(math::fma(s, pack<T>(scale), pack<T>(-top)));
        store_pack(p, scores + i, count);
        sum += p;
    });
    return {top, sum_lanes(sum)};
}

/// Whether `set` keeps a token; an empty one keeps all.
inline bool keeps(std::span<std::int32_t const> set, std::int32_t token) {
    return set.empty() || std::find(set.begin(), set.end(), token) != set.end();
}
/// The tokens kept in row i; without offsets none are named.
template <class Indices>
std::span<std::int32_t const> kept_set(Indices const& offsets, Indices const& kept, index_t i) {
    if (offsets.size() == 0) return {};
    auto const begin = offsets.data()[i], end = offsets.data()[i + 1];
    return {kept.data() + begin, static_cast<std::size_t>(end - begin)};
}
/// Zeros in all places of a row but those of `set`; `work` has as many places.
template <class T>
void keep_only(T* row, index_t size, std::span<std::int32_t const> set, T* work) {
    std::copy_n(row, size, work);
    std::fill_n(row, size, T(0));
    for (auto token : set) row[token] = work[token];
}

/// What a policy needs to know of one row of logits: log Σ e^z and the entropy of softmax(z).
template <class T>
struct row_statistics {
    T log_normalizer;
    T entropy;
};

/// Statistics of z = logits · inverse_temperature. Kept tokens only, where `kept` is not empty: the
/// others have probability zero.
template <class T>
row_statistics<T> logit_statistics(T const* logits, index_t size, T inverse_temperature,
                                   std::span<std::int32_t const> kept, T* work) {
    T const* z = logits;
    if (!kept.empty()) {
        std::fill_n(work, size, -std::numeric_limits<T>::infinity());
        for (auto token : kept) work[token] = logits[token];
        z = work;
    }
    T const top = max_row(z, size) * inverse_temperature;
    pack<T> sum, weighted;
    for_each_pack<T>(size, [&](index_t i, int count) {
        pack<T> const raw = load_pack(z + i, count, -std::numeric_limits<T>::infinity());
        pack<T> const d = math::fma(raw, pack<T>(inverse_temperature), pack<T>(-top));
        pack<T> const e = math::exp(d);
        sum += e;
        // 0 · −∞ must count as zero
        weighted += math::select(e == pack<T>(T(0)), pack<T>(T(0)), e * d);
    });
    T const total = sum_lanes(sum), log_total = math::log(total);
    return {top + log_total, log_total - sum_lanes(weighted) / total};
}

/// silu(gate) · up of [gate, up], each of `columns`.
template <class T>
void swiglu_row(T const* x, index_t columns, T* y) {
    for_each_pack<T>(columns, [&](index_t j, int count) {
        pack<T> const a = load_pack(x + j, count), u = load_pack(x + columns + j, count);
        store_pack(a * math::sigmoid(a) * u, y + j, count);
    });
}
/// Its gradient, laid out as x.
template <class T>
void swiglu_backward_row(T const* g, T const* x, index_t columns, T* dx) {
    for_each_pack<T>(columns, [&](index_t j, int count) {
        pack<T> const a = load_pack(x + j, count), u = load_pack(x + columns + j, count);
        pack<T> const gi = load_pack(g + j, count);
        pack<T> const s = math::sigmoid(a), silu = a * s;
        store_pack(gi * u * (s + silu * (pack<T>(T(1)) - s)), dx + j, count);
        store_pack(gi * silu, dx + columns + j, count);
    });
}

/// Rotates the pairs (j, j + half) of one head by the angles whose cosines and sines are given; the
/// sines times `sign`.
template <class T>
void rotate_halves(T const* x, T const* cosine, T const* sine, T sign, index_t half, T* y) {
    for_each_pack<T>(half, [&](index_t j, int count) {
        pack<T> const a = load_pack(x + j, count), b = load_pack(x + half + j, count);
        pack<T> const c = load_pack(cosine + j, count);
        pack<T> const s = load_pack(sine + j, count) * pack<T>(sign);
        store_pack(a * c - b * s, y + j, count);
        store_pack(b * c + a * s, y + half + j, count);
    });
}
/// The same for the pairs (2j, 2j + 1), parted and joined again around rotate_halves' arithmetic.
template <class T>
void rotate_interleaved(T const* x, T const* cosine, T const* sine, T sign, index_t half, T* y) {
    constexpr index_t width = pack<T>::size;
    T parted[2 * width], rotated[2 * width];
    for (index_t j = 0; j < half; j += width) {
        index_t const count = std::min(width, half - j);
        for (index_t i = 0; i < count; ++i) {
            parted[i] = x[2 * (j + i)];
            parted[count + i] = x[2 * (j + i) + 1];
        }
        rotate_halves(parted, cosine + j, sine + j, sign, count, rotated);
        for (index_t i = 0; i < count; ++i) {
            y[2 * (j + i)] = rotated[i];
            y[2 * (j + i) + 1] = rotated[count + i];
        }
    }
}

}  // namespace grove::inline GROVE_ISA::detail
