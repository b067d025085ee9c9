// SPDX-License-Identifier: Apache-2.0
/// @file
/// Whether a product adds in a given order: its bits against those of another, on numbers without a
/// pattern.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "grove/backend/cuda/system.hpp"
#include "grove/backend/cuda/tile.hpp"

namespace grove::inline GROVE_ISA::detail {

/// Numbers in [−1, 1) without a pattern, from a hash of their place.
struct scattered_number {
    output<float> y;
    __device__ void operator()(index_t at) const {
        auto bits = static_cast<std::uint32_t>(at) * 2654435761U + 12345U;
        bits = (bits ^ (bits >> 16)) * 2246822519U;
        bits ^= bits >> 13;
        y.set(at, static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-31F);
    }
};
/// Lines of the inner index, of which the numbers of the second half are those of the first, times
/// `sign`: sums cancel but for their rounding, which tells one order of addition from another even
/// where the result is rounded.
struct cancelling_number {
    input<float> x;
    index_t inner, step;  ///< its extent, and from one number of a line to the next
    float sign;
    output<float> y;
    __device__ void operator()(index_t at) const {
        index_t const t = at / step % inner, half = inner / 2;
        y.set(at, t < half ? x[at] : t < 2 * half ? sign * x[at - half * step] : 0.0F);
    }
};
struct differing_bits {
    input<float> a, b;
    std::int32_t* found;
    __device__ void operator()(index_t at) const {
        if (__float_as_uint(a[at]) != __float_as_uint(b[at])) *found = 1;
    }
};

/// A small product with the transposes, alignments and, up to 2048, the inner extent of another:
/// beyond, one that ends as far from a multiple of 128, at which algorithms' steps differ. It has
/// many rows where the other has one, since a few numbers may be equal by chance.
class product_probe {
public:
    /// Of operands, and with results, in bf16 or in full.
    product_probe(thrust_cuda const& system, product_shape const& like, bool rounded_operands,
                  bool rounded_results)
        : system_(system),
          shape_{like.transpose_a ? cut(like.m, 96, 4) : 96,
                 cut(like.n, 192, 4),
                 cut(like.k, 2048, 128),
                 like.transpose_a,
                 like.transpose_b,
                 std::min<index_t>(like.batch, 2)},
          a_(memory(shape_.batch * shape_.m * shape_.k, rounded_operands)),
          b_(memory(shape_.batch * shape_.k * shape_.n, rounded_operands)),
          expected_(memory(shape_.batch * shape_.m * shape_.n, rounded_results)),
          got_(memory(expected_.size(), rounded_results)) {
        bool const cancels = rounded_results && shape_.k >= 64;
        fill(a_, shape_.transpose_a ? shape_.m : 1, 1.0F, cancels);
        fill(b_, shape_.transpose_b ? 1 : shape_.n, -1.0F, cancels);
        for (auto const* y : {&expected_, &got_})
            system_.each(y->size(), scattered_number{y->output()});
    }

    /// Expects the order of the inner index.
    void expect_chain() {
        product_blocks<float> const tiles{shape_, a_.numbers(), b_.numbers(), expected_.data()};
        system_.each_block(tiles.blocks(), tiles);
    }

    product_shape const& shape() const { return shape_; }
    input<float> a() const { return a_.input(); }
    input<float> b() const { return b_.input(); }
    /// Where the product with the expected bits goes.
    output<float> expected() const { return expected_.output(); }
    /// Where the product under test goes.
    output<float> result() const { return got_.output(); }
    /// Whether the product under test has the bits; waits for the stream.
    bool same_bits() const {
        std::int32_t found = 0;
        auto const flag = system_.upload(std::span<std::int32_t const>(&found, 1));
        system_.each(got_.size(), differing_bits{expected_.input(), got_.input(), flag.data()});
        check(cudaMemcpyAsync(&found, flag.data(), sizeof found, cudaMemcpyDeviceToHost,
                              system_.stream()),
              "cudaMemcpyAsync");
        check(cudaStreamSynchronize(system_.stream()), "cudaStreamSynchronize");
        return found == 0;
    }

private:
    /// Not far above `most`, and as even as the extent.
    static index_t cut(index_t extent, index_t most, index_t period) {
        return extent <= most ? extent : most + extent % period;
    }
    device_buffer<float> memory(index_t size, bool rounded) const {
        return rounded ? system_.allocate_rounded(size) : system_.allocate<float>(size);
    }
    /// `step` lies between two numbers of a line of the inner index.
    void fill(device_buffer<float> const& x, index_t step, float sign, bool cancels) const {
        if (!cancels) return system_.each(x.size(), scattered_number{x.output()});
        auto const plain = system_.allocate<float>(x.size());
        system_.each(x.size(), scattered_number{plain.output()});
        system_.each(x.size(), cancelling_number{plain.input(), shape_.k, step, sign, x.output()});
    }

    thrust_cuda const& system_;
    product_shape shape_;
    device_buffer<float> a_, b_, expected_, got_;
};

}  // namespace grove::inline GROVE_ISA::detail
