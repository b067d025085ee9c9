// SPDX-License-Identifier: Apache-2.0
#include "grove/autodiff/tape.hpp"

#include <doctest/doctest.h>

#include "../core/values.hpp"
#include "grove/autodiff/checkpoint.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/product.hpp"
#include "grove/ops/reduce.hpp"

using namespace grove;

namespace {

using inner = reference_backend;
using matrix = tensor<inner, double>;

/// A backend, a tape over it, and one leaf whose gradient is kept.
struct fixture {
    inner backend;
    autodiff<inner> tape{backend};
    std::vector<double> gradient;
    int visits = 0;

    tensor<autodiff<inner>, double> leaf(std::vector<double> const& elements) {
        auto const size = static_cast<index_t>(elements.size());
        return grove::leaf(tape, from_host(backend, {size}, elements), [this](matrix const& g) {
            gradient = to_host(g);
            ++visits;
        });
    }
    tensor<autodiff<inner>, double> constant(std::vector<double> const& elements) {
        return from_host(tape, {static_cast<index_t>(elements.size())}, elements);
    }
};

struct pair_law {
    template <class N>
    several<N, 2> operator()(N x) const {
        return {{x * x, math::exp(x)}};
    }
};

}  // namespace

TEST_CASE("autodiff: models the backend that it decorates, with the same fused operations") {
    static_assert(backend<autodiff<inner>, double>);
    static_assert(backend<autodiff<eigen_backend>, float>);
    static_assert(is_autodiff<autodiff<inner>> && !is_autodiff<inner>);
    eigen_backend eigen(1);
    inner naive;
    CHECK(capabilities(autodiff(eigen)) == capabilities(eigen));
    CHECK(capabilities(autodiff(naive)).empty());
}

TEST_CASE_FIXTURE(fixture, "tape: what depends on no leaf costs no node") {
    auto const x = constant({1, 2, 3});
    auto const y = sum(x * x + x);
    CHECK(tape.tape().size() == 0);
    CHECK_FALSE(y.buffer().tracked());
    auto const z = leaf({1, 2, 3});
    CHECK(tape.tape().size() == 1);
    CHECK_FALSE((detach(z) * x).buffer().tracked());
    CHECK(tape.tape().size() == 1);
    CHECK((z * x).buffer().tracked());
}

TEST_CASE_FIXTURE(fixture, "tape: a constant operand gets no gradient, the leaf does") {
    auto const x = leaf({1, 2, 3}), c = constant({4, 5, 6});
    backward(sum(x * c));
    CHECK(gradient == std::vector<double>{4, 5, 6});
}

TEST_CASE_FIXTURE(fixture, "tape: shared subexpressions add up, and each sink is called once") {
    auto const x = leaf({2, 3});
    auto const square = x * x;
    backward(sum(square * x + square));  // 3 x² + 2 x
    CHECK(gradient == std::vector<double>{16, 33});
    CHECK(visits == 1);
}

TEST_CASE_FIXTURE(fixture, "tape: a sum hands its gradient on as it is") {
    double const* handed[] = {nullptr, nullptr};
    auto const kept = [&](int i) {
        return grove::leaf(tape, from_host<double>(backend, {2}, {1, 2}),
                           [&handed, i](matrix const& g) { handed[i] = g.buffer().data(); });
    };
    auto const x = kept(0), y = kept(1);
    backward(sum(x + y));
    CHECK(handed[0] != nullptr);
    CHECK(handed[0] == handed[1]);
}

TEST_CASE_FIXTURE(fixture, "tape: results that nobody uses are skipped") {
    auto const x = leaf({2, 3});
    auto const both = map(pair_law{}, x);
    auto const unused = exp(x);
    backward(sum(both[0]));
    CHECK(gradient == std::vector<double>{4, 6});
    CHECK(unused.size() == 2);
}

TEST_CASE_FIXTURE(fixture, "tape: a leaf that the loss does not reach gets no gradient") {
    auto const x = leaf({2, 3});
    auto const y = grove::leaf(tape, from_host<double>(backend, {1}, {5}), [](auto const&) {});
    map(pair_law{}, x);
    backward(y);
    CHECK(visits == 0);
}

