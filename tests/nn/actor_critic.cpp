// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/actor_critic.hpp"

#include <doctest/doctest.h>

#include "grove/backend/reference/reference.hpp"

using namespace grove;

namespace {

using host = reference_backend;
using gaussian = gaussian_head<host, double>;
using categorical = categorical_head<host, double>;

/// Σ weights·statistics of a policy.
template <class Policy, class Input>
double weigh(Policy& policy, Input const& input, rl::token_statistics<double> const& weights) {
    auto const now = policy.evaluate(input, {true, true});
    double sum = 0;
    for (std::size_t i = 0; i < weights.value.size(); ++i)
        sum += weights.log_probability[i] * now.log_probability[i] +
               weights.entropy[i] * now.entropy[i] + weights.value[i] * now.value[i];
    return sum;
}
/// Every gradient of a model against central differences.
template <class Model>
void check_differences(Model& model, typename Model::decisions_type const& input) {
    auto policy = rl::differentiable<double>(model.backend(),
                                             [&](auto& on, auto const& x) { return model(on, x); });
    rl::token_statistics<double> const weights{{1.0, -2.0}, {0.5, 0.25}, {-0.3, 0.8}};
    weigh(policy, input, weights);
    policy.backward(weights);
    int checked = 0;
    model.visit([&](auto& p) {
        CAPTURE(p.name);
        auto const gradient = to_host(p.gradient);
        auto const centre = p.value;
        for (std::size_t at = 0; at < gradient.size(); at += 1 + gradient.size() / 4, ++checked) {
            double const step = 1e-5;
            auto const moved = [&](double shift) {
                auto x = to_host(centre);
                x[at] += shift;
                p.value = from_host(model.backend(), centre.extents(), x);
                return weigh(policy, input, weights);
            };
            double const slope = (moved(step) - moved(-step)) / (2 * step);
            CHECK(gradient[at] == doctest::Approx(slope).epsilon(1e-7));
        }
        p.value = centre;
    });
    CHECK(checked > 20);
}

}  // namespace

// Golden values from the formulas in plain Python.
TEST_CASE("gaussian_head: log-density and entropy") {
    host b;
    parameter_maker<host, double> make(b, 1);
    auto head = gaussian::make(make, 2);
    head.log_deviation.value = from_host<double>(b, {2}, {0.2, -0.7});
    auto const means = from_host<double>(b, {2, 2}, {0.3, -1.0, 2.0, 0.5});
    std::vector<double> const actions{0.1, -0.5, -1.0, 0.7};
    auto const [density, entropy] = head.statistics(means, std::span(actions));
    CHECK(to_host(density)[0] == doctest::Approx(-1.8581834631856426).epsilon(1e-13));
    CHECK(to_host(density)[1] == doctest::Approx(-4.435421272906615).epsilon(1e-13));
    for (double h : to_host(entropy))
        CHECK(h == doctest::Approx(2.3378770664093453).epsilon(1e-13));

    autodiff<host> tape(b);
    std::vector<double> by_mean;
    auto const x = leaf(tape, means, [&](auto const& g) { by_mean = to_host(g); });
    auto const y = head.statistics(x, std::span(actions));
    auto const w = constant(tape, from_host<double>(b, {2}, {1.0, -2.0}));
    auto const e = constant(tape, from_host<double>(b, {2}, {0.5, 0.25}));
    backward(sum(y[0] * w) + sum(y[1] * e));
    double const expected[] = {-0.13406400920712785, 2.0275999834223373, 4.0219202762138355,
                               -1.6220799867378695};
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(by_mean[i] == doctest::Approx(expected[i]).epsilon(1e-12));
    auto const by_deviation = to_host(head.log_deviation.gradient);
    CHECK(by_deviation[0] == doctest::Approx(-10.288948026800082).epsilon(1e-12));
    CHECK(by_deviation[1] == doctest::Approx(2.4393839943635953).epsilon(1e-12));
}

TEST_CASE("categorical_head: log-probability and entropy, and the likeliest action") {
    host b;
    categorical const head{3};
    auto const logits = from_host<double>(b, {2, 3}, {1.0, -0.5, 2.0, 1.0, -0.5, 2.0});
    std::vector<std::int32_t> const actions{1, 2};
    auto const [lp, entropy] = head.statistics(logits, std::span(actions));
    CHECK(to_host(lp)[0] == doctest::Approx(-2.871539031852683).epsilon(1e-13));
    CHECK(to_host(lp)[1] == doctest::Approx(-0.37153903185268294).epsilon(1e-13));
    CHECK(to_host(entropy)[0] == doctest::Approx(0.7667845440888863).epsilon(1e-13));
    std::int32_t chosen[1];
    head.mode(std::vector<double>{1.0, -0.5, 2.0}, chosen);
    CHECK(chosen[0] == 2);
}

