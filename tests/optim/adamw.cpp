// SPDX-License-Identifier: Apache-2.0
#include "grove/optim/adamw.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/nn/parameter.hpp"

using namespace grove;
using doctest::Approx;

namespace {

using numbers = std::vector<double>;

/// A matrix, a vector, and a matrix that no loss reaches.
struct small_model {
    eigen_backend backend{1};
    parameter<eigen_backend, double> matrix{"matrix", weight(0, {2, 3})};
    parameter<eigen_backend, double> vector{"vector", weight(1, {4})};
    parameter<eigen_backend, double> unused{"unused", weight(2, {2, 1})};

    template <class Visit>
    void visit(Visit&& f) {
        f(matrix);
        f(vector);
        f(unused);
    }
    /// sin(0.7 i + 1.3 k + 0.1)
    tensor<eigen_backend, double> weight(int k, shape extents) {
        return wave(extents, [&](double i) { return std::sin(0.7 * i + 1.3 * k + 0.1); });
    }
    /// size · cos(0.5 i + step + 2 k), of another size in every step.
    void add_gradients(int step, double share = 1) {
        double const size = share * std::array{0.3, 2.0, 0.05}[static_cast<std::size_t>(step % 3)];
        auto const gradient = [&](int k, shape extents) {
            return wave(extents, [&](double i) { return size * std::cos(0.5 * i + step + 2 * k); });
        };
        matrix.add_gradient(gradient(0, {2, 3}));
        vector.add_gradient(gradient(1, {4}));
    }
    template <class F>
    tensor<eigen_backend, double> wave(shape extents, F f) {
        numbers values;
        for (index_t i = 0; i < extents.size(); ++i) values.push_back(f(static_cast<double>(i)));
        return from_host(backend, extents, values);
    }
};

void check_close(numbers const& got, numbers const& expected) {
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == Approx(expected[i]).epsilon(1e-12));
}

/// Five steps with rate 0.1 / (1 + step) against torch.optim.AdamW in double.
void check_golden(double decay, double max_norm, numbers const& matrix, numbers const& vector) {
    small_model model;
    auto const untouched = to_host(model.unused.value);
    adamw<eigen_backend, double> optimizer({.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-3,
                                            .weight_decay = decay, .max_gradient_norm = max_norm});
    numbers const norms{0.70701645591252349, 4.6033453091737702, 0.1024462339663976,
                        0.69518005548834749, 4.6879365735753495};
    for (int step = 0; step < 5; ++step) {
        model.add_gradients(step);
        double const norm = optimizer.step(model, 0.1 / (1 + step));
        CHECK(norm == Approx(norms[static_cast<std::size_t>(step)]).epsilon(1e-12));
        CHECK(model.matrix.gradient.empty());
    }
    check_close(to_host(model.matrix.value), matrix);
    check_close(to_host(model.vector.value), vector);
    CHECK(to_host(model.unused.value) == untouched);
    CHECK(optimizer.steps() == 5);
}

}  // namespace

TEST_CASE("AdamW computes what torch computes") {
    numbers const vector{1.1519586153844863, 1.0307738213229825, 0.50318229974353701,
                         -0.18486517843062084};
    check_golden(0, 0,
                 {-0.068450067563326, 0.56553278541720986, 0.96028881149316436, 0.7791776876955625,
                  0.40575821461000822, -0.27495598862074344},
                 vector);
    check_golden(0.3, 0,  // of the matrix alone
                 {-0.06994091762416399, 0.5227061107321942, 0.89634709243735455,
                  0.72755416947877027, 0.38472675939097828, -0.250481947442523},
                 vector);
    check_golden(0.3, 0.8,
                 {-0.0632875529945085, 0.53904204748897544, 0.86238165027031455,
                  0.73329238279770681, 0.39528878474901052, -0.24433522621007081},
                 {1.1627296763964767, 1.0371288867698976, 0.50047687249920381,
                  -0.20514262306545408});
}

TEST_CASE("clipping brings the norm down to the limit") {
    CHECK(law::clip{1}(4) == 0.25);
    CHECK(law::clip{1}(1) == 1);
    CHECK(law::clip{1}(0.5) == 1);
    CHECK(law::clip{1}(0) == 1);
    CHECK(law::clip{0}(1e30) == 1);
}

TEST_CASE("two micro-batches make the step of one batch") {
    small_model whole, halves;
    adamw<eigen_backend, double> a, b;
    for (int step = 0; step < 3; ++step) {
        whole.add_gradients(step);
        halves.add_gradients(step, 0.5);
        halves.add_gradients(step, 0.5);
        CHECK(a.step(whole, 0.1) == b.step(halves, 0.1));
        CHECK(to_host(whole.matrix.value) == to_host(halves.matrix.value));
        CHECK(to_host(whole.vector.value) == to_host(halves.vector.value));
    }
}

TEST_CASE("a gradient that is not finite throws and changes nothing") {
    for (double bad : {std::numeric_limits<double>::quiet_NaN(),
                       std::numeric_limits<double>::infinity()}) {
        small_model model, sound;
        adamw<eigen_backend, double> optimizer, untroubled;
        for (auto* m : {&model, &sound}) m->add_gradients(0);
        optimizer.step(model, 0.1);
        untroubled.step(sound, 0.1);

        model.add_gradients(1);
        model.vector.add_gradient(from_host(model.backend, {4}, numbers{0, bad, 0, 0}));
        CHECK_THROWS_AS(optimizer.step(model, 0.1), value_error);
        CHECK(optimizer.steps() == 1);
        model.visit([](auto& p) { p.clear_gradient(); });

        for (auto* m : {&model, &sound}) m->add_gradients(2);
        optimizer.step(model, 0.1);
        untroubled.step(sound, 0.1);
        CHECK(to_host(model.matrix.value) == to_host(sound.matrix.value));
        CHECK(to_host(model.vector.value) == to_host(sound.vector.value));
    }
}

TEST_CASE("a zero gradient moves nothing at first, and decays matrices alone") {
    small_model model;
    auto const matrix = to_host(model.matrix.value), vector = to_host(model.vector.value);
    model.add_gradients(0, 0.0);
    adamw<eigen_backend, double> optimizer({.weight_decay = 0.5});
    CHECK(optimizer.step(model, 0.125) == 0);
    for (std::size_t i = 0; i < 6; ++i)
        CHECK(to_host(model.matrix.value)[i] == Approx(matrix[i] * 0.9375).epsilon(1e-15));
    CHECK(to_host(model.vector.value) == vector);
}

TEST_CASE("restored moments continue with the same bits") {
    small_model one, two;
    adamw<eigen_backend, double> straight, first, second;
    for (int step = 0; step < 4; ++step) {
        one.add_gradients(step);
        straight.step(one, 0.1);
        two.add_gradients(step);
        if (step == 2) second.restore(first.steps(), first.moments());
        (step < 2 ? first : second).step(two, 0.1);
    }
    CHECK(second.steps() == 4);
    CHECK(to_host(one.matrix.value) == to_host(two.matrix.value));
    CHECK(to_host(one.vector.value) == to_host(two.vector.value));
}
