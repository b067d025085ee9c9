// SPDX-License-Identifier: Apache-2.0
#include "grove/train/distillation.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "../instances/decoder.hpp"
#include "../io/temporary_folder.hpp"
#include "../sanitized.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/train/grpo_trainer.hpp"

namespace {

using namespace grove;
using cpu = eigen_backend;
using model = decoder<cpu, float>;
using divergence = distill::generalized_jsd;  // at 0 and 1 the two KLs: one type, compiled once

decoder_config sized(index_t hidden, index_t vocabulary = 12, bool tied = false) {
    return {.vocab_size = vocabulary,
            .hidden_size = hidden,
            .intermediate_size = 24,
            .num_hidden_layers = 1,
            .num_attention_heads = 2,
            .num_key_value_heads = 2,
            .max_position_embeddings = 16,
            .tie_word_embeddings = tied,
            .initializer_range = 0.2};
}
/// x, and behind it x + 1 and x + 2 modulo 10.
response counting(index_t i) {
    auto const x = static_cast<std::int32_t>(i % 10);
    return {{x}, {(x + 1) % 10, (x + 2) % 10, 11}};
}
distillation_options options(double share) {
    distillation_options o;
    o.prompts_per_step = 20;
    o.problem_count = 10;
    o.student_share = share;
    o.generation.max_new_tokens = 3;
    o.learning.micro_batch_tokens = 32;
    return o;
}
double metric_of(distillation_report const& report, std::string_view name) {
    for (auto const& [metric, value] : report.metrics.values)
        if (metric == name) return value;
    return std::nan("");
}
/// A model that counts.
struct pair_of_models {
    cpu b{1};
    model teacher{b, sized(24), 1}, student{b, sized(16), 2};

    pair_of_models() {
        supervised_trainer<cpu, float> trainer(teacher, {});
        std::vector<response> all;
        for (index_t i = 0; i < 10; ++i) all.push_back(counting(i));
        for (int i = 0; i < 120; ++i) trainer.step(all, 5e-3);
    }
};
/// Mean divergence of the student over the demonstrations, straight from the two logits.
double divergence_of(model& student, model& teacher, divergence const& law = {},
                     double temperature = 1) {
    std::vector<response> all;
    for (index_t i = 0; i < 10; ++i) all.push_back(counting(i));
    auto const batch = language_batch::of(all);
    auto const logits = [&](model& m) {
        fresh_keys keys{batch.inputs.layout};
        auto const hidden = m.forward(m.backend(), batch.inputs, keys).hidden;
        return m.logits(gather_rows(hidden, indices_from(m.backend(), batch.rows)));
    };
    auto const d = to_host(
        token_divergence(logits(student), logits(teacher), law, static_cast<float>(temperature)));
    double sum = 0;
    for (float x : d) sum += x;
    return sum / static_cast<double>(d.size());
}

}  // namespace

TEST_CASE("distillation_trainer: every way brings the student to the teacher" *
          doctest::skip(grove_test::sanitized)) {
    pair_of_models models;
    auto const train = [&](auto const& law, double share, index_t steps = 60) {
        model student(models.b, sized(16), 2);
        distillation_trainer trainer(student, models.teacher, law, options(share),
                                     constant_schedule{5e-3});
        double const before = divergence_of(student, models.teacher);
        trainer.run(steps, counting);
        CHECK(trainer.step_number() == steps);
        double const after = divergence_of(student, models.teacher);
        CAPTURE(before);
        CAPTURE(share);
        CHECK(after < 0.2 * before);
    };
    train(divergence{0}, 0);
    train(divergence{0.5}, 0.5);
    train(divergence{1}, 1);
    train(rl::policy_distillation{}, 1, 300);
}

