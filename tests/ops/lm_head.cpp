// SPDX-License-Identifier: Apache-2.0
// Divergences over the vocabulary, and the head that computes them in chunks or in one pass.
// Golden values: Python with mpmath, 50 digits.
#include "grove/ops/lm_head.hpp"

#include <doctest/doctest.h>

#include "../sanitized.hpp"
#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/distill/evaluate.hpp"
#include "learn.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using ints = std::vector<std::int32_t>;
constexpr double infinity = std::numeric_limits<double>::infinity();

numbers const student{0.89, 2.03, -1.93, 0.93, -0.41}, teacher{1.4, -0.35, 0.2, 1.95, -2.6};

template <class Tensor>
Tensor side_by_side(std::array<Tensor, 3> const& y) {
    std::vector<Tensor> columns;
    for (auto const& one : y) columns.push_back(one.reshape({one.size(), 1}));
    return concatenate_columns(columns);
}
/// token_divergence from a teacher of fixed logits.
template <class Law>
auto from(numbers const& fixed, index_t rows, Law law, double temperature = 1, bool pad = false) {
    return [=](auto const& z) {
        auto const other =
            from_host(z.backend(), {rows, static_cast<index_t>(fixed.size()) / rows}, fixed);
        return token_divergence(z, other, law, temperature, pad);
    };
}

/// A student and a teacher of other widths, with weights of a loss.
template <class T>
struct pair_of_heads {
    eigen_backend b{2};
    index_t tokens = 23, vocabulary = 101;
    tensor<eigen_backend, T> hidden = random_tensor<T>(b, {tokens, 40}, 1);
    tensor<eigen_backend, T> weight = random_tensor<T>(b, {40, vocabulary}, 2);
    tensor<eigen_backend, T> other_hidden = random_tensor<T>(b, {tokens, 24}, 3);
    tensor<eigen_backend, T> other_weight = random_tensor<T>(b, {24, vocabulary}, 4);
    ints targets = random_indices(tokens, vocabulary, 5);
    distill::generalized_jsd law{0.3};

    auto view() const {
        return head_teacher{other_hidden,
                            [w = other_weight](auto const& x) { return matmul(x, w); }};
    }
    std::vector<T> weights(std::uint64_t seed) const { return random_values<T>(tokens, seed); }
};

}  // namespace

TEST_CASE_TEMPLATE("token_divergence: golden values, gradients, extremes", B, reference_backend,
                   eigen_backend) {
    B b;
    numbers two = student, other = teacher;
    two.insert(two.end(), teacher.begin(), teacher.end());
    other.insert(other.end(), student.begin(), student.end());
    auto const z = from_host(b, {2, 5}, two);
    CHECK(worst_error(to_host(from(other, 2, distill::forward_kl{})(z)),
                      {0.78750245837747748, 1.1294931301597418}) < 1e-14);
    CHECK(worst_error(to_host(from(other, 2, distill::reverse_kl{})(z)),
                      {1.1294931301597418, 0.78750245837747748}) < 1e-14);
    auto const one = from_host(b, {1, 5}, student);
    CHECK(worst_error(to_host(from(teacher, 1, distill::generalized_jsd{0.3}, 0.6)(one)),
                      {0.29725215178115472}) < 1e-14);
    CHECK(check_gradient(from(other, 2, distill::forward_kl{}), z) < 1e-7);
    CHECK(check_gradient(from(other, 2, distill::reverse_kl{}, 0.6), z) < 1e-7);
    CHECK(check_gradient(from(other, 2, distill::generalized_jsd{0.3}), z) < 1e-7);
    CHECK(check_gradient(from(other, 2, distill::skew_reverse_kl{0.1}, 2), z) < 1e-7);
    auto const extreme = from_host<double>(b, {1, 4}, {-infinity, 3, 1e4, -infinity});
    for (auto const& part : learn(from({-infinity, 1e4, 0, 0}, 1, distill::skew_kl{}), extreme))
        for (double x : part) CHECK(std::isfinite(x));
}

