// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/actor_critic.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/preset.hpp"

using namespace grove;

namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

/// Gives what it is told for `tokens` [first, last) and keeps what it is taught.
struct recorder {
    std::vector<double> log_probability{-1.0, -0.5, none, -0.7, -1.1};
    std::vector<double> entropy{0.1, 0.2, none, 0.4, 0.5};
    std::vector<double> value{0.5, 1.2, none, 2.0, 0.9};
    rl::token_statistics<double> taught{};

    using range = std::pair<std::size_t, std::size_t>;
    static std::vector<double> cut(std::vector<double> const& all, range r) {
        return {all.begin() + static_cast<std::ptrdiff_t>(r.first),
                all.begin() + static_cast<std::ptrdiff_t>(r.second)};
    }
    rl::token_statistics<double> evaluate(range r, rl::statistics_request request) {
        return {cut(log_probability, r), request.entropy ? cut(entropy, r) : std::vector<double>(),
                request.value ? cut(value, r) : std::vector<double>()};
    }
    void backward(rl::token_statistics<double> const& gradient) { taught = gradient; }
};

struct record {
    std::vector<double> old{-1.2, -0.5, none, -0.6, -1.0}, advantage{1, -1, none, 2, -0.5};
    std::vector<double> old_value{0.4, 0.5, none, 1.0, 0.9}, target{1.0, 1.0, none, 3.0, 0.1};
    std::vector<std::uint8_t> mask{1, 1, 0, 1, 1};
    std::vector<index_t> offsets{0, 5};

    rl::token_batch<double> view() const {
        return {
            .old_log_probability = old, .advantage = advantage, .offsets = offsets, .mask = mask};
    }
    rl::value_batch<double> values() const { return {target, old_value}; }
};

rl::ppo objective(double entropy_coefficient) {
    rl::ppo result;
    result.entropy_coefficient = entropy_coefficient;
    return result;
}
rl::actor_critic_evaluation learn(recorder& policy, rl::value_loss const& loss,
                                  double entropy_coefficient = 0.0) {
    record const r;
    return rl::learn(policy, recorder::range{0, 5}, r.view(), objective(entropy_coefficient),
                     r.values(), loss, rl::count(r.view()));
}
void check_gradient(std::vector<double> const& gradient, std::vector<double> const& expected) {
    REQUIRE(gradient.size() == expected.size());
    for (std::size_t t = 0; t < expected.size(); ++t) {
        CAPTURE(t);
        CHECK(gradient[t] == doctest::Approx(expected[t]).epsilon(1e-12));
        if (expected[t] == 0) CHECK(gradient[t] == 0.0);
    }
}

}  // namespace

// Golden values from the formulas in plain Python.
TEST_CASE("actor_critic: objective, critic and entropy, each with its gradient") {
    recorder policy;
    auto const result = learn(policy, {.coefficient = 0.7}, 0.02);
    CHECK(result.policy.loss == doctest::Approx(-0.3893140317634849 - 0.02 * 0.3).epsilon(1e-12));
    CHECK(result.policy.statistics.tokens == 4);
    CHECK(result.value_loss.sum == doctest::Approx(0.965).epsilon(1e-12));
    CHECK(result.value_loss.count == 4);
    CHECK(result.entropy.sum == doctest::Approx(1.2).epsilon(1e-12));
    CHECK(result.divergence.sum == doctest::Approx(0.031077594232089112).epsilon(1e-12));
    CHECK(result.divergence.count == 4);
    check_gradient(policy.taught.value, {-0.0875, 0.035, 0, -0.175, 0.14});
    check_gradient(policy.taught.entropy, {-0.005, -0.005, 0, -0.005, -0.005});
    CHECK(policy.taught.log_probability[2] == 0.0);
}