TEST_CASE("distillation_trainer: reports the divergence of the step, whatever the micro-batches") {
    pair_of_models models;
    divergence const law{0.2};
    double const expected = divergence_of(models.student, models.teacher, law, 1.5);
    std::vector<double> norms;
    for (index_t tokens : {32, 1000}) {
        model student(models.b, sized(16), 2);
        auto o = options(0);
        o.temperature = 1.5;
        o.learning.micro_batch_tokens = tokens;
        distillation_trainer trainer(student, models.teacher, law, o, constant_schedule{1e-3});
        auto const report = trainer.step(counting);
        CHECK(metric_of(report, "divergence") == doctest::Approx(expected).epsilon(1e-5));
        CHECK(metric_of(report, "loss") == doctest::Approx(expected).epsilon(1e-5));
        CHECK(metric_of(report, "student_share") == 0.0);
        CHECK(report.sampled_tokens == 0);
        norms.push_back(metric_of(report, "gradient_norm"));
    }
    CHECK(norms[0] == doctest::Approx(norms[1]).epsilon(1e-4));
}

TEST_CASE("distillation_trainer: the gradient is that of a tape over everything") {
    for (bool tied : {false, true}) {
        CAPTURE(tied);
        cpu b(1);
        model teacher(b, sized(24), 1), student(b, sized(16, 12, tied), 2);
        std::vector<response> all;
        for (index_t i = 0; i < 20; ++i) all.push_back(counting(i));
        auto const batch = language_batch::of(all);
        autodiff<cpu> tape(b);
        fresh_keys keys{batch.inputs.layout}, other{batch.inputs.layout};
        auto const hidden = gather_rows(student.forward(tape, batch.inputs, keys).hidden,
                                        indices_from(tape, batch.rows));
        auto const z = teacher.logits(gather_rows(teacher.forward(b, batch.inputs, other).hidden,
                                                  indices_from(b, batch.rows)));
        backward(
            mean(token_divergence(student.logits(hidden), constant(tape, z), divergence{0.3})));
        double squares = 0;
        student.visit([&](auto& p) {
            if (!p.gradient.empty())
                for (float g : to_host(p.gradient)) squares += double(g) * g;
        });
        distillation_trainer trainer(student, teacher, divergence{0.3}, options(0),
                                     constant_schedule{1e-3});
        CHECK(metric_of(trainer.step(counting), "gradient_norm") ==
              doctest::Approx(std::sqrt(squares)).epsilon(1e-4));
    }
}

TEST_CASE("distillation_trainer: the supervised term is of the demonstrations alone") {
    pair_of_models models;
    auto o = options(0);
    o.supervised = 0.5;
    distillation_trainer trainer(models.student, models.teacher, divergence{0}, o,
                                 constant_schedule{1e-3});
    auto const report = trainer.step(counting);
    CHECK(metric_of(report, "loss") == doctest::Approx(metric_of(report, "divergence") -
                                                       0.5 * metric_of(report, "log_probability")));
    o.student_share = 1;
    distillation_trainer own(models.student, models.teacher, divergence{0}, o,
                             constant_schedule{1e-3});
    auto const sampled = own.step(counting);
    CHECK(metric_of(sampled, "loss") == doctest::Approx(metric_of(sampled, "divergence")));
    CHECK(sampled.sampled_tokens > 0);
}

TEST_CASE("distillation_trainer: λ is a share of the examples, and the same for the same seed") {
    pair_of_models models;
    auto o = options(0.3);
    o.prompts_per_step = 200;
    generator<cpu, float> engine(models.student, o.generation);
    data_cursor one(10), two(10);
    auto const a = draw_responses(engine, o, counting, one);
    auto const b = draw_responses(engine, o, counting, two);
    double share = 0;
    for (std::size_t i = 0; i < 200; ++i) {
        share += a.sampled[i] / 200.0;
        CHECK(a.responses[i].tokens == b.responses[i].tokens);
        CHECK(a.log_probability[i].empty() == !a.sampled[i]);
        if (!a.sampled[i]) CHECK(a.responses[i].tokens == counting(static_cast<index_t>(i)).tokens);
    }
    CHECK(share == doctest::Approx(0.3).epsilon(0.3));
}

