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
    float* y;
    __device__ void operator()(index_t at) const {
        auto bits = static_cast<std::uint32_t>(at) * 2654435761U + 12345U;
        bits = (bits ^ (bits >> 16)) * 2246822519U;
        bits ^= bits >> 13;
        y[at] = static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-31F;
    }
};
struct differing_bits {
    float const *a, *b;
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
    product_probe(thrust_cuda const& system, product_shape const& like)
        : system_(system),
          shape_{like.transpose_a ? cut(like.m, 96, 4) : 96,
                 cut(like.n, 192, 4),
                 cut(like.k, 2048, 128),
                 like.transpose_a,
                 like.transpose_b,
                 std::min<index_t>(like.batch, 2)},
          a_(numbers(shape_.batch * shape_.m * shape_.k)),
          b_(numbers(shape_.batch * shape_.k * shape_.n)),
          expected_(numbers(shape_.batch * shape_.m * shape_.n)),
          got_(numbers(expected_.size())) {}

    /// Expects the order of the inner index.
    void expect_chain() {
        product_blocks<float> const tiles{shape_, a_.data(), b_.data(), expected_.data()};
        system_.each_block(tiles.blocks(), tiles);
    }

    product_shape const& shape() const { return shape_; }
    float const* a() const { return a_.data(); }
    float const* b() const { return b_.data(); }
    /// Where the product with the expected bits goes.
    float* expected() const { return expected_.data(); }
    /// Where the product under test goes.
    float* result() const { return got_.data(); }
    /// Whether the product under test has the bits; waits for the stream.
    bool same_bits() const {
        std::int32_t found = 0;
        auto const flag = system_.upload(std::span<std::int32_t const>(&found, 1));
        system_.each(got_.size(), differing_bits{expected_.data(), got_.data(), flag.data()});
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
    device_buffer<float> numbers(index_t size) const {
        auto y = system_.allocate<float>(size);
        system_.each(size, scattered_number{y.data()});
        return y;
    }

    thrust_cuda const& system_;
    product_shape shape_;
    device_buffer<float> a_, b_, expected_, got_;
};

}  // namespace grove::inline GROVE_ISA::detail
