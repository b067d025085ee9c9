// SPDX-License-Identifier: Apache-2.0
#include "grove/ops/attention.hpp"

#include <doctest/doctest.h>

#include "attention_cases.hpp"
#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;

/// Golden inputs: 5 tokens, 4 query heads and 2 key heads of 2.
attention_shape const small{4, 2, 2};
numbers const golden_q{0.0,   1.33,  1.66,  0.73,  -0.75, -1.66, -1.31, 0.03,  1.35, 1.65,
                       0.7,   -0.78, -1.67, -1.3,  0.06,  1.37,  1.64,  0.67,  -0.8, -1.67,
                       -1.28, 0.09,  1.38,  1.63,  0.65,  -0.83, -1.68, -1.26, 0.11, 1.4,
                       1.63,  0.62,  -0.85, -1.68, -1.24, 0.14,  1.42,  1.62,  0.59, -0.88};
numbers const golden_k{1.3,  0.59, -0.77, -1.28, -0.4,  0.92,  1.24, 0.2,  -1.05, -1.16,
                       0.01, 1.16, 1.05,  -0.21, -1.24, -0.91, 0.41, 1.29, 0.76,  -0.6};
numbers const golden_v{1.68, 1.96,  1.97,  1.72,  1.23,  0.57, -0.16, -0.87, -1.46, -1.86,
                       -2.0, -1.87, -1.49, -0.91, -0.21, 0.53, 1.19,  1.69,  1.96,  1.97};

template <class T>
using sequences = grove_test::sequences<eigen_backend, T>;
template <class T>
using key_cache = grove_test::key_cache<eigen_backend, T>;

}  // namespace

TEST_CASE_TEMPLATE("attention: golden values of packed sequences", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const q = from_host(b, {5, 8}, golden_q), k = from_host(b, {5, 4}, golden_k);
    auto const v = from_host(b, {5, 4}, golden_v);
    numbers const expected{1.68,
                           1.96,
                           1.68,
                           1.96,
                           1.97,
                           1.72,
                           1.97,
                           1.72,
                           1.578830626861203,
                           1.6474990474157158,
                           1.5610412639566738,
                           1.5925496819995038,
                           1.920288170290864,
                           1.6595522821846658,
                           0.22256465997371083,
                           -0.40481574209769433,
                           1.5431200818729776,
                           1.6783308094310878,
                           -1.2175771338893515,
                           -1.6108515300314172,
                           0.44930210592766495,
                           0.2774538457435699,
                           -0.9972219787249662,
                           -1.3061101843821334,
                           -1.49,
                           -0.91,
                           -1.49,
                           -0.91,
                           -0.21,
                           0.53,
                           -0.21,
                           0.53,
                           -0.9586793596617587,
                           -0.39453967728379574,
                           0.3064692332483117,
                           0.8328432859871682,
                           1.7733474199389474,
                           1.8461383800516518,
                           1.2115443951659972,
                           1.4733289995571595};
    CHECK(worst_error(to_host(attention(small, q, k, v, attention_layout::packed({3, 2}))),
                      expected) < 1e-14);
}

TEST_CASE_TEMPLATE("attention: golden values of one query over cached keys", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const q = from_host(b, {1, 8}, numbers(golden_q.end() - 8, golden_q.end()));
    auto const k = from_host(b, {5, 4}, golden_k), v = from_host(b, {5, 4}, golden_v);
    attention_layout layout;
    layout.add(1, 1, 4);
    CHECK(worst_error(to_host(attention(small, q, k, v, layout)),
                      {-1.279818663078845, -1.5985105593864704, -0.1993833563459646,
                       -0.46042322486653575, -0.6659643819489169, -0.9350293561672807,
                       0.49383284137601224, 0.45570105591918725}) < 1e-14);
}

