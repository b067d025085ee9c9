// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>

#include "../io/temporary_folder.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/grpo_trainer.hpp"
#include "metric_of.hpp"
#include "repeat_task.hpp"

namespace {

using grove::index_t;
using grove_test::metric_of;
using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

using grove_test::problem, grove_test::small_config, grove_test::tokens;

// The share of characters that repeat the prompt's digit.
struct repeats {
    std::optional<float> operator()(std::string_view, std::string_view text,
                                    std::string_view reference) const {
        if (text.empty()) return 0.0f;
        return static_cast<float>(std::ranges::count(text, reference.front())) /
               static_cast<float>(text.size());
    }
};
grove::grpo_options small_options() {
    grove::grpo_options o;
    o.seed = 3;
    o.prompts_per_step = 4;
    o.group_size = 4;
    o.generation.max_new_tokens = 6;
    o.generation.end_tokens = {tokens().end_id()};
    o.learning.balance = 1e-3;
    o.learning.expert_bias_rate = 1e-2;
    return o;
}
auto make_trainer(model& m, grove::grpo_options const& options, double beta) {
    return grove::grpo_trainer(m, grove::rl::r1_paper({.clip = 0.2, .kl_coefficient = beta}),
                               options, grove::constant_schedule{1e-2});
}
// Trains `steps` steps and returns the digest of the weights.
std::uint32_t train(int threads, index_t steps, grove::grpo_options const& options, double beta) {
    backend b(threads);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto trainer = make_trainer(m, options, beta);
    trainer.run(steps, problem, tokens(), repeats{});
    return grove::digest(m);
}

}  // namespace

TEST_CASE("grpo_trainer: the same seed gives the same weights, with one thread and with two") {
    auto const once = train(1, 4, small_options(), 0.01);
    CHECK(once == train(1, 4, small_options(), 0.01));
    CHECK(once == train(2, 4, small_options(), 0.01));
    auto other = small_options();
    other.seed = 4;
    CHECK(once != train(1, 4, other, 0.01));
}

TEST_CASE("grpo_trainer: recomputing changes no bit; replaying holds the ratio to the weights") {
    auto options = small_options();
    options.mini_batches = 2;
    auto const plain = train(2, 4, options, 0.01);
    auto recomputed = options;
    recomputed.learning.pass.recompute = true;
    CHECK(train(2, 4, recomputed, 0.01) == plain);
    auto replayed = options;
    replayed.generation.record_routing = true;
    auto const with_replay = train(2, 4, replayed, 0.01);
    CHECK(with_replay == train(1, 4, replayed, 0.01));
    replayed.mini_batches = options.mini_batches = 1;  // the first update chooses the same experts
    CHECK(train(2, 1, replayed, 0.01) == train(2, 1, options, 0.01));
}

TEST_CASE("grpo_trainer: learns what is rewarded") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto options = small_options();
    options.group_size = 16;
    auto trainer = make_trainer(m, options, 0.0);
    std::vector<double> rewards;
    trainer.run(60, problem, tokens(), repeats{}, [&](grove::grpo_report const& report) {
        rewards.push_back(metric_of(report, "reward/mean"));
    });
    CHECK(rewards.front() < 0.3);
    CHECK(std::accumulate(rewards.end() - 5, rewards.end(), 0.0) / 5 > 0.45);
}

TEST_CASE("grpo_trainer: before the first update of a rollout the ratio is exactly 1") {
    backend b(2);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    for (double top_p : {1.0, 0.7}) {
        auto options = small_options();
        options.generation.sampling = {.temperature = 0.8, .top_p = top_p};
        auto trainer = make_trainer(m, options, 0.001);
        trainer.run(3, problem, tokens(), repeats{}, [](grove::grpo_report const& report) {
            CHECK(report.logprob_max_abs_diff == 0.0);
            CHECK(metric_of(report, "ratio/max_deviation") == 0.0);
        });
    }
}

TEST_CASE("grpo_trainer: several updates of one rollout move the ratio") {
    for (auto [mini_batches, epochs] : {std::pair<index_t, index_t>{2, 1}, {1, 2}, {2, 3}}) {
        backend b(1);
        model m(b, small_config(tokens().vocabulary_size()), 1);
        auto options = small_options();
        options.mini_batches = mini_batches;
        options.epochs = epochs;
        options.group_size = 16;  // so that some group of each share has something to learn from
        auto trainer = make_trainer(m, options, 0.0);
        auto const report = trainer.step(problem, tokens(), repeats{});
        CHECK(report.logprob_max_abs_diff == 0.0);  // measured before the first update
        CHECK(metric_of(report, "ratio/max_deviation") > 0.0);
        CHECK(trainer.update_number() == mini_batches * epochs);
    }
}

