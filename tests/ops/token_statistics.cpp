// SPDX-License-Identifier: Apache-2.0
// Log-probabilities and entropies of tokens, and the head that computes them in chunks.
#include "grove/ops/token_statistics.hpp"

#include <doctest/doctest.h>

#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/ops/lm_head.hpp"
#include "grove/ops/product.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;
constexpr double infinity = std::numeric_limits<double>::infinity();

numbers const golden_logits{0.89,  2.03, -2.93, 0.93,  1.99, -2.94, 0.98, 1.95,
                            -2.95, 1.03, 1.91,  -2.96, 1.08, 1.87,  -2.97};
ints const golden_targets{1, 4, 2};
/// Two tokens, all, three tokens.
kept_tokens const golden_kept{{0, 2, 2, 5}, {0, 1, 1, 2, 4}};

/// Both statistics beside each other: [rows, 2].
template <class Tensor, std::size_t Count>
Tensor both(std::array<Tensor, Count> const& y) {
    index_t const rows = y[0].size();
    return concatenate_columns(std::vector{y[0].reshape({rows, 1}), y[1].reshape({rows, 1})});
}
auto statistics(ints const& targets, double temperature, kept_tokens const& kept) {
    return [=](auto const& x) {
        using T = typename std::remove_cvref_t<decltype(x)>::value_type;
        return both(token_statistics(x, indices_from(x.backend(), targets), T(temperature), kept));
    };
}
auto composite(ints const& targets, double temperature, kept_tokens const& kept) {
    return [=](auto const& x) {
        using T = typename std::remove_cvref_t<decltype(x)>::value_type;
        return both(token_statistics_composite(x, indices_from(x.backend(), targets),
                                               T(temperature), kept));
    };
}
/// For every third row all tokens, for the others about half of them and the target.
kept_tokens random_kept(ints const& targets, index_t vocabulary) {
    kept_tokens kept{{0}, {}};
    for (std::size_t i = 0; i < targets.size(); ++i) {
        auto const draw = random_values<float>(vocabulary, 50 + i);
        for (std::int32_t t = 0; i % 3 != 0 && t < vocabulary; ++t)
            if (t == targets[i] || draw[static_cast<std::size_t>(t)] > 0) kept.tokens.push_back(t);
        kept.offsets.push_back(static_cast<std::int32_t>(kept.tokens.size()));
    }
    return kept;
}

/// hidden · W, where W learns when hidden does.
template <class T>
struct projection {
    tensor<eigen_backend, T> weight;
    std::vector<T>* gradient;

    template <class Tensor>
    Tensor operator()(Tensor const& x) const {
        if constexpr (is_autodiff<typename Tensor::backend_type>) {
            auto add = [g = gradient](tensor<eigen_backend, T> const& part) {
                auto const elements = to_host(part);
                g->resize(elements.size());
                for (std::size_t i = 0; i < elements.size(); ++i) (*g)[i] += elements[i];
            };
            return matmul(x, leaf(x.backend(), weight, add));
        } else {
            return matmul(x, weight);
        }
    }
};

}  // namespace

TEST_CASE_TEMPLATE("token_statistics: golden values", B, reference_backend, eigen_backend) {
    B b;
    auto const x = from_host(b, {3, 5}, golden_logits);
    auto const targets = indices_from(b, golden_targets);
    auto const plain = token_statistics(x, targets);
    CHECK(worst_error(to_host(plain[0]),
                      {-0.9633622667122804, -1.5036503916025166, -1.710501512000003}) < 1e-14);
    CHECK(worst_error(to_host(plain[1]),
                      {1.270162452170324, 1.0341856786667403, 1.0773397071201465}) < 1e-14);
    auto const cold = token_statistics(x, targets, 0.6);
    CHECK(worst_error(to_host(cold[0]),
                      {-0.8088000782679308, -1.8804255802111878, -2.165791118109869}) < 1e-14);
    CHECK(worst_error(to_host(cold[1]),
                      {1.09464583968058, 0.8111329748859222, 0.9717888620950256}) < 1e-14);
    auto const kept = token_statistics(x, targets, 0.6, golden_kept);
    CHECK(worst_error(to_host(kept[0]),
                      {-0.13938675828296063, -1.8804255802111878, -0.00235865361963093}) < 1e-14);
    CHECK(worst_error(to_host(kept[1]),
                      {0.38659285957265654, 0.8111329748859222, 0.018241008463719087}) < 1e-14);
    CHECK(kept[0].extents() == shape{3});
}