TEST_CASE_TEMPLATE("attention: gradients", B, reference_backend, eigen_backend) {
    B b;
    auto attend = [](auto const& q, auto const& k, auto const& v) {
        return attention(small, q, k, v, attention_layout::packed({3, 0, 2}));
    };
    CHECK(check_gradient(attend, from_host(b, {5, 8}, golden_q), from_host(b, {5, 4}, golden_k),
                         from_host(b, {5, 4}, golden_v)) < 1e-7);
    auto narrow = [](auto const& q, auto const& k, auto const& v) {
        return attention({4, 2, 2, 1, false, 0.9}, q, k, v, attention_layout::packed({3, 0, 2}));
    };
    CHECK(check_gradient(narrow, from_host(b, {5, 8}, golden_q), from_host(b, {5, 4}, golden_k),
                         from_host(b, {5, 2}, numbers(golden_v.begin(), golden_v.begin() + 10))) <
          1e-7);
    auto shared = [](auto const& q, auto const& k) {
        return attention({4, 1, 2, 1, true}, q, k, k, attention_layout::packed({3, 0, 2}));
    };
    CHECK(check_gradient(shared, from_host(b, {5, 8}, golden_q),
                         from_host(b, {5, 2}, numbers(golden_k.begin(), golden_k.begin() + 10))) <
          1e-7);
}