TEST_CASE("grpo_trainer: cutting into micro-batches changes rounding alone") {
    auto whole = small_options(), cut = small_options();
    whole.learning.balance = cut.learning.balance = 0;  // a mean over sequences of a pass
    cut.learning.micro_batch_tokens = 20;
    auto weights = [](grove::grpo_options const& options) {
        backend b(1);
        model m(b, small_config(tokens().vocabulary_size()), 1);
        auto trainer = make_trainer(m, options, 0.01);
        trainer.run(1, problem, tokens(), repeats{});
        std::vector<float> all;
        m.visit([&](auto& p) {
            auto const x = grove::to_host(p.value);
            all.insert(all.end(), x.begin(), x.end());
        });
        return all;
    };
    auto const a = weights(whole), c = weights(cut);
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        worst = std::max(worst, static_cast<double>(std::abs(a[i] - c[i])));
    CHECK(worst < 2e-4);  // one Adam step moves a weight by 1e-2
}

TEST_CASE("grpo_trainer: a step can be taken apart, in its order alone") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto options = small_options();
    options.mini_batches = 2;
    options.problem_count = 3;
    auto trainer = make_trainer(m, options, 0.0);
    CHECK(trainer.pending_updates() == 0);
    CHECK(contains(message_of<grove::value_error>([&] { trainer.update(); }), "call collect"));
    trainer.collect(problem, tokens(), repeats{});
    CHECK(trainer.pending_updates() == 2);
    CHECK(trainer.cursor().position() == 4);
    CHECK(trainer.cursor().visits(0) == 2);
    auto const again = [&] { trainer.collect(problem, tokens(), repeats{}); };
    CHECK(contains(message_of<grove::value_error>(again), "2 pending updates"));
    CHECK(trainer.cursor().position() == 4);
    CHECK_FALSE(trainer.update());
    CHECK(trainer.pending_updates() == 1);
    CHECK(trainer.update_number() == 1);
    auto const report = trainer.step(problem, tokens(), repeats{});  // what is left of it
    CHECK(report.step == 0);
    CHECK(trainer.step_number() == 1);
    CHECK(trainer.cursor().position() == 4);
    CHECK(trainer.pending_updates() == 0);
}

namespace {

// Rollouts of several updates, sampled with truncation, from problems that come again.
grove::grpo_options divided_options() {
    auto options = small_options();
    options.mini_batches = 2;
    options.epochs = 2;
    options.problem_count = 6;
    options.reference_refresh = 2;
    options.generation.sampling.top_p = 0.9;
    return options;
}
// The smallest advance that a checkpoint can follow: a rollout, or one update.
template <class Trainer>
void advance(Trainer& trainer, std::vector<grove::grpo_report>& reports) {
    if (trainer.pending_updates() == 0) {
        trainer.collect(problem, tokens(), repeats{});
    } else if (auto report = trainer.update()) {
        reports.push_back(*std::move(report));
    }
}
// Everything in a report but the time it took.
std::string bits_of(grove::grpo_report const& report) {
    std::ostringstream text;
    text << std::hexfloat << report.step << ' ' << report.sampled_tokens << ' '
         << report.logprob_max_abs_diff;
    for (auto const& [name, value] : report.metrics.values)
        if (!name.starts_with("tokens_per_second")) text << ' ' << name << '=' << value;
    for (auto const& c : report.completions)
        text << '\n'
             << c.prompt << c.text << c.reference << c.reward << c.scored << c.length
             << name(c.reason);
    return text.str();
}
template <class Trainer>
void save(std::filesystem::path const& path, Trainer& trainer) {
    grove::write_checkpoint(path, [&](grove::checkpoint_writer& file) { trainer.save(file); });
}
// A checkpoint in which one section is missing.
struct writer_without {
    grove::checkpoint_writer& file;
    std::string missing;

    template <class... More>
    void put(std::string const& name, More const&... more) {
        if (name != missing) file.put(name, more...);
    }
    template <class Number>
    void put_value(std::string const& name, Number value) {
        if (name != missing) file.put_value(name, value);
    }
};

}  // namespace