TEST_CASE_TEMPLATE("token_divergence: agrees with the plain spans", T, float, double) {
    eigen_backend b(2);
    index_t const rows = 7, vocabulary = 401;
    auto const z = random_tensor<T>(b, {rows, vocabulary}, 1);
    auto const other = random_tensor<T>(b, {rows, vocabulary}, 2);
    auto const run = [&](auto const& law) {
        auto const y = learn(
            [&](auto const& x) {
                return token_divergence(x, constant(x.backend(), other), law, T(1.3));
            },
            z);
        std::vector<T> value(rows), gradient(static_cast<std::size_t>(rows * vocabulary));
        distill::divergences<T>(law, to_host(z), to_host(other), value, gradient,
                                {.temperature = 1.3});
        auto const weight = to_host(random_tensor<T>(b, {rows}, 99));
        for (std::size_t i = 0; i < gradient.size(); ++i)
            gradient[i] *= weight[i / static_cast<std::size_t>(vocabulary)];
        CHECK(worst_error(y[0], in_double(value)) < tolerance<T>);
        CHECK(worst_error(y[1], in_double(gradient)) < tolerance<T>);
    };
    run(distill::forward_kl{});
    run(distill::reverse_kl{});
    run(distill::generalized_jsd{});
}

TEST_CASE_TEMPLATE("token_divergence: other vocabularies", B, reference_backend, eigen_backend) {
    B b;
    auto const z = from_host(b, {1, 5}, student);
    numbers const few(teacher.begin(), teacher.begin() + 3);
    CHECK_THROWS_WITH_AS(
        from(few, 1, distill::forward_kl{})(z),
        "[token_divergence] expected student and teacher to share a vocabulary, got 5 and 3 "
        "tokens; pad them where ids mean the same",
        shape_error);
    CHECK(worst_error(to_host(from(few, 1, distill::forward_kl{}, 1, true)(z)),
                      {1.3063840229030794}) < 1e-14);
    CHECK(to_host(from(few, 1, distill::reverse_kl{}, 1, true)(z))[0] == infinity);
    auto const small = from_host(b, {1, 3}, numbers(student.begin(), student.begin() + 3));
    auto const padded = from(teacher, 1, distill::skew_kl{}, 1, true);
    auto const y = learn(padded, small);
    CHECK(worst_error(y[0], {1.3195260637805721}) < 1e-14);
    CHECK(y[1].size() == 3);
    CHECK(check_gradient(padded, small) < 1e-7);
    CHECK_THROWS_AS(from(student, 1, distill::forward_kl{})(from_host(b, {2, 5}, numbers(10))),
                    shape_error);
    CHECK_THROWS_AS(from(teacher, 1, distill::forward_kl{}, 0.0)(z), value_error);
}

TEST_CASE_TEMPLATE("lm_head with a teacher: every chunk gives the same bits", T, float, double) {
    pair_of_heads<T> p;
    auto const head = [&](index_t chunk) {
        return learn(
            [&](auto const& h) {
                auto const logits = [&](auto const& x) {
                    return matmul(x, constant(x.backend(), p.weight));
                };
                return side_by_side(lm_head(h, logits, p.targets, p.view(), p.law,
                                            head_options<T>{T(0.9), {}, chunk}));
            },
            p.hidden);
    };
    auto const direct = learn(
        [&](auto const& h) {
            auto const z = matmul(h, constant(h.backend(), p.weight));
            auto const other = matmul(p.other_hidden, p.other_weight);
            auto const y = token_statistics(z, indices_from(h.backend(), p.targets), T(0.9));
            return side_by_side(std::array{
                y[0], y[1], token_divergence(z, constant(h.backend(), other), p.law, T(0.9))});
        },
        p.hidden);
    for (index_t chunk : {0, 1, 7, 22, 23, 1000}) {
        CAPTURE(chunk);
        auto const y = head(chunk);
        CHECK(y[0] == direct[0]);
        CHECK(y[1] == direct[1]);
    }
}