TEST_CASE("actor_critic: a clipped value learns nothing where it moved far and came nearer") {
    recorder policy;
    auto const result = learn(policy, {.clip = 0.2, .coefficient = 0.7});
    CHECK(result.value_loss.sum == doctest::Approx(2.11).epsilon(1e-12));
    check_gradient(policy.taught.value, {-0.0875, 0, 0, 0, 0.14});
    CHECK(policy.taught.entropy.empty());
    CHECK(result.entropy.count == 0);  // not asked for
}

TEST_CASE("value_loss: its slope is the difference quotient, inside the clip and outside") {
    for (double clip : {0.2, std::numeric_limits<double>::infinity()})
        for (double value : {-0.5, 0.45, 0.55, 1.5, 3.0})
            for (double target : {0.0, 1.0, 2.5}) {
                rl::value_loss const law{.clip = clip};
                using number = dual<double, 1>;
                auto const y = law(number::variable(value, 0), number(0.5), number(target));
                double const step = 1e-6;
                double const slope =
                    (law(value + step, 0.5, target) - law(value - step, 0.5, target)) / (2 * step);
                CHECK(y.value == law(value, 0.5, target));
                CHECK(std::abs(y.derivative[0] - slope) < 1e-8);
            }
}

TEST_CASE("actor_critic: micro-batches under common totals add up to the whole") {
    recorder whole, part;
    rl::value_loss const loss{.clip = 0.2};
    auto const expected = learn(whole, loss, 0.02);
    record const r;
    rl::actor_critic_evaluation sum;
    for (auto const& range : {recorder::range{0, 2}, recorder::range{2, 5}}) {
        auto const own = [&](auto const& all) {
            return std::span(all).subspan(range.first, range.second - range.first);
        };
        std::vector<index_t> const offsets{0, static_cast<index_t>(range.second - range.first)};
        rl::token_batch<double> const batch{.old_log_probability = own(r.old),
                                            .advantage = own(r.advantage),
                                            .offsets = offsets,
                                            .mask = own(r.mask)};
        sum += rl::learn(part, range, batch, objective(0.02),
                         rl::value_batch<double>{own(r.target), own(r.old_value)}, loss,
                         rl::count(r.view()));
        for (std::size_t t = range.first; t < range.second; ++t) {
            CHECK(part.taught.value[t - range.first] == whole.taught.value[t]);
            CHECK(part.taught.entropy[t - range.first] == whole.taught.entropy[t]);
            CHECK(part.taught.log_probability[t - range.first] == whole.taught.log_probability[t]);
        }
    }
    CHECK(sum.policy.loss == doctest::Approx(expected.policy.loss).epsilon(1e-14));
    CHECK(sum.value_loss.sum == doctest::Approx(expected.value_loss.sum).epsilon(1e-14));
    CHECK(sum.entropy.count == expected.entropy.count);
    CHECK(sum.divergence.sum == doctest::Approx(expected.divergence.sum).epsilon(1e-14));
}

TEST_CASE("actor_critic: refuses what does not fit, before the policy has learned") {
    recorder policy;
    CHECK_THROWS_AS(learn(policy, {.clip = 0.0}), configuration_error);
    CHECK_THROWS_AS(learn(policy, {.coefficient = -1.0}), configuration_error);
    recorder broken;
    broken.value[1] = none;
    CHECK_THROWS_AS(learn(broken, {}), value_error);
    recorder mute;
    mute.value.resize(3);
    record const r;
    CHECK_THROWS_AS(rl::learn(mute, recorder::range{0, 3}, r.view(), rl::ppo{}, r.values(), {},
                              rl::count(r.view())),
                    shape_error);
    auto values = r.values();
    values.old_value = values.old_value.first(4);
    CHECK_THROWS_AS(rl::learn(policy, recorder::range{0, 5}, r.view(), rl::ppo{}, values, {},
                              rl::count(r.view())),
                    shape_error);
    for (auto const* p : {&policy, &broken, &mute}) CHECK(p->taught.log_probability.empty());
}