TEST_CASE("grpo_trainer: resuming anywhere within a step ends in the same bits") {
    index_t const steps = 3;
    for (double beta : {0.0, 0.01}) {
        temporary_folder folder;
        backend b(1);
        model m(b, small_config(tokens().vocabulary_size()), 1);
        auto trainer = make_trainer(m, divided_options(), beta);
        std::vector<grove::grpo_report> expected;
        std::vector<std::size_t> reported;
        std::vector<index_t> pending;
        while (trainer.step_number() < steps) {
            save(folder / std::to_string(reported.size()), trainer);
            reported.push_back(expected.size());
            pending.push_back(trainer.pending_updates());
            advance(trainer, expected);
        }
        auto const digest = grove::digest(m);
        REQUIRE(reported.size() == 15);  // three times a rollout and four updates
        CHECK(pending == std::vector<index_t>{0, 4, 3, 2, 1, 0, 4, 3, 2, 1, 0, 4, 3, 2, 1});

        for (std::size_t point = 0; point < reported.size(); ++point) {
            CAPTURE(point);
            backend other(2);
            model fresh(other, small_config(tokens().vocabulary_size()), 99);
            auto resumed = make_trainer(fresh, divided_options(), beta);
            resumed.load(grove::checkpoint_reader(folder / std::to_string(point)));
            CHECK(resumed.pending_updates() == pending[point]);
            std::vector<grove::grpo_report> reports;
            while (resumed.step_number() < steps) advance(resumed, reports);
            CHECK(grove::digest(fresh) == digest);
            REQUIRE(reports.size() + reported[point] == expected.size());
            for (std::size_t i = 0; i < reports.size(); ++i)
                CHECK(bits_of(reports[i]) == bits_of(expected[reported[point] + i]));
        }
    }
}

TEST_CASE(
    "grpo_trainer: a checkpoint holds the rollout as it is, so that saving again is the same") {
    temporary_folder folder;
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto trainer = make_trainer(m, divided_options(), 0.01);
    trainer.collect(problem, tokens(), repeats{});
    trainer.update();
    save(folder / "first", trainer);
    model fresh(b, small_config(tokens().vocabulary_size()), 99);
    auto resumed = make_trainer(fresh, divided_options(), 0.01);
    resumed.load(grove::checkpoint_reader(folder / "first"));
    save(folder / "second", resumed);
    CHECK(grove::read_file(folder / "first") == grove::read_file(folder / "second"));
}

TEST_CASE("grpo_trainer: a checkpoint without any of its sections is refused, nothing changes") {
    temporary_folder folder;
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto trainer = make_trainer(m, divided_options(), 0.01);
    trainer.step(problem, tokens(), repeats{});
    trainer.collect(problem, tokens(), repeats{});
    save(folder / "whole", trainer);
    model fresh(b, small_config(tokens().vocabulary_size()), 99);
    auto other = make_trainer(fresh, divided_options(), 0.01);
    save(folder / "before", other);
    std::string const before = grove::read_file(folder / "before");
    grove::checkpoint_reader const whole(folder / "whole");
    for (auto const& section : whole.sections()) {
        grove::write_checkpoint(folder / "part", [&](grove::checkpoint_writer& file) {
            writer_without part{file, section.name};
            trainer.save(part);
        });
        auto const load = [&] { other.load(grove::checkpoint_reader(folder / "part")); };
        CHECK(contains(message_of<grove::io_error>(load), "'" + section.name + "'"));
        save(folder / "after", other);
        CHECK(grove::read_file(folder / "after") == before);
    }
}

