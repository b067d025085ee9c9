// SPDX-License-Identifier: Apache-2.0
#include "grove/train/ppo_control.hpp"

#include <doctest/doctest.h>

#include "../io/temporary_folder.hpp"
#include "../sanitized.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/env/cart_pole.hpp"
#include "grove/env/pendulum.hpp"
#include "grove/io/checkpoint.hpp"
#include "metric_of.hpp"

namespace {

using grove::index_t;
using grove_test::metric_of;
using backend = grove::eigen_backend;
using cart_model = grove::control_model<grove::cart_pole, backend>;
using pendulum_model = grove::control_model<grove::pendulum, backend>;

// Earns 1 a step, whatever is done, for ever or until `last`.
struct salary {
    static constexpr index_t observation_size = 1, action_count = 2;
    using state = int;

    index_t time_limit = 4;
    int last = 0;
    state reset(grove::random_sequence&) const { return 0; }
    void observe(state, std::span<float> seen) const { seen[0] = 1.0f; }
    grove::transition step(state& s, index_t) const { return {1.0, ++s == last}; }
};

grove::rl::ppo objective(double discount = 0.99) {
    return {.advantage = {.discount = discount, .lambda = 0.95}};
}
grove::control_options small_options() {
    grove::control_options o;
    o.seed = 5;
    o.environments = 8;
    o.steps = 64;
    o.mini_batch = 128;
    o.epochs = 4;
    return o;
}
grove::actor_critic_config small_config() {
    return grove::config_for<grove::cart_pole>({.hidden = {16, 16}});
}
auto make_trainer(cart_model& model, grove::control_options const& options) {
    return grove::control_trainer(model, grove::cart_pole{}, objective(), options,
                                  grove::constant_schedule{5e-3});
}
double mean(std::vector<double> const& x) {
    return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

}  // namespace

TEST_CASE("control_trainer: learns to balance the pole" * doctest::skip(grove_test::sanitized)) {
    backend b(1);
    cart_model model(b, small_config(), 1);
    auto trainer = make_trainer(model, small_options());
    double const before = mean(trainer.evaluate(20));
    trainer.run(30);
    CHECK(trainer.step_number() == 30);
    CHECK(before < 100);
    CHECK(mean(trainer.evaluate(20)) > 200);
}

TEST_CASE("control_trainer: a time limit is no end, and what it cuts off has its value") {
    // A salary for ever is worth 1 / (1 − γ) = 5, one for four steps at most 1 + … + γ³ = 2.952.
    for (int last : {0, 4}) {
        CAPTURE(last);
        backend b(1);
        grove::control_model<salary, backend> model(b, grove::config_for<salary>({.hidden = {8}}),
                                                    1);
        auto options = small_options();
        options.steps = 16;  // neither does the end of a rollout end anything
        options.optimizer.max_gradient_norm = 0;
        grove::control_trainer trainer(model, salary{.last = last}, objective(0.8), options,
                                       grove::constant_schedule{1e-2});
        trainer.run(60);
        float const value = grove::to_host(model.value(grove::from_host<float>(b, {1, 1}, {1})))[0];
        if (last == 0) CHECK(value == doctest::Approx(5.0).epsilon(0.03));
        if (last == 4) CHECK(value < 2.952f);
    }
}

TEST_CASE("control_trainer: the same bits with one thread and with two, and none by another seed") {
    auto const train = [](int threads, std::uint64_t seed) {
        backend b(threads);
        pendulum_model model(b, grove::config_for<grove::pendulum>({.shared_trunk = true}), 1);
        auto options = small_options();
        options.seed = seed;
        options.normalize_observations = options.normalize_rewards = true;
        options.value_loss.clip = 0.2;
        auto rewarding_entropy = objective();
        rewarding_entropy.entropy_coefficient = 0.01;
        grove::control_trainer trainer(model, grove::pendulum{}, rewarding_entropy, options,
                                       grove::constant_schedule{1e-3});
        trainer.run(3);
        return grove::digest(model);
    };
    auto const once = train(1, 1);
    CHECK(once == train(2, 1));
    CHECK(once != train(1, 2));
}

TEST_CASE("control_trainer: the first update of a rollout starts at ratio 1 exactly") {
    backend b(1);
    pendulum_model model(b, grove::config_for<grove::pendulum>(), 1);
    auto options = small_options();
    options.mini_batch = options.rows();
    options.epochs = 1;
    options.normalize_observations = true;
    grove::control_trainer trainer(model, grove::pendulum{}, objective(), options,
                                   grove::constant_schedule{1e-3});
    trainer.run(3, [](grove::control_report const& report) {
        CHECK(metric_of(report, "ratio/max_deviation") == 0.0);
        CHECK(metric_of(report, "updates") == 1.0);
    });
}

TEST_CASE("control_trainer: stops learning from a rollout where the policy has moved too far") {
    backend b(1);
    cart_model model(b, small_config(), 1);
    auto options = small_options();
    options.divergence_limit = 1e-4;
    auto trainer = make_trainer(model, options);
    auto const report = trainer.step();
    CHECK(metric_of(report, "updates") >= 1);
    CHECK(metric_of(report, "updates") < static_cast<double>(options.updates_per_step()));
}

TEST_CASE("control_trainer: resuming ends in the same bits") {
    temporary_folder folder;
    auto options = small_options();
    options.normalize_observations = options.normalize_rewards = true;
    backend b(1);
    cart_model model(b, small_config(), 1);
    auto trainer = make_trainer(model, options);
    trainer.run(2);
    grove::write_checkpoint(folder / "point",
                            [&](grove::checkpoint_writer& file) { trainer.save(file); });
    grove::control_report last;
    auto const keep = [&](grove::control_report const& report) { last = report; };
    trainer.run(4, keep);
    auto const expected = last.episodes;

    grove::checkpoint_reader const file(folder / "point");
    cart_model fresh(b, small_config(), 99);
    auto resumed = make_trainer(fresh, options);
    resumed.step();  // to be forgotten
    resumed.load(file);
    CHECK(resumed.step_number() == 2);
    resumed.run(4, keep);
    CHECK(grove::digest(fresh) == grove::digest(model));
    REQUIRE(last.episodes.size() == expected.size());
    REQUIRE(!expected.empty());
    for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(last.episodes[i].length == expected[i].length);

    auto const refused = [&](grove::control_options const& o, grove::actor_critic_config config) {
        cart_model unlike(b, config, 99);
        auto other = make_trainer(unlike, o);
        auto const before = grove::digest(unlike);
        CHECK_THROWS_AS(other.load(file), grove::io_error);
        CHECK(grove::digest(unlike) == before);
        CHECK(other.step_number() == 0);
    };
    auto fewer = options;
    fewer.environments = 4;
    refused(fewer, small_config());
    auto wide = small_config();
    wide.hidden = {16, 17};
    refused(options, wide);
}

TEST_CASE("control_trainer: contradictions are named") {
    backend b(1);
    cart_model model(b, small_config(), 1);
    auto const bad = [&](auto change) {
        auto o = small_options();
        change(o);
        CHECK_THROWS_AS(make_trainer(model, o), grove::configuration_error);
    };
    bad([](auto& o) { o.environments = 0; });
    bad([](auto& o) { o.steps = 0; });
    bad([](auto& o) { o.mini_batch = 100; });
    bad([](auto& o) { o.mini_batch = 0; });
    bad([](auto& o) { o.epochs = 0; });
    bad([](auto& o) { o.divergence_limit = -1; });
    cart_model three(b, {.observation_size = 4, .outputs = 3, .hidden = {8}}, 1);
    CHECK_THROWS_AS(make_trainer(three, small_options()), grove::configuration_error);
    grove::control_trainer endless(model, grove::cart_pole{.time_limit = 0}, objective(),
                                   small_options(), grove::constant_schedule{});
    CHECK_THROWS_AS(endless.evaluate(1), grove::configuration_error);
}

TEST_CASE("explained_variance: of a critic that knows, and of one that knows the mean") {
    std::vector<double> const target{1, 2, 4}, mean_alone{3, 3, 3}, equal{2, 2, 2};
    CHECK(grove::explained_variance<double>(target, target) == 1.0);
    CHECK(grove::explained_variance<double>(mean_alone, target) == doctest::Approx(0.0));
    CHECK(grove::explained_variance<double>(std::vector<double>{1, 2, 3}, target) ==
          doctest::Approx(6.0 / 7));  // 1 − (2/3) / (14/3)
    CHECK(std::isnan(grove::explained_variance<double>(equal, equal)));
}