TEST_CASE("distillation_trainer: resumes to the same bits") {
    pair_of_models models;
    temporary_folder const folder;
    auto const path = folder / "checkpoint";
    auto const make = [&](model& student) {
        return distillation_trainer(student, models.teacher, divergence{0.5}, options(0.5),
                                    constant_schedule{3e-3});
    };
    model whole(models.b, sized(16), 2), first(models.b, sized(16), 2),
        second(models.b, sized(16), 9);
    auto uninterrupted = make(whole);
    uninterrupted.run(6, counting);
    auto interrupted = make(first);
    interrupted.run(3, counting);
    write_checkpoint(path, [&](checkpoint_writer& file) { interrupted.save(file); });
    auto resumed = make(second);
    resumed.load(checkpoint_reader(path));
    CHECK(resumed.step_number() == 3);
    resumed.run(6, counting);
    CHECK(digest(second) == digest(whole));
}

TEST_CASE("distillation_trainer: what does not fit is refused before anything is learned") {
    pair_of_models models;
    auto const make = [&](auto const& law, distillation_options const& o, model const& teacher) {
        distillation_trainer trainer(models.student, teacher, law, o, constant_schedule{1e-3});
        return trainer.step(counting);
    };
    model wide(models.b, sized(16, 14), 3);
    auto o = options(0);
    CHECK_THROWS_WITH_AS(make(divergence{0}, o, wide),
                         "[distillation_trainer] expected models of one vocabulary, got 12 and 14 "
                         "tokens; a divergence may pad them where ids mean the same",
                         configuration_error);
    o.pad_vocabulary = true;
    CHECK(std::isfinite(metric_of(make(divergence{}, o, wide), "divergence")));
    auto const before = digest(models.student);
    CHECK_THROWS_AS(make(divergence{0}, o, wide), value_error);
    CHECK(digest(models.student) == before);
    CHECK_THROWS_AS(make(rl::policy_distillation{}, options(0.5), models.teacher),
                    configuration_error);
    for (auto change : std::vector<std::function<void(distillation_options&)>>{
             [](auto& x) { x.student_share = 1.5; }, [](auto& x) { x.temperature = 0; },
             [](auto& x) { x.supervised = -1; }, [](auto& x) { x.prompts_per_step = 0; }}) {
        auto bad = options(0);
        change(bad);
        CHECK_THROWS_AS(make(divergence{0}, bad, models.teacher), configuration_error);
    }
}

TEST_CASE("grpo_trainer: the divergence over the vocabulary and the entropy are in the loss") {
    pair_of_models models;
    symbol_tokenizer const tokens("0123456789");
    model policy(models.b, sized(16, tokens.vocabulary_size()), 2);
    rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped, rl::vocabulary_kl,
                  rl::token_mean> const objective{.kl_coefficient = 0.1,
                                                  .entropy_coefficient = 0.01};
    grpo_options o;
    o.prompts_per_step = 4;
    o.group_size = 4;
    o.epochs = 2;
    o.generation.max_new_tokens = 4;
    grpo_trainer trainer(policy, objective, o, constant_schedule{1e-2});
    auto const problem = [](index_t) { return rollout_problem{"<begin>", ""}; };
    auto const sevens = [](std::string_view, std::string_view text, std::string_view) {
        return std::optional<float>(static_cast<float>(std::ranges::count(text, '7')));
    };
    double last = 0;
    for (int i = 0; i < 4; ++i) {
        auto const report = trainer.step(problem, tokens, sevens);
        for (auto const& [name, value] : report.metrics.values)
            if (name == "kl") last = value;
        CHECK(last >= 0.0);
        CHECK(report.logprob_max_abs_diff == 0.0);
    }
    CHECK(last > 1e-4);
    trainer.objective().entropy_coefficient = 0;
    trainer.step(problem, tokens, sevens);
}
