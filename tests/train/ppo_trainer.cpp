// SPDX-License-Identifier: Apache-2.0
#include "grove/train/ppo_trainer.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "../io/temporary_folder.hpp"
#include "../sanitized.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/optim/schedule.hpp"
#include "metric_of.hpp"
#include "repeat_task.hpp"

namespace {

using grove::index_t;
using grove_test::metric_of;
using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

using grove_test::problem, grove_test::small_config, grove_test::tokens;

// The share of characters that repeat the prompt's digit, where `judged` is not 0.
struct repeats {
    float judged = 1;

    std::optional<float> operator()(std::string_view, std::string_view text,
                                    std::string_view reference) const {
        if (judged == 0) return std::nullopt;
        if (text.empty()) return 0.0f;
        return judged * static_cast<float>(std::ranges::count(text, reference.front())) /
               static_cast<float>(text.size());
    }
};
// The same, token by token.
struct repeats_each {
    std::vector<float> operator()(grove::scored_completion const& c,
                                  grove::response const& r) const {
        std::vector<float> rewards;
        auto const right = tokens().encode(c.reference).front();
        for (auto token : r.tokens)
            rewards.push_back(token == right ? 1.0f / static_cast<float>(r.tokens.size()) : 0.0f);
        return rewards;
    }
};
grove::ppo_options small_options() {
    grove::ppo_options o;
    o.seed = 3;
    o.prompts_per_step = 16;
    o.mini_batches = 2;
    o.epochs = 2;
    o.problem_count = 20;
    o.generation.max_new_tokens = 6;
    o.generation.end_tokens = {tokens().end_id()};
    o.learning.balance = 1e-3;
    o.learning.expert_bias_rate = 1e-2;
    return o;
}
auto make_trainer(model& m, grove::ppo_options const& options) {
    return grove::ppo_trainer(m, grove::rl::ppo{.advantage = {.lambda = 0.95}}, options,
                              grove::constant_schedule{5e-3});
}
// Trains and returns the digest of the weights.
template <class Reward = repeats>
std::uint32_t train(int threads, grove::ppo_options const& options, Reward const& rule = {}) {
    backend b(threads);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    make_trainer(m, options).run(3, problem, tokens(), rule);
    return grove::digest(m);
}

}  // namespace

TEST_CASE("ppo_trainer: learns what each token is paid for, with either critic" *
          doctest::skip(grove_test::sanitized)) {
    for (auto critic : {grove::critic_body::shared, grove::critic_body::separate}) {
        backend b(1);
        model m(b, small_config(tokens().vocabulary_size()), 1);
        auto options = small_options();
        options.critic = critic;
        options.prompts_per_step = 48;
        auto trainer = make_trainer(m, options);
        std::vector<double> rewards, known;
        trainer.run(25, problem, tokens(), repeats_each{}, [&](grove::ppo_report const& report) {
            CHECK(report.logprob_max_abs_diff == 0.0);
            rewards.push_back(metric_of(report, "reward/mean"));
            known.push_back(metric_of(report, "value/explained_variance"));
        });
        CHECK(rewards.front() < 0.2);
        CHECK(rewards.back() > 0.4);
        CHECK(known.front() == doctest::Approx(0.0));  // the critic's head starts at 0
        CHECK(known.back() > 0.1);
    }
}

TEST_CASE("ppo_trainer: the same bits with one thread and with two; what matters changes them") {
    auto options = small_options();
    options.kl.coefficient = 0.05;
    auto const once = train(1, options);
    CHECK(once == train(2, options));
    auto const differs = [&](auto change) {
        auto o = options;
        change(o);
        return train(1, o) != once;
    };
    CHECK(differs([](auto& o) { o.seed = 4; }));
    CHECK(differs([](auto& o) { o.kl.coefficient = 0.5; }));
    CHECK(differs([](auto& o) { o.critic = grove::critic_body::shared; }));
    CHECK(differs([](auto& o) { o.critic_rate = 10; }));
    CHECK(differs([](auto& o) { o.whiten_advantages = false; }));
    CHECK(train(1, options, repeats_each{}) != once);
}

TEST_CASE("ppo_trainer: before the first update the ratio is exactly 1, the divergence 0") {
    backend b(2);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto options = small_options();
    options.mini_batches = options.epochs = 1;
    options.learning.micro_batch_tokens = 20;
    options.kl.coefficient = 0.05;
    options.generation.sampling = {.temperature = 0.8, .top_p = 0.9};
    auto trainer = make_trainer(m, options);
    bool first = true;
    trainer.run(3, problem, tokens(), repeats{}, [&](grove::ppo_report const& report) {
        CHECK(report.logprob_max_abs_diff == 0.0);
        CHECK(metric_of(report, "ratio/max_deviation") == 0.0);
        CHECK((metric_of(report, "kl") == 0.0) == first);
        first = false;
    });
}

