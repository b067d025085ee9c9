// SPDX-License-Identifier: Apache-2.0
/// @file
/// Log-probability, entropy and normaliser of rows of logits, in one pass.
#pragma once

#include <limits>

#include "grove/backend/cuda/numbers.hpp"
#include "grove/backend/cuda/rows.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Of numbers z: their maximum, Σ e^(z − top) and Σ e^(z − top) · (z − top).
template <class T>
struct softmax_sums {
    T top = -std::numeric_limits<T>::infinity();
    T sum = T(0), weighted = T(0);

    /// Takes in the numbers z[0 … count); −∞ adds nothing.
    template <int Count>
    __device__ void add(T const (&z)[Count]) {
        T most = z[0];
        for (T number : z) most = math::max(most, number);
        move_to(math::max(top, most));
        if (most == -std::numeric_limits<T>::infinity()) return;
        for (T number : z) {
            T const d = number - top, p = math::exp(d);
            sum += p;
            weighted += p == T(0) ? T(0) : p * d;
        }
    }
    __device__ void join(softmax_sums other) {
        T const most = math::max(top, other.top);
        move_to(most);
        other.move_to(most);
        sum += other.sum;
        weighted += other.weighted;
    }

private:
    __device__ void move_to(T next) {
        T const d = top - next, p = math::exp(d);
        if (!(d < T(0))) return;  // also where both are −∞
        weighted = p == T(0) ? T(0) : p * math::fma(d, sum, weighted);
        sum *= p;
        top = next;
    }
};

/// Which tokens of a row are kept: all, or those listed.
struct kept_sets {
    std::int32_t const *offsets, *tokens;  ///< without offsets, all are kept
    index_t size;                          ///< of `tokens`
    index_t vocabulary;

    __device__ index_t begin(index_t row) const {
        return offsets == nullptr ? 0 : clamp_row(offsets[row], size);
    }
    __device__ index_t end(index_t row) const {
        return offsets == nullptr ? 0 : clamp_row(offsets[row + 1], size);
    }
    __device__ index_fault fault() const { return {tokens, vocabulary}; }
};

/// So many threads for each row of logits: narrow rows have a warp, and share a block. A function
/// of the vocabulary, so that no other row changes a bit.
template <int Of>
struct row_threads {
    static constexpr int of_row = Of, rows_of_block = Of == 32 ? 8 : 1;
    static constexpr int threads = Of * rows_of_block, warps = Of / 32;
    index_t rows;

    index_t blocks() const { return (rows + rows_of_block - 1) / rows_of_block; }
    __device__ static index_t row(index_t block) {
        return block * rows_of_block + static_cast<int>(threadIdx.x) / Of;
    }
    __device__ static int thread() { return static_cast<int>(threadIdx.x) % Of; }
    /// The row's threads wait for each other, and see what the others have written.
    __device__ static void meet() {
        if constexpr (warps == 1)
            __syncwarp();
        else
            __syncthreads();
    }
    /// Whether any of the row's threads says so.
    __device__ static bool any(bool mine) {
        if constexpr (warps == 1)
            return __any_sync(~0U, mine);
        else
            return __syncthreads_or(mine);
    }
};

/// launch<threads of a row>().
template <class Launch>
void by_vocabulary(index_t vocabulary, Launch const& launch) {
    constexpr index_t narrow = 2048;
    if (vocabulary <= narrow)
        launch.template operator()<32>();
    else
        launch.template operator()<512>();
}

/// A row's numbers times the inverse temperature, as softmax_sums.
template <class T, int Threads>
struct statistics_rows : row_threads<Threads> {
    using base = row_threads<Threads>;
    using base::warps;
    static constexpr int at_once = 4;
    T const* logits;
    index_t vocabulary;
    std::int32_t const* targets;
    T inverse_temperature;
    kept_sets kept;
    bool aligned;
    fault_report report;
    T *log_probability, *entropy, *log_normalizer;