TEST_CASE_TEMPLATE("lm_head_pass: value and gradients are those of the tape", T, float, double) {
    pair_of_heads<T> p;
    head_weights<T> const w{p.weights(6), p.weights(7), p.weights(8)};
    std::vector<T> flat;  // row by row, as side_by_side has them
    for (std::size_t i = 0; i < 23; ++i)
        for (auto const* part : {&w.log_probability, &w.entropy, &w.divergence})
            flat.push_back((*part)[i]);
    autodiff<eigen_backend> tape(p.b);
    std::vector<T> by_hidden, by_weight;
    auto const h = leaf(tape, p.hidden, [&](auto const& g) { by_hidden = to_host(g); });
    auto const m = leaf(tape, p.weight, [&](auto const& g) { by_weight = to_host(g); });
    auto const z = matmul(h, m);
    auto const s = token_statistics(z, indices_from(tape, p.targets), T(0.9));
    auto const other = matmul(p.other_hidden, p.other_weight);
    auto const y = side_by_side(
        std::array{s[0], s[1], token_divergence(z, constant(tape, other), p.law, T(0.9))});
    backward(y, from_host(p.b, {23, 3}, flat));

    std::vector<T> first_gradient;
    for (index_t chunk : {1, 7, 23, 0}) {
        CAPTURE(chunk);
        tensor<eigen_backend, T> gradient;
        auto const pass = lm_head_pass(p.hidden, head_matrix{p.weight}, gradient, p.targets,
                                       p.view(), p.law, w, head_options<T>{T(0.9), {}, chunk});
        auto const values = to_host(y);
        for (std::size_t i = 0; i < 23; ++i) {
            CHECK(pass.log_probability[i] == values[3 * i]);
            CHECK(pass.entropy[i] == values[3 * i + 1]);
            CHECK(pass.divergence[i] == values[3 * i + 2]);
        }
        CHECK(to_host(pass.gradient) == by_hidden);
        // one chain over the tokens: the chunk leaves no trace
        CHECK(to_host(gradient) == by_weight);
    }
}

TEST_CASE("lm_head_pass: transposed heads, sums over batches, other backends, missing weights") {
    pair_of_heads<double> p;
    head_weights<double> const w{{}, {}, p.weights(8)};
    head_options<double> const options{.chunk = 7};
    tensor<eigen_backend, double> gradient, transposed, twice;
    auto const pass = [&](auto const& head, auto& into) {
        return lm_head_pass(p.hidden, head, into, p.targets, p.view(), p.law, w, options);
    };
    auto const plain = pass(head_matrix{p.weight}, gradient);
    std::vector<double> turned(40 * 101);
    auto const rows = to_host(p.weight);
    for (std::size_t i = 0; i < 40; ++i)
        for (std::size_t j = 0; j < 101; ++j) turned[j * 40 + i] = rows[i * 101 + j];
    auto const tied =
        pass(head_matrix{from_host(p.b, {101, 40}, turned), transpose::yes}, transposed);
    CHECK(to_host(tied.gradient) == to_host(plain.gradient));
    CHECK(transposed.extents() == shape{101, 40});
    CHECK(to_host(transposed)[40] == to_host(gradient)[1]);

    pass(head_matrix{p.weight}, twice);
    pass(head_matrix{p.weight}, twice);
    auto const once = to_host(gradient), both = to_host(twice);
    for (std::size_t i = 0; i < once.size(); ++i)
        CHECK(both[i] == doctest::Approx(2 * once[i]).epsilon(1e-9));

    reference_backend r;
    auto const move = [&](auto const& x) { return from_host(r, x.extents(), to_host(x)); };
    tensor<reference_backend, double> naive;
    auto const other = lm_head_pass(
        move(p.hidden), head_matrix{move(p.weight)}, naive, p.targets,
        head_teacher{move(p.other_hidden),
                     [w = move(p.other_weight)](auto const& x) { return matmul(x, w); }},
        p.law, w, options);
    CHECK(worst_error(to_host(other.gradient), to_host(plain.gradient)) < 1e-12);
    CHECK(worst_error(to_host(naive), once) < 1e-12);

    tensor<eigen_backend, double> none;
    auto const silent = lm_head_pass(p.hidden, head_matrix{p.weight}, none, p.targets, p.view(),
                                     p.law, head_weights<double>{}, options);
    CHECK(none.empty());
    CHECK(silent.divergence == plain.divergence);
    for (double g : to_host(silent.gradient)) CHECK(g == 0.0);
}