TEST_CASE("ppo_trainer: an adaptive coefficient follows the divergence, a fixed one stays") {
    for (bool adapts : {false, true}) {
        backend b(1);
        model m(b, small_config(tokens().vocabulary_size()), 1);
        auto options = small_options();
        options.kl = {.coefficient = 0.1, .target = 10.0, .horizon = 100};
        options.adapt_kl = adapts;
        auto trainer = make_trainer(m, options);
        trainer.run(2, problem, tokens(), repeats{});
        // Far below its target: −20 % of 16 responses over a horizon of 100, twice.
        double const expected = adapts ? 0.1 * 0.968 * 0.968 : 0.1;
        CHECK(trainer.kl_coefficient() == doctest::Approx(expected).epsilon(1e-12));
    }
}

TEST_CASE("ppo_trainer: a response without a reward is not learned from") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto const before = grove::digest(m);
    auto trainer = make_trainer(m, small_options());
    auto const report = trainer.step(problem, tokens(), repeats{.judged = 0});
    CHECK(grove::digest(m) == before);
    CHECK(metric_of(report, "updates") == 0.0);
    CHECK(std::isnan(metric_of(report, "reward/mean")));
    CHECK(trainer.step_number() == 1);
}

TEST_CASE("ppo_trainer: bad rewards are refused, and nothing has changed") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto const before = grove::digest(m);
    auto trainer = make_trainer(m, small_options());
    auto const step = [&](auto const& rule) { trainer.step(problem, tokens(), rule); };
    CHECK_THROWS_AS(step(repeats{std::numeric_limits<float>::quiet_NaN()}), grove::value_error);
    auto const short_of_one = [](grove::scored_completion const&, grove::response const& r) {
        return std::vector<float>(r.tokens.size() - 1);
    };
    CHECK_THROWS_AS(step(short_of_one), grove::value_error);
    CHECK(grove::digest(m) == before);
    CHECK(trainer.step_number() == 0);
    CHECK(trainer.cursor().position() == 0);
}

TEST_CASE("ppo_trainer: stops learning from a rollout where the policy has moved too far") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto options = small_options();
    options.divergence_limit = 1e-6;
    auto const report = make_trainer(m, options).step(problem, tokens(), repeats{});
    CHECK(metric_of(report, "updates") == 1.0);
}

TEST_CASE("ppo_trainer: resuming ends in the same bits") {
    temporary_folder folder;
    auto options = small_options();
    options.kl = {.coefficient = 0.1, .target = 10.0, .horizon = 100};
    options.adapt_kl = true;
    backend b(1);
    auto const config = small_config(tokens().vocabulary_size());
    model m(b, config, 1);
    auto trainer = make_trainer(m, options);
    trainer.run(2, problem, tokens(), repeats{});
    grove::write_checkpoint(folder / "point",
                            [&](grove::checkpoint_writer& file) { trainer.save(file); });
    trainer.run(4, problem, tokens(), repeats{});

    grove::checkpoint_reader const file(folder / "point");
    model fresh(b, config, 99);
    auto resumed = make_trainer(fresh, options);
    resumed.load(file);
    CHECK(resumed.step_number() == 2);
    resumed.run(4, problem, tokens(), repeats{});
    CHECK(grove::digest(fresh) == grove::digest(m));
    CHECK(resumed.kl_coefficient() == trainer.kl_coefficient());

    auto const refused = [&]<class Error>(Error const*, auto change, auto extents) {
        auto other_options = options;
        change(other_options);
        model unlike(b, extents, 99);
        auto other = make_trainer(unlike, other_options);
        auto const before = grove::digest(unlike);
        CHECK_THROWS_AS(other.load(file), Error);
        CHECK(grove::digest(unlike) == before);
        CHECK(other.step_number() == 0);
    };
    grove::io_error const* io = nullptr;
    grove::configuration_error const* configuration = nullptr;
    auto wide = config;
    wide.intermediate_size = 32;
    refused(
        io, [](auto&) {}, wide);
    refused(
        configuration, [](auto& o) { o.critic = grove::critic_body::shared; }, config);
    refused(
        configuration, [](auto& o) { o.problem_count = 21; }, config);
    refused(
        configuration,
        [](auto& o) {
            o.kl = {.coefficient = 0.0};
            o.adapt_kl = false;
        },
        config);
}

TEST_CASE("ppo_options: contradictions are named") {
    auto bad = [](auto change) {
        auto o = small_options();
        change(o);
        CHECK_THROWS_AS(o.validate(), grove::configuration_error);
    };
    bad([](auto& o) { o.prompts_per_step = 0; });
    bad([](auto& o) { o.group_size = 0; });
    bad([](auto& o) { o.mini_batches = 0; });
    bad([](auto& o) { o.mini_batches = 17; });
    bad([](auto& o) { o.epochs = 0; });
    bad([](auto& o) { o.problem_count = -1; });
    bad([](auto& o) { o.kl.coefficient = -1; });
    bad([](auto& o) { o.adapt_kl = true; });
    bad([](auto& o) { o.critic_rate = 0; });
    bad([](auto& o) { o.divergence_limit = -1; });
    bad([](auto& o) { o.generation.max_new_tokens = 0; });
}