TEST_CASE("grpo_trainer: a checkpoint of another model or of other settings is refused") {
    temporary_folder folder;
    backend b(1);
    auto const config = small_config(tokens().vocabulary_size());
    model m(b, config, 1);
    auto trainer = make_trainer(m, divided_options(), 0.0);
    trainer.collect(problem, tokens(), repeats{});
    save(folder / "checkpoint", trainer);
    auto const refused = [&]<class Error>(Error const*, auto change, auto extents) {
        auto options = divided_options();
        change(options);
        model fresh(b, extents, 99);
        auto other = make_trainer(fresh, options, 0.0);
        auto const before = grove::digest(fresh);
        CHECK_THROWS_AS(other.load(grove::checkpoint_reader(folder / "checkpoint")), Error);
        CHECK(grove::digest(fresh) == before);
        CHECK(other.cursor().position() == 0);
        CHECK(other.pending_updates() == 0);
    };
    grove::io_error const* io = nullptr;
    grove::configuration_error const* configuration = nullptr;
    auto wide = config;
    wide.intermediate_size = 32;
    refused(
        io, [](auto&) {}, wide);
    refused(
        configuration, [](auto& o) { o.epochs = 1; }, config);
    refused(
        configuration, [](auto& o) { o.problem_count = 7; }, config);
    refused(
        io, [](auto& o) { o.group_size = 2; }, config);
    refused(
        io, [](auto& o) { o.prompts_per_step = 8; }, config);
}

TEST_CASE("grpo_trainer: an update that throws changes nothing and can be made again") {
    backend b(1);
    model spoiled(b, small_config(tokens().vocabulary_size()), 1);
    model sound(b, small_config(tokens().vocabulary_size()), 1);
    auto trainer = make_trainer(spoiled, small_options(), 0.0);
    auto twin = make_trainer(sound, small_options(), 0.0);
    for (auto* each : {&trainer, &twin}) each->collect(problem, tokens(), repeats{});
    auto const before = grove::digest(spoiled);

    std::vector<grove::tensor<backend>> kept;
    spoiled.visit([&](auto& p) {
        kept.push_back(p.value);
        float const nothing = std::numeric_limits<float>::quiet_NaN();
        p.value = grove::full(b, p.value.extents(), nothing);
    });
    CHECK_THROWS_AS(trainer.update(), grove::value_error);
    CHECK(trainer.pending_updates() == 1);
    std::size_t i = 0;
    spoiled.visit([&](auto& p) {
        p.value = kept[i++];
        p.gradient = p.value;  // what micro-batches before the one that threw would leave
    });
    CHECK(grove::digest(spoiled) == before);
    auto const report = trainer.update(), expected = twin.update();
    REQUIRE((report && expected));
    CHECK(bits_of(*report) == bits_of(*expected));
    CHECK(grove::digest(spoiled) == grove::digest(sound));
    CHECK(grove::digest(spoiled) != before);
}

TEST_CASE("grpo_trainer: a NaN reward is refused before anything is learned") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto trainer = make_trainer(m, small_options(), 0.0);
    auto const before = grove::digest(m);
    auto const broken = [](std::string_view, std::string_view, std::string_view) {
        return std::optional<float>(std::numeric_limits<float>::quiet_NaN());
    };
    CHECK_THROWS_AS(trainer.step(problem, tokens(), broken), grove::value_error);
    CHECK(grove::digest(m) == before);
    CHECK(trainer.step_number() == 0);
    CHECK(trainer.pending_updates() == 0);
    CHECK(trainer.cursor().position() == 0);
}

TEST_CASE("grpo_trainer: groups of one and equal rewards leave the weights alone") {
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto const before = grove::digest(m);
    auto options = small_options();
    options.group_size = 1;
    auto alone = make_trainer(m, options, 0.0);
    alone.step(problem, tokens(), repeats{});
    CHECK(grove::digest(m) == before);
    auto equal = make_trainer(m, small_options(), 0.0);
    auto const report =
        equal.step(problem, tokens(), [](std::string_view, std::string_view, std::string_view) {
            return std::optional<float>(0.1f);
        });
    CHECK(grove::digest(m) == before);
    CHECK(metric_of(report, "groups/zero_variance") == 1.0);
}

TEST_CASE("grpo_options: contradictions are named") {
    auto bad = [](auto change) {
        auto o = small_options();
        change(o);
        CHECK_THROWS_AS(o.validate(), grove::configuration_error);
    };
    bad([](auto& o) { o.prompts_per_step = 0; });
    bad([](auto& o) { o.group_size = 0; });
    bad([](auto& o) { o.mini_batches = 3; });
    bad([](auto& o) { o.mini_batches = 0; });
    bad([](auto& o) { o.epochs = 0; });
    bad([](auto& o) { o.problem_count = -1; });
    bad([](auto& o) { o.reference_refresh = -1; });
    bad([](auto& o) { o.generation.max_new_tokens = 0; });
    bad([](auto& o) { o.generation.sampling.top_p = 0; });
}