    __device__ void operator()(index_t block) const {
        index_t const row = base::row(block);
        if (row >= this->rows) return;
        __shared__ softmax_sums<T> of_warp[warps];
        T const* const z = logits + row * vocabulary;
        index_t const begin = kept.begin(row), end = kept.end(row), target = targets[row];
        bool const exists = target >= 0 && target < vocabulary;
        if (!exists && base::thread() == 0) report.index(target, vocabulary, row);
        bool has_target = exists && begin >= end;
        auto sums = begin >= end ? all_sums(z) : kept_sums(z, begin, end, target, has_target);
        for (int step = 16; step > 0; step /= 2)
            sums.join({__shfl_xor_sync(~0U, sums.top, step), __shfl_xor_sync(~0U, sums.sum, step),
                       __shfl_xor_sync(~0U, sums.weighted, step)});
        if (warps > 1 && threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sums;
        bool const impossible = !base::any(has_target);
        if (base::thread() != 0) return;
        for (int w = 1; w < warps; ++w) sums.join(of_warp[w]);
        T const log_sum = math::log(sums.sum), shift = sums.top + log_sum;
        T const logit = impossible ? -std::numeric_limits<T>::infinity() : z[target];
        log_probability[row] = math::fma(logit, inverse_temperature, -shift);
        entropy[row] = log_sum - sums.weighted / sums.sum;
        log_normalizer[row] = shift;
    }

private:
    __device__ softmax_sums<T> all_sums(T const* z) const {
        constexpr int size = packet<T>::size;
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        softmax_sums<T> sums;
        for (index_t j = index_t{base::thread()} * size; j < vocabulary;
             j += index_t{at_once} * Threads * size) {
            T x[at_once * size];
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                index_t const first = j + index_t{k} * Threads * size;
                auto const part =
                    load_packet(z, first, vocabulary, aligned && first < vocabulary, nothing);
#pragma unroll
                for (int t = 0; t < size; ++t) x[k * size + t] = part.at[t] * inverse_temperature;
            }
            sums.add(x);
        }
        return sums;
    }
    __device__ softmax_sums<T> kept_sums(T const* z, index_t begin, index_t end, index_t target,
                                         bool& has_target) const {
        softmax_sums<T> sums;
        for (index_t at = begin + base::thread(); at < end; at += Threads) {
            std::int32_t const token = kept.tokens[at];
            if (kept.fault()(at)) {
                report.index(token, vocabulary, at);
                continue;
            }
            has_target = has_target || token == target;
            T const x[] = {z[token] * inverse_temperature};
            sums.add(x);
        }
        return sums;
    }
};

/// Gradient of both by the logits: −p τ (gₗ + gₑ (log p + h)), and gₗ τ more for the target.
template <class T, int Threads>
struct statistics_gradient_rows : row_threads<Threads> {
    using base = row_threads<Threads>;
    T const* logits;
    index_t vocabulary;
    std::int32_t const* targets;
    T inverse_temperature;
    kept_sets kept;
    bool aligned;
    T const *log_normalizer, *entropy, *g_log_probability, *g_entropy;
    output<T> dx;

    __device__ void operator()(index_t block) const {
        index_t const row = base::row(block);
        if (row >= this->rows) return;
        T const* const z = logits + row * vocabulary;
        auto const to = dx.from(row * vocabulary);
        index_t const begin = kept.begin(row), end = kept.end(row);
        T const shift = -log_normalizer[row], h = entropy[row];
        T const gl = g_log_probability[row], ge = g_entropy[row];
        std::int32_t const target = targets[row];
        auto const slope = [&](index_t j, T logit) {
            T const log_p = math::fma(logit, inverse_temperature, shift), p = math::exp(log_p);
            T const y = p == T(0) ? T(0) : -p * inverse_temperature * math::fma(ge, log_p + h, gl);
            return j == target ? math::fma(gl, inverse_temperature, y) : y;
        };
        each_packet<T>(vocabulary, base::thread(), Threads, [&](index_t j) {
            packet<T> x{};
            if (begin >= end) {
                x = load_packet(z, j, vocabulary, aligned);
                for (int t = 0; t < packet<T>::size; ++t) x.at[t] = slope(j + t, x.at[t]);
            }
            to.store(x, j, vocabulary, aligned);
        });
        if (begin >= end) return;
        base::meet();  // behind the zeros
        for (index_t at = begin + base::thread(); at < end; at += Threads)
            if (!kept.fault()(at))
                to.set(kept.tokens[at], slope(kept.tokens[at], z[kept.tokens[at]]));
    }
};

}  // namespace grove::inline GROVE_ISA::detail