TEST_CASE_FIXTURE(fixture, "tape: backward clears it, so that it serves again") {
    for (double scale : {1.0, 10.0}) {
        backward(sum(affine(leaf({1, 2}), scale)));
        CHECK(gradient == std::vector<double>{scale, scale});
        CHECK(tape.tape().size() == 0);
    }
    leaf({1});
    tape.tape().clear();
    CHECK(tape.tape().size() == 0);
}

TEST_CASE_FIXTURE(fixture, "backward: a seed of the result's shape starts anywhere") {
    auto const x = leaf({1, 2, 3});
    backward(x * x, from_host<double>(backend, {3}, {1, 0, -1}));
    CHECK(gradient == std::vector<double>{2, 0, -6});
}

TEST_CASE_FIXTURE(fixture, "backward: a loss that is no number needs a seed of its shape") {
    auto const x = leaf({1, 2, 3});
    CHECK_THROWS_WITH_AS(backward(x), "[backward] expected a scalar, got shape [3]", shape_error);
    CHECK_THROWS_AS(backward(x, from_host<double>(backend, {2}, {1, 1})), shape_error);
}

TEST_CASE_FIXTURE(fixture, "autodiff: values are those of the inner backend") {
    auto const values = random_values<double>(12, 1);
    auto f = [](auto const& x) {
        return sum_columns(matmul(exp(x), x, transpose::no, transpose::yes));
    };
    auto const acting = f(from_host(backend, {3, 4}, values));
    auto const learning = f(leaf(values).reshape({3, 4}));
    CHECK(to_host(value_of(learning)) == to_host(acting));
    CHECK(to_host(value_of(acting)) == to_host(acting));
    CHECK(to_host(learning) == to_host(acting));
}

TEST_CASE_FIXTURE(fixture, "autodiff: a rule of one's own is called with the gradient") {
    auto const x = leaf({1, 2});
    auto const y = tape.record<double>(x.buffer().value, [&](host_buffer<double> const& g) {
        tape.accumulate(x.buffer(),
                        backend.map(law::add{}, 1, 2, operand<host_buffer<double>>{g, 0, 1},
                                    operand<host_buffer<double>>{g, 0, 1})[0]);
    });
    backward(sum(tensor<autodiff<inner>, double>(tape, y, {2})));
    CHECK(gradient == std::vector<double>{2, 2});
}

TEST_CASE_FIXTURE(fixture, "autodiff: indices are computed from values, without a gradient") {
    auto const x = leaf({3, 1, 2});
    CHECK(to_host(top_k(x, 2)) == std::vector<std::int32_t>{0, 2});
    auto const keys = indices_from(tape, {1, 0, 1});
    std::vector<std::int32_t> order(3), offsets(3);
    tape.download(tape.argsort(keys.buffer()), std::span(order));
    tape.download(tape.segment_offsets(keys.buffer(), 2), std::span(offsets));
    CHECK(order == std::vector<std::int32_t>{1, 0, 2});
    CHECK(offsets == std::vector<std::int32_t>{0, 1, 3});
    CHECK(tape.tape().size() == 1);
}

TEST_CASE_FIXTURE(fixture, "autodiff: writes in place and gradients of gradients are refused") {
    auto const x = leaf({1, 2});
    auto const c = constant({1, 2});
    auto const index = indices_from(tape, {0, 1}).buffer();
    auto target = c.buffer(), tracked = x.buffer();
    tape.write_rows(target, constant({7, 8}).buffer(), 1, index);
    CHECK(to_host(c) == std::vector<double>{7, 8});
    CHECK_THROWS_AS(tape.write_rows(target, x.buffer(), 1, index), value_error);
    CHECK_THROWS_AS(tape.write_rows(tracked, c.buffer(), 1, index), value_error);
    auto const offsets = indices_from(tape, {0, 2}).buffer();
    CHECK_THROWS_AS(tape.grouped_outer({2, 1, 1, 1}, x.buffer(), c.buffer(), offsets), value_error);
    CHECK(tape.grouped_outer({2, 1, 1, 1}, c.buffer(), c.buffer(), offsets).size() == 1);
}