TEST_CASE_TEMPLATE("attention: fused and composite agree, values and gradients", T, float, double) {
    eigen_backend b(2);
    for (auto const& [shape, lengths] :
         std::vector<std::pair<attention_shape, ints>>{{{1, 1, 1}, {1}},
                                                       {{4, 2, 5}, {3, 1, 7}},
                                                       {{6, 2, 20}, {33, 0, 70}},
                                                       {{2, 2, 64}, {50}},
                                                       {{4, 2, 20, 9}, {3, 40}},
                                                       {{4, 2, 9, 20, false, 0.7}, {35, 2}},
                                                       {{40, 1, 20, 17, true, 0.3}, {33, 1, 6}},
                                                       {{6, 2, 9, 4, true}, {5, 1}}}) {
        sequences<T> const x(b, shape, lengths);
        auto const layout = attention_layout::packed(lengths);
        CHECK(
            disagreement([&](auto const&... a) { return attention(shape, a..., layout); },
                         [&](auto const&... a) { return attention_composite(shape, a..., layout); },
                         x.q, x.k, x.v) < tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("attention: fresh keys and cached ones give the same bits, token by token", T,
                   float, double) {
    for (int threads : {1, 2})
        for (attention_shape const& shape :
             {attention_shape{6, 2, 20}, {4, 2, 20, 9}, {40, 1, 24, 16, true, 0.3}}) {
            eigen_backend b(threads);
            sequences<T> const x(b, shape, {37, 5, 70});
            auto const expected = x.packed();
            std::vector<T> out(expected.size());
            key_cache<T> cache(b, x);
            for (index_t t = 0; t < 70; ++t) cache.step(t, t + 1, out);
            CHECK(out == expected);
        }
}

TEST_CASE_TEMPLATE("attention: a prompt in pieces gives the same bits", T, float, double) {
    eigen_backend b(2);
    sequences<T> const x(b, {4, 4, 33}, {90, 17, 1});
    auto const expected = x.packed();
    std::vector<T> out(expected.size());
    key_cache<T> cache(b, x);
    index_t begin = 0;
    for (index_t end : {1, 3, 40, 41, 90}) {
        cache.step(begin, end, out);
        begin = end;
    }
    CHECK(out == expected);
}

TEST_CASE_TEMPLATE("attention: a sequence's bits, and its gradient's, do not know the batch", T,
                   float, double) {
    eigen_backend b(2);
    sequences<T> const x(b, {4, 2, 20}, {45, 3, 60});
    auto const together = learn(
        [&](auto const&... a) {
            return attention(x.shape, a..., attention_layout::packed(x.lengths));
        },
        x.q, x.k, x.v);
    // alone, with the same upstream gradient: the weights of learn() for its rows
    auto const upstream = random_tensor<T>(b, x.q.extents(), 99);
    for (std::size_t s = 0; s < x.lengths.size(); ++s) {
        index_t const first = x.first_row(s), rows = x.lengths[s];
        std::array<std::vector<T>, 4> alone;
        autodiff<eigen_backend> tape(b);
        auto track = [&](auto const& all, std::size_t i) {
            return leaf(tape, slice_rows(all, first, rows),
                        [&alone, i](auto const& g) { alone[i] = to_host(g); });
        };
        auto const y = attention(x.shape, track(x.q, 1), track(x.k, 2), track(x.v, 3),
                                 attention_layout::packed({x.lengths[s]}));
        alone[0] = to_host(y);
        backward(y, slice_rows(upstream, first, rows));
        for (std::size_t i = 0; i < 4; ++i) {
            index_t const columns = i < 2 ? x.shape.query_columns() : x.shape.key_columns();
            auto const begin = together[i].begin() + first * columns;
            CHECK(alone[i] == std::vector<T>(begin, begin + rows * columns));
        }
    }
}

TEST_CASE_TEMPLATE("attention: no tokens, no results", B, reference_backend, eigen_backend) {
    B b;
    auto const none = zeros<double>(b, {0, 8}), keys = zeros<double>(b, {0, 4});
    CHECK(attention(small, none, keys, keys, attention_layout{}).extents() == shape{0, 8});
    CHECK(attention(small, none, keys, keys, attention_layout::packed({0, 0})).extents() ==
          shape{0, 8});
}

TEST_CASE("attention_layout: packs sequences, refuses more queries than keys") {
    auto layout = attention_layout::packed({3, 0, 2});
    CHECK(layout.sequences() == 3);
    CHECK(layout.tokens() == 5);
    CHECK(layout.offsets == ints{0, 3, 3, 5});
    CHECK(layout.key_first == ints{0, 3, 3});
    CHECK(layout.key_counts == ints{3, 0, 2});
    layout.add(1, 40, 9);
    CHECK(layout.tokens() == 6);
    CHECK(layout.key_first.back() == 40);
    CHECK_THROWS_WITH_AS(
        layout.add(3, 0, 2),
        "[attention_layout] expected at least as many keys as queries, got 2 for 3", shape_error);
    CHECK_THROWS_AS(layout.add(-1, 0, 2), shape_error);
    CHECK(layout.sequences() == 4);
}

TEST_CASE_TEMPLATE("attention: extents that do not fit are shape_errors", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const q = from_host(b, {5, 8}, golden_q), k = from_host(b, {5, 4}, golden_k);
    auto const layout = attention_layout::packed({3, 2});
    CHECK_NOTHROW(attention(small, q, k, k, layout));
    CHECK_THROWS_AS(attention(small, q, k, k, attention_layout::packed({3})), shape_error);
    CHECK_THROWS_AS(attention(small, k, k, k, layout), shape_error);
    CHECK_THROWS_AS(attention(small, q, q, q, layout), shape_error);
    CHECK_THROWS_AS(attention(small, q, k, slice_rows(k, 0, 4), layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 3, 2}, q, q, q, layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 0, 2}, q, k, k, layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 2, 0}, q, k, k, layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 2, 2, 1}, q, k, k, layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 2, 2, -1}, q, k, k, layout), shape_error);
    CHECK_THROWS_AS(attention(attention_shape{4, 2, 2, 3, true}, q, k, k, layout), shape_error);
    for (index_t first : {-1, 3}) {
        attention_layout outside;
        outside.add(5, first, 5);
        CHECK_THROWS_AS(attention(small, q, k, k, outside), shape_error);
    }
}

TEST_CASE("attention: sequences that share keys act, but do not learn") {
    grove::eigen_backend b(1);
    auto const q = grove::zeros<float>(b, {2, 4}), k = grove::zeros<float>(b, {3, 4});
    grove::attention_layout shared;
    shared.add(1, 0, 3);
    shared.add(1, 1, 2);
    CHECK_FALSE(shared.keys_are_disjoint());
    CHECK(grove::attention_layout::packed({2, 1, 3}).keys_are_disjoint());
    CHECK_NOTHROW(grove::attention({1, 1, 4}, q, k, k, shared));
    grove::autodiff<grove::eigen_backend> tape(b);
    auto ignore = [](auto const&) {};
    auto const tracked = grove::leaf(tape, k, ignore);
    CHECK_THROWS_AS(
        grove::attention({1, 1, 4}, grove::leaf(tape, q, ignore), tracked, tracked, shared),
        grove::value_error);
}