TEST_CASE_TEMPLATE("token_statistics: gradients, with and without kept sets", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const x = from_host(b, {3, 5}, golden_logits);
    CHECK(check_gradient(statistics(golden_targets, 1.0, {}), x) < 1e-7);
    CHECK(check_gradient(statistics(golden_targets, 0.6, {}), x) < 1e-7);
    CHECK(check_gradient(statistics(golden_targets, 0.6, golden_kept), x) < 1e-7);
}

TEST_CASE_TEMPLATE("token_statistics: sets that keep all are no sets", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const x = from_host(b, {3, 5}, golden_logits);
    auto const none = to_host(statistics(golden_targets, 0.8, {})(x));
    CHECK(to_host(statistics(golden_targets, 0.8, {{0, 0, 0, 0}, {}})(x)) == none);
    kept_tokens const all{{0, 5, 10, 15}, {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4}};
    CHECK(to_host(statistics(golden_targets, 0.8, all)(x)) == none);
}

TEST_CASE_TEMPLATE("token_statistics: infinite logits and certain tokens stay numbers", B,
                   reference_backend, eigen_backend) {
    B b;
    auto const x =
        from_host<double>(b, {3, 3}, {-infinity, 0, 0, -infinity, 3, -infinity, 1e6, 0, -1e6});
    auto const y = learn(statistics({1, 1, 0}, 1.0, {}), x);
    CHECK(worst_error(y[0], {-0.6931471805599453, 0.6931471805599453, 0, 0, 0, 0}) < 1e-15);
    for (double g : y[1]) CHECK(std::isfinite(g));
    CHECK(y[1][0] == 0.0);
}

TEST_CASE_TEMPLATE("token_statistics: a token that was not kept is impossible", B,
                   reference_backend, eigen_backend) {
    B b;
    auto const x = from_host(b, {3, 5}, golden_logits);
    auto const y = token_statistics(x, indices_from(b, {4, 4, 2}), 1.0, golden_kept);
    CHECK(to_host(y[0])[0] == -infinity);
    for (double entropy : to_host(y[1])) CHECK(std::isfinite(entropy));
}