TEST_CASE("heads: what is drawn is distributed as it says") {
    host b;
    int const n = 20000;
    categorical const pick{3};
    std::vector<double> const logits{1.0, -0.5, 2.0};
    std::vector<double> counts(3);
    std::int32_t action[1];
    auto const draw = pick.sampler();
    for (std::uint32_t i = 0; i < n; ++i) {
        draw(logits, {.seed = 1, .prompt = i}, action);
        counts[static_cast<std::size_t>(action[0])] += 1.0 / n;
    }
    double const lp[] = {-1.371539031852683, -2.871539031852683, -0.37153903185268294};
    for (std::size_t k = 0; k < 3; ++k) CHECK(std::abs(counts[k] - std::exp(lp[k])) < 0.015);

    parameter_maker<host, double> make(b, 1);
    auto const head = gaussian::make(make, 2, std::log(0.5));
    auto const sample = head.sampler();
    std::vector<double> const means{3.0, -1.0};
    double drawn[2], mean[2] = {}, square[2] = {}, product = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        sample(means, {.seed = 1, .prompt = i}, drawn);
        for (int j = 0; j < 2; ++j) {
            mean[j] += drawn[j] / n;
            square[j] += (drawn[j] - means[static_cast<std::size_t>(j)]) *
                         (drawn[j] - means[static_cast<std::size_t>(j)]) / n;
        }
        product += (drawn[0] - 3.0) * (drawn[1] + 1.0) / n;
    }
    for (int j = 0; j < 2; ++j) {
        CHECK(std::abs(mean[j] - means[static_cast<std::size_t>(j)]) < 0.015);
        CHECK(std::abs(square[j] - 0.25) < 0.01);
    }
    CHECK(std::abs(product) < 0.01);
}

TEST_CASE("actor_critic: gradients are the difference quotients, with and without a shared trunk") {
    host b;
    for (bool shared : {false, true}) {
        CAPTURE(shared);
        actor_critic_config const config{.observation_size = 3,
                                         .outputs = 2,
                                         .hidden = {5, 4},
                                         .shared_trunk = shared,
                                         .policy_gain = 1.0};
        std::vector<double> const seen{0.1, -0.4, 0.7, 1.2, 0.3, -0.5};
        actor_critic<host, double, categorical> choosing(b, config, 1);
        check_differences(choosing, {seen, {1, 0}});
        actor_critic<host, double, gaussian> moving(b, config, 1);
        check_differences(moving, {seen, {0.3, -1.0, 0.2, 0.9}});
    }
}

TEST_CASE("actor_critic: acting and learning are the same function") {
    host b;
    actor_critic<host, double, gaussian> model(
        b, {.observation_size = 2, .outputs = 1, .hidden = {8}, .log_deviation = -0.5}, 3);
    auto const x = from_host<double>(b, {2, 2}, {0.3, -0.2, 0.9, 1.1});
    std::vector<double> const actions{0.1, -0.2};
    auto const acting = to_host(model.head().statistics(model.policy(x), std::span(actions))[0]);
    autodiff<host> tape(b);
    auto const learning = model(tape, {{0.3, -0.2, 0.9, 1.1}, actions});
    CHECK(acting == to_host(learning.log_probability));
    CHECK(to_host(model.value(x)) == to_host(learning.value));
}

TEST_CASE("mlp: its layers, its activation, and nothing without layers") {
    host b;
    parameter_maker<host, double> make(b, 1);
    auto net = mlp<host, double, law::relu>::make(make, "net", {1, 2, 1});
    net.layers[0].weight.value = from_host<double>(b, {1, 2}, {1.0, -1.0});
    net.layers[0].bias->value = from_host<double>(b, {2}, {0.5, 0.25});
    net.layers[1].weight.value = from_host<double>(b, {2, 1}, {2.0, 4.0});
    net.layers[1].bias->value = from_host<double>(b, {1}, {-10.0});
    auto const x = from_host<double>(b, {3, 1}, {-1.0, 0.0, 2.0});
    CHECK(to_host(net(x)) == std::vector<double>{-5.0, -8.0, -5.0});
    net.activated = true;
    CHECK(to_host(net(x)) == std::vector<double>{0.0, 0.0, 0.0});
    std::vector<std::string> names;
    net.visit([&](auto& p) { names.push_back(p.name); });
    CHECK(names ==
          std::vector<std::string>{"net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias"});
    CHECK(to_host(mlp<host, double>{}(x)) == to_host(x));
    CHECK_THROWS_AS((mlp<host, double>::make(make, "net", {3, 0, 1})), configuration_error);
}
