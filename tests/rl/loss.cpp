// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/loss.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/nn/parameter.hpp"
#include "grove/rl/preset.hpp"

using namespace grove;
using doctest::Approx;

namespace {

using numbers = std::vector<double>;

/// Two responses of 3 and 4 tokens, one token masked, with and without what a batch may leave out.
struct record {
    numbers now{-1.1, -0.4, -2.0, -0.3, -0.9, -1.7, -0.2};
    numbers old{-1.0, -0.9, -2.1, -0.3, -0.2, -1.6, -0.4};
    numbers reference{-1.2, -0.5, -1.9, -0.4, -0.8, -1.1, -0.3};
    numbers advantage{0.7, -1.3}, correction{1, 0.5, 2, 1, 0.25, 1, 1};
    std::vector<index_t> offsets{0, 3, 7};
    std::vector<std::uint8_t> mask{1, 1, 1, 1, 0, 1, 1};

    rl::token_batch<double> batch(bool full) const {
        rl::token_batch<double> b{.log_probability = now,
                                  .old_log_probability = old,
                                  .advantage = advantage,
                                  .offsets = offsets};
        if (!full) return b;
        b.reference_log_probability = reference;
        b.correction = correction;
        b.mask = mask;
        return b;
    }
};

template <class Objective>
void check_agrees(Objective const& objective, rl::token_batch<double> const& batch) {
    numbers expected(7);
    auto const all = rl::count(batch);
    auto const on_host = rl::evaluate(objective, batch, all, std::span<double>(expected));
    eigen_backend backend(1);
    parameter<eigen_backend, double> const now{
        "now", from_host(backend, {7},
                         numbers(batch.log_probability.begin(), batch.log_probability.end()))};
    autodiff<eigen_backend> tape(backend);
    auto const loss = rl::loss(objective, lift(tape, now), batch, all);
    CHECK(to_host(loss)[0] == Approx(on_host.loss).epsilon(1e-13));
    backward(loss);
    auto const gradient = to_host(now.gradient);
    for (std::size_t t = 0; t < 7; ++t)
        CHECK(gradient[t] == Approx(expected[t]).epsilon(1e-13).scale(1e-3));
}

}  // namespace

TEST_CASE("loss: what evaluate gives, value and gradient, without leaving the backend") {
    record const r;
    for (bool full : {true, false}) {
        double const beta = full ? 0.1 : 0.0;
        check_agrees(rl::grpo{.kl_coefficient = beta}, r.batch(full));
        check_agrees(rl::dapo(), r.batch(full));
        check_agrees(rl::cispo{}, r.batch(full));
    }
}

TEST_CASE("loss: a masked token may hold anything; one that counts shows in the loss") {
    record r;
    r.old[4] = std::numeric_limits<double>::quiet_NaN();
    check_agrees(rl::grpo{.kl_coefficient = 0.1}, r.batch(true));

    eigen_backend backend(1);
    r.old[5] = std::numeric_limits<double>::quiet_NaN();
    auto const batch = r.batch(true);
    auto const y = rl::loss(rl::dapo(), from_host(backend, {7}, r.now), batch, rl::count(batch));
    CHECK_FALSE(std::isfinite(to_host(y)[0]));
}

TEST_CASE("loss: arrays that do not fit together are refused") {
    record const r;
    eigen_backend backend(1);
    auto const batch = r.batch(false);
    auto const all = rl::count(batch);
    CHECK_THROWS_WITH_AS(rl::loss(rl::dapo(), from_host(backend, {2}, numbers{1, 2}), batch, all),
                         "[loss] expected log_probability [7], got [2]", shape_error);
    CHECK_THROWS_AS(
        rl::loss(rl::grpo{.kl_coefficient = 0.1}, from_host(backend, {7}, r.now), batch, all),
        shape_error);
}