TEST_CASE_TEMPLATE("token_statistics: fused and composite agree, values and gradients", T, float,
                   double) {
    eigen_backend b(2);
    for (auto const& [rows, vocabulary] :
         std::vector<std::pair<index_t, index_t>>{{1, 1}, {5, 7}, {4, 64}, {30, 401}}) {
        CAPTURE(rows);
        CAPTURE(vocabulary);
        auto const x = random_tensor<T>(b, {rows, vocabulary}, 1);
        auto const targets = random_indices(rows, vocabulary, 2);
        auto const kept = random_kept(targets, vocabulary);
        CHECK(disagreement(statistics(targets, 0.7, {}), composite(targets, 0.7, {}), x) <
              tolerance<T>);
        CHECK(disagreement(statistics(targets, 0.7, kept), composite(targets, 0.7, kept), x) <
              tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("token_statistics: bad arguments have their exceptions", B, reference_backend,
                   eigen_backend) {
    B b;
    auto const x = from_host(b, {3, 5}, golden_logits);
    auto const targets = indices_from(b, golden_targets);
    CHECK_THROWS_AS(token_statistics(x, indices_from(b, {1, 2})), shape_error);
    for (std::int32_t wrong : {-1, 5})
        CHECK_THROWS_AS(token_statistics(x, indices_from(b, {wrong, 0, 1})), value_error);
    CHECK_THROWS_WITH_AS(token_statistics(x, targets, 0.0),
                         "[token_statistics] expected a temperature > 0, got 0", value_error);
    CHECK_THROWS_AS(token_statistics(x, targets, -1.0), value_error);
    CHECK_THROWS_AS(token_statistics(x, targets, std::nan("")), value_error);
    auto with = [&](kept_tokens const& kept) { return token_statistics(x, targets, 1.0, kept); };
    CHECK_THROWS_AS(with({{0, 0, 0}, {}}), shape_error);
    CHECK_THROWS_AS(with({{0, 0, 0, 1}, {}}), shape_error);
    CHECK_THROWS_AS(with({{0, 2, 1, 2}, {0, 1}}), shape_error);
    CHECK_THROWS_AS(with({{1, 1, 1, 1}, {0}}), shape_error);
    CHECK_THROWS_AS(with({{0, 1, 1, 1}, {5}}), value_error);
    CHECK_THROWS_AS(with({{0, 1, 1, 1}, {-1}}), value_error);
}

TEST_CASE("kept_tokens: rows of a batch") {
    auto const part = golden_kept.rows(1, 2);
    CHECK(part.offsets == ints{0, 0, 3});
    CHECK(part.tokens == ints{1, 2, 4});
    CHECK(kept_tokens{}.rows(3, 4).all());
}

TEST_CASE_TEMPLATE("lm_head: every chunk gives the same bits, forward and back", T, float, double) {
    eigen_backend b(2);
    index_t const tokens = 23, hidden = 40, vocabulary = 101;
    auto const x = random_tensor<T>(b, {tokens, hidden}, 3);
    auto const w = random_tensor<T>(b, {hidden, vocabulary}, 4);
    auto const targets = random_indices(tokens, vocabulary, 5);
    auto const kept = random_kept(targets, vocabulary);
    auto head = [&](index_t chunk, std::vector<T>& weight_gradient) {
        return learn(
            [&](auto const& h) {
                return both(lm_head(h, projection<T>{w, &weight_gradient}, targets,
                                    head_options<T>{T(0.9), kept, chunk}));
            },
            x);
    };
    auto const direct =
        learn([&](auto const& h,
                  auto const& matrix) { return statistics(targets, 0.9, kept)(matmul(h, matrix)); },
              x, w);
    for (index_t chunk : {1, 2, 7, 22, 23, 1000}) {
        CAPTURE(chunk);
        std::vector<T> weight_gradient;
        auto const y = head(chunk, weight_gradient);
        CHECK(y[0] == direct[0]);
        CHECK(y[1] == direct[1]);
        CHECK(worst_error(weight_gradient, in_double(direct[2])) < tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("lm_head: gradient, no tokens, and errors", B, reference_backend,
                   eigen_backend) {
    B b;
    auto project = [](auto const& x) {
        return matmul(x, from_host(x.backend(), {4, 6}, random_values<double>(24, 6)));
    };
    auto head = [&](auto const& x) {
        return both(lm_head(x, project, {5, 0, 3}, head_options<double>{0.8, {}, 2}));
    };
    CHECK(check_gradient(head, random_tensor<double>(b, {3, 4}, 7)) < 1e-7);

    auto const none = lm_head(zeros<double>(b, {0, 4}), project, {});
    CHECK(none[0].extents() == shape{0});
    CHECK(none[1].extents() == shape{0});

    auto const x = zeros<double>(b, {3, 4});
    CHECK_THROWS_WITH_AS(lm_head(x, project, {1, 2}), "[lm_head] expected 3 targets, got 2",
                         shape_error);
    CHECK_THROWS_AS(lm_head(x, project, {1, 2, 6}), value_error);
    CHECK_THROWS_AS(lm_head(x, project, {1, 2, 3}, head_options<double>{1.0, {}, -1}),
                    configuration_error);
    CHECK_THROWS_AS(lm_head(x, project, {1, 2, 3}, head_options<double>{1.0, {{0, 0}, {}}, 2}),
                    shape_error);
}
