// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <limits>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/grpo_trainer.hpp"

namespace {

using grove::index_t;
using backend = grove::eigen_backend;
using model = grove::decoder<backend, float>;

grove::decoder_config small_config(index_t vocabulary) {
    return {.vocab_size = vocabulary,
            .hidden_size = 16,
            .intermediate_size = 24,
            .num_hidden_layers = 2,
            .num_attention_heads = 2,
            .num_key_value_heads = 1,
            .max_position_embeddings = 24,
            .initializer_range = 0.2,
            .n_routed_experts = 4,
            .num_experts_per_tok = 2,
            .moe_intermediate_size = 8};
}
grove::symbol_tokenizer const& tokens() {
    static grove::symbol_tokenizer const t("0123456789");
    return t;
}
grove::rollout_problem problem(index_t i) {
    return {"<begin>" + std::to_string(i % 10), std::to_string(i % 10)};
}
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
double metric_of(grove::grpo_report const& report, std::string const& name) {
    for (auto const& [key, value] : report.metrics.values)
        if (key == name) return value;
    FAIL("no metric ", name);
    return 0;
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
    backend b(1);
    model m(b, small_config(tokens().vocabulary_size()), 1);
    auto options = small_options();
    options.updates_per_step = 2;
    options.group_size = 16;  // so that some group of the first share has something to learn from
    auto trainer = make_trainer(m, options, 0.0);
    auto const report = trainer.step(problem, tokens(), repeats{});
    CHECK(report.logprob_max_abs_diff == 0.0);  // measured before the first update
    CHECK(metric_of(report, "ratio/max_deviation") > 0.0);
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

TEST_CASE("grpo_trainer: resuming from a checkpoint ends in the same bits") {
    auto const path = std::filesystem::temp_directory_path() / "grove-grpo-resume.grove";
    for (double beta : {0.0, 0.01}) {
        auto options = small_options();
        options.reference_refresh = 2;
        auto const expected = train(1, 5, options, beta);
        {
            backend b(1);
            model m(b, small_config(tokens().vocabulary_size()), 1);
            auto trainer = make_trainer(m, options, beta);
            trainer.run(3, problem, tokens(), repeats{});
            grove::write_checkpoint(path,
                                    [&](grove::checkpoint_writer& file) { trainer.save(file); });
        }
        backend b(2);
        model m(b, small_config(tokens().vocabulary_size()), 99);  // other weights, to be replaced
        auto trainer = make_trainer(m, options, beta);
        trainer.load(grove::checkpoint_reader(path));
        CHECK(trainer.step_number() == 3);
        trainer.run(5, problem, tokens(), repeats{});
        CHECK(grove::digest(m) == expected);
    }
    std::filesystem::remove(path);
}

TEST_CASE("grpo_trainer: a checkpoint of another model is refused and changes nothing") {
    auto const path = std::filesystem::temp_directory_path() / "grove-grpo-other.grove";
    backend b(1);
    auto config = small_config(tokens().vocabulary_size());
    model narrow(b, config, 1);
    config.intermediate_size = 32;
    model wide(b, config, 1);
    auto trainer = make_trainer(narrow, small_options(), 0.0);
    grove::write_checkpoint(path, [&](grove::checkpoint_writer& file) { trainer.save(file); });
    auto other = make_trainer(wide, small_options(), 0.0);
    auto const before = grove::digest(wide);
    CHECK_THROWS_AS(other.load(grove::checkpoint_reader(path)), grove::error);
    CHECK(grove::digest(wide) == before);
    std::filesystem::remove(path);
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
    bad([](auto& o) { o.updates_per_step = 3; });
    bad([](auto& o) { o.reference_refresh = -1; });
    bad([](auto& o) { o.generation.max_new_tokens = 0; });
    bad([](auto& o) { o.generation.sampling.top_p = 0; });
}
