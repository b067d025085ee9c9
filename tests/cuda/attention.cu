// SPDX-License-Identifier: Apache-2.0
// Attention on CUDA agrees with its composite, values and gradients; a row has the same bits alone,
// in a batch, in decoding and in a packed pass, whatever its products' operands are rounded to.
#include "grove/ops/attention.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "../ops/attention_cases.hpp"
#include "../ops/learn.hpp"
#include "../instances/kernels_cuda.hpp"

using namespace grove;

namespace {

using ints = std::vector<std::int32_t>;

template <class T>
bool same_bits(std::vector<T> const& a, std::vector<T> const& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}
template <class T>
std::vector<T> rows_of(std::vector<T> const& x, index_t columns, index_t first, index_t count) {
    auto const begin = x.begin() + first * columns;
    return {begin, begin + count * columns};
}
template <class T>
using sequences = grove_test::sequences<cuda_backend, T>;
template <class T>
using key_cache = grove_test::key_cache<cuda_backend, T>;

/// Plans of every size, heads that are not aligned, latent ones, one head for many queries.
std::vector<attention_shape> const shapes{{6, 2, 20}, {2, 2, 64},       {4, 2, 128},
                                          {3, 3, 33}, {2, 1, 192, 100}, {40, 1, 24, 16, true, 0.3}};
attention_shape const latent{16, 1, 576, 512, true, 0.07};
/// Wider than 128 columns, with values among the keys' columns and apart.
std::vector<attention_shape> const wide{{16, 1, 288, 256, true},
                                        {4, 2, 136, 130},
                                        {2, 2, 256},
                                        {4, 1, 137, 130, true},
                                        {3, 1, 64, 300}};

template <class T>
void decode_with_the_bits_of_a_packed_pass(cuda_backend& b) {
    auto all = shapes;
    all.push_back(latent);
    all.insert(all.end(), wide.begin(), wide.end());
    for (auto const& shape : all) {
        CAPTURE(shape.head_dim);
        sequences<T> const x(b, shape, {37, 5, 200});
        auto const expected = x.packed();
        for (ints const& ends : {ints{1, 2, 3, 4, 5, 36, 37, 63, 64, 65, 66, 128, 129, 199, 200},
                                 ints{1, 3, 40, 41, 90, 200}, ints{199, 200}}) {
            std::vector<T> out(expected.size());
            key_cache<T> cache(b, x);
            index_t begin = 0;
            for (index_t end : ends) {
                cache.step(begin, end, out);
                begin = end;
            }
            CHECK(same_bits(out, expected));
        }
    }
}

template <class T>
void decode_a_large_batch(cuda_backend& b) {
    for (attention_shape const& shape :
         {attention_shape{4, 4, 64}, {14, 2, 64}, {16, 1, 288, 256, true}, {2, 1, 136, 132}}) {
        ints lengths;
        for (std::int32_t s = 0; s < 150; ++s) lengths.push_back(1 + s * 37 % 140);
        sequences<T> const x(b, shape, lengths);
        auto const expected = x.packed();
        std::vector<T> out(expected.size());
        key_cache<T> cache(b, x);
        cache.step(0, 100, out);
        for (index_t t = 100; t < 140; ++t) cache.step(t, t + 1, out);
        CHECK(same_bits(out, expected));
    }
}

/// Compares the first `count` sequences.
template <class T>
void compare_alone_and_in_a_batch(cuda_backend& b, attention_shape const& shape,
                                  ints const& lengths, std::size_t count) {
    CAPTURE(shape.head_dim);
    sequences<T> const x(b, shape, lengths);
    auto const together =
        learn([&](auto const&... a) { return attention(shape, a..., x.layout()); }, x.q, x.k, x.v);
    auto const upstream =
        random_tensor<T>(b, {x.q.rows(), shape.output_columns()}, 99);  // as there
    for (std::size_t s = 0; s < count; ++s) {
        index_t const first = x.first_row(s), rows = x.lengths[s];
        std::array<std::vector<T>, 4> alone;
        autodiff<cuda_backend> tape(b);
        auto track = [&](auto const& all, std::size_t i) {
            return leaf(tape, slice_rows(all, first, rows),
                        [&alone, i](auto const& g) { alone[i] = to_host(g); });
        };
        auto const y = attention(shape, track(x.q, 1), track(x.k, 2), track(x.v, 3),
                                 attention_layout::packed(ints{x.lengths[s]}));
        alone[0] = to_host(y);
        backward(y, slice_rows(upstream, first, rows));
        std::array<index_t, 4> const columns{shape.output_columns(), shape.query_columns(),
                                             shape.key_columns(), shape.value_columns()};
        for (std::size_t i = 0; i < 4; ++i) {
            CAPTURE(i);
            CHECK(same_bits(alone[i], rows_of(together[i], columns[i], first, rows)));
        }
    }
}
template <class T>
void compare_alone_and_in_a_batch(cuda_backend& b) {
    for (auto const& shape :
         {attention_shape{4, 2, 20}, {2, 2, 64}, {4, 2, 136, 130}, {16, 1, 160, 144, true}})
        compare_alone_and_in_a_batch<T>(b, shape, {45, 3, 150}, 3);
    // Query heads of a group in blocks of their own, and in one block.
    compare_alone_and_in_a_batch<T>(b, {6, 2, 24}, ints(300, 70), 2);
}

/// |x - y| / |y|
double distance(std::vector<float> const& x, std::vector<float> const& y) {
    double apart = 0, size = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        double const difference = double(x[i]) - double(y[i]);
        apart += difference * difference;
        size += double(y[i]) * double(y[i]);
    }
    return std::sqrt(apart / size);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: attention agrees with its composite, values and gradients", T, float,
                   double) {
    cuda_backend b;
    std::vector<std::pair<attention_shape, ints>> cases{{{1, 1, 1}, {1}},
                                                        {{4, 2, 5}, {3, 1, 7}},
                                                        {{4, 2, 9, 20, false, 0.7}, {35, 2}},
                                                        {{6, 2, 9, 4, true}, {5, 1}},
                                                        {{2, 2, 256}, {70, 3}},
                                                        {latent, {66, 5}}};
    for (auto const& shape : shapes) cases.push_back({shape, {33, 0, 70, 1, 130}});
    for (auto const& [shape, lengths] : cases) {
        CAPTURE(shape.head_dim);
        sequences<T> const x(b, shape, lengths);
        auto const layout = x.layout();
        CHECK(
            disagreement([&](auto const&... a) { return attention(shape, a..., layout); },
                         [&](auto const&... a) { return attention_composite(shape, a..., layout); },
                         x.q, x.k, x.v) < tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("cuda: attention: decoding has the bits of a packed pass", T, float, double) {
    cuda_backend b;
    decode_with_the_bits_of_a_packed_pass<T>(b);
}

TEST_CASE_TEMPLATE("cuda: attention: a large batch decodes with the bits of a packed pass", T,
                   float, double) {
    cuda_backend b;
    decode_a_large_batch<T>(b);
}

TEST_CASE_TEMPLATE("cuda: attention: a sequence's bits, and its gradient's, do not know the batch",
                   T, float, double) {
    cuda_backend b;
    compare_alone_and_in_a_batch<T>(b);
}

TEST_CASE("cuda: attention on tensor cores agrees with the one in float, values and gradients") {
    cuda_backend exact;
    std::vector<std::pair<attention_shape, ints>> const cases{
        {{1, 1, 16}, {1, 30}},
        {{2, 2, 64}, {64, 63, 65, 1}},
        {{14, 2, 64}, {200, 1, 130}},
        {{4, 2, 24}, {63, 0, 200, 65}},
        {{2, 1, 40}, {1, 64, 200}},
        {{2, 2, 80}, {70, 129}},
        {{4, 2, 128}, {65, 200}},
        {{7, 1, 64, 32}, {200, 33}},
        {{2, 1, 24, 64}, {100, 64}},
        {{3, 3, 33}, {33, 70, 130}},
        {{2, 1, 100, 20}, {90, 64}},
        {{7, 1, 64}, {1000}},
        {{20, 1, 24, 16, true, 0.3}, {35, 100}},
        {{16, 1, 288, 256, true}, {70, 3, 200}},
        {{128, 1, 576, 512, true, 0.07}, {66, 5}},
        {{4, 2, 136, 130}, {65, 130}},
        {{4, 1, 137, 130, true}, {65, 20}},
        {{2, 2, 256}, {70, 3, 129}},
        {{3, 1, 64, 300}, {100, 65}}};
    for (auto const& [precision, bound] :
         {std::pair{product_precision::tf32, 1e-3}, std::pair{product_precision::bf16, 8e-3}}) {
        cuda_backend rounded({.precision = precision});
        for (auto const& [shape, lengths] : cases) {
            CAPTURE(shape.head_dim);
            CAPTURE(bound);
            auto const learned = [&, &shape = shape, &lengths = lengths](cuda_backend& b) {
                sequences<float> const x(b, shape, lengths);
                return learn([&](auto const&... a) { return attention(shape, a..., x.layout()); },
                             x.q, x.k, x.v);
            };
            auto const expected = learned(exact), got = learned(rounded);
            for (std::size_t i = 0; i < expected.size(); ++i) {
                CAPTURE(i);
                double const apart = distance(got[i], expected[i]);
                CHECK(apart < (i == 0 ? bound : 1.5 * bound));
                CHECK(apart > 0);
            }
        }
    }
}

TEST_CASE("cuda: attention on tensor cores: a row has the same bits everywhere") {
    for (auto precision : {product_precision::tf32, product_precision::bf16}) {
        cuda_backend b({.precision = precision});
        decode_with_the_bits_of_a_packed_pass<float>(b);
        decode_a_large_batch<float>(b);
        compare_alone_and_in_a_batch<float>(b);
    }
}

TEST_CASE("cuda: attention: nothing in, nothing out; what does not fit or exist is an error") {
    cuda_backend b;
    attention_shape const shape{2, 1, 4};
    auto const none = zeros<float>(b, {0, 8}), no_keys = zeros<float>(b, {0, 4});
    CHECK(attention(shape, none, no_keys, no_keys, attention_layout{}).size() == 0);
    CHECK(attention(shape, none, no_keys, no_keys, attention_layout::packed(ints{0, 0})).size() ==
          0);

    auto const q = random_tensor<float>(b, {3, 8}, 1), k = random_tensor<float>(b, {3, 4}, 2);
    auto index = [&](ints const& x) { return b.upload(std::span<std::int32_t const>(x)); };
    auto attend = [&](ints const& offsets, ints const& first, ints const& counts) {
        b.attention(shape, q.buffer(), k.buffer(), k.buffer(), index(offsets), index(first),
                    index(counts));
        b.synchronize();
    };
    CHECK_NOTHROW(attend({0, 3}, {0}, {3}));
    CHECK_THROWS_WITH_AS(attend({0, 4}, {0}, {3}),
                         "[attention] expected offsets that ascend from 0 to 3, got others",
                         value_error);
    CHECK_THROWS_AS(attend({0, 2, 1, 3}, {0, 0, 0}, {2, 2, 2}), value_error);
    CHECK_THROWS_AS(attend({-7, 1000}, {0}, {3}), value_error);
    CHECK_THROWS_WITH_AS(attend({0, 3}, {1}, {3}),
                         "[attention] expected indices in [0, 3), got 3 at 0", value_error);
    CHECK_THROWS_AS(attend({0, 3}, {-1}, {3}), value_error);
    CHECK_THROWS_AS(attend({0, 3}, {0}, {2}), value_error);
    CHECK_THROWS_AS(attend({0, 3}, {0, 0}, {3}), value_error);
    CHECK_NOTHROW(attend({0, 3}, {0}, {3}));

    attention_shape const huge{1, 1, 20000};
    auto const wide = zeros<float>(b, {1, 20000});
    CHECK_THROWS_AS(attention(huge, wide, wide, wide, attention_layout::packed(ints{1})),
                    value_error);
}