TEST_CASE("lm_head with a teacher: what does not fit is refused") {
    pair_of_heads<double> p;
    tensor<eigen_backend, double> gradient;
    auto const logits = [&](auto const& x) { return matmul(x, p.weight); };
    auto const wrong = head_teacher{random_tensor<double>(p.b, {22, 24}, 3), p.view().logits};
    CHECK_THROWS_WITH_AS(lm_head(p.hidden, logits, p.targets, wrong, p.law),
                         "[lm_head] expected 23 hidden states of the teacher, got 22", shape_error);
    CHECK_THROWS_AS(lm_head_pass(p.hidden, head_matrix{p.weight}, gradient, p.targets, wrong, p.law,
                                 head_weights<double>{}),
                    shape_error);
    CHECK_THROWS_AS(lm_head_pass(p.hidden, head_matrix{p.weight}, gradient, p.targets, p.view(),
                                 p.law, head_weights<double>{.divergence = {1.0}}),
                    shape_error);
    CHECK_THROWS_AS(
        lm_head(p.hidden, logits, p.targets, p.view(), p.law, head_options<double>{.chunk = -1}),
        configuration_error);
}

TEST_CASE("matmul_add goes on from the sums that are there, and takes one product") {
    eigen_backend b(2);
    auto const x = random_tensor<float>(b, {30, 40}, 1), y = random_tensor<float>(b, {30, 101}, 2);
    auto const whole = matmul(x, y, transpose::yes);
    auto sum = zeros<float>(b, {40, 101});
    for (index_t first : {0, 10, 20}) {
        auto const a = slice_rows(x, first, 10), c = slice_rows(y, first, 10);
        b.matmul_add({40, 101, 10, true}, a.buffer(), c.buffer(), sum.buffer());
    }
    CHECK(to_host(sum) == to_host(whole));
    CHECK_THROWS_AS(
        b.matmul_add({20, 101, 10, true, false, 2}, x.buffer(), y.buffer(), sum.buffer()),
        shape_error);
}

TEST_CASE("lm_head_pass: memory does not grow with the tokens" *
          doctest::skip(grove_test::sanitized)) {
    index_t const vocabulary = 151936, hidden = 8;
    auto const bytes = [&](index_t tokens) {
        eigen_backend b;
        auto const weight = zeros<float>(b, {hidden, vocabulary});
        auto const x = random_tensor<float>(b, {tokens, hidden}, 1);
        head_teacher const other{x, [&](auto const& h) { return matmul(h, weight); }};
        tensor<eigen_backend, float> gradient;
        std::vector<float> const ones(static_cast<std::size_t>(tokens), 1.0f);
        lm_head_pass(x, head_matrix{weight}, gradient, ints(ones.size()), other,
                     distill::forward_kl{}, head_weights<float>{ones, ones, ones});
        return b.fresh_bytes();
    };
    // beyond the head and its gradient, 5 MB each
    auto const one_chunk = bytes(96), more = bytes(280);
    CHECK(one_chunk < 256'000'000);
    CHECK(more - one_chunk < 1'000'000);
}
