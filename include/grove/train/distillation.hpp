// SPDX-License-Identifier: Apache-2.0
/// @file
/// A larger decoder taught to a smaller one: from given answers, from the student's own, or both.
#pragma once

#include "grove/distill/evaluate.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/distillation_options.hpp"
#include "grove/train/state.hpp"
#include "grove/train/stopwatch.hpp"

namespace grove::inline GROVE_ISA {

/// Trains `student` towards `teacher`, which does not change. What it minimises is `Law`:
///
/// - a divergence law (distill/divergence.hpp): the mean of the divergence over the tokens of given
///   answers, of the student's own, or of a mixture (GKD); no gradient flows through the sampling;
/// - an objective on the teacher's log-ratio (rl::policy_distillation): policy gradients on the
///   student's own answers (MiniLLM), which need the teacher's opinion of the sampled tokens alone.
///
/// Plain imitation of a teacher's answers is supervised_trainer (train/supervised.hpp). Recorded
/// experts and kept sets serve objectives alone; a divergence is between whole distributions.
/// @code
/// grove::distillation_trainer trainer(student, teacher, grove::distill::generalized_jsd{0.5},
///                                     options, grove::constant_schedule{1e-3});
/// trainer.run(100, examples, [](grove::distillation_report const& r) { … });
/// @endcode
/// `examples(i)` is `response` i, a prompt and its answer; where student_share is 1, its tokens are
/// not read.
template <class B, class T, class Law, class Schedule>
class distillation_trainer {
    static constexpr bool by_objective = !distill::divergence_law<Law>;

public:
    /// Throws configuration_error for options out of range, for models of different vocabularies
    /// that are not to be padded, and, with an objective, for a student_share below 1 or a
    /// temperature that is not the sampler's.
    distillation_trainer(decoder<B, T>& student, decoder<B, T> const& teacher, Law law,
                         distillation_options options, Schedule schedule)
        : student_(&student),
          teacher_(&teacher),
          law_(std::move(law)),
          options_(std::move(options)),
          schedule_(std::move(schedule)),
          optimizer_(options_.learning.optimizer),
          engine_(student, options_.generation),
          cursor_(options_.problem_count) {
        options_.validate();
        index_t const own = student.config().vocab_size, other = teacher.config().vocab_size;
        char const* const operation = "distillation_trainer";
        require<configuration_error>(own == other || (options_.pad_vocabulary && !by_objective),
                                     operation, "expected models of one vocabulary, got ", own,
                                     " and ", other,
                                     " tokens; a divergence may pad them where ids mean the same");
        if constexpr (by_objective) {
            static_assert(
                !Law::has_kl && std::is_same_v<decltype(law_.advantage), rl::teacher_log_ratio>,
                "a distillation_trainer takes a divergence law or an objective on "
                "teacher_log_ratio without a divergence of its own");
            double const tau = options_.generation.sampling.recorded_temperature();
            require<configuration_error>(
                options_.student_share == 1 && options_.temperature == tau, operation,
                "expected student_share 1 and the sampler's temperature ", tau,
                " with an objective, got ", options_.student_share, " and ", options_.temperature);
        }
    }

    /// Steps completed.
    index_t step_number() const { return step_; }
    data_cursor const& cursor() const { return cursor_; }

    /// Steps until step_number() == steps, calling every callback with each report.
    template <class Data, class... Callbacks>
    void run(index_t steps, Data const& data, Callbacks&&... callbacks) {
        while (step_ < steps) {
            auto const report = step(data);
            (callbacks(report), ...);
        }
    }
    /// Draws the next answers and learns from them. After an exception weights, optimizer and
    /// cursor are as they were.
    template <class Data>
    distillation_report step(Data const& data) {
        stopwatch const clock;
        data_cursor cursor = cursor_;
        auto const batch = draw_responses(engine_, options_, data, cursor);
        step_sums sums;
        learn(batch, sums);
        cursor_ = cursor;
        return report_of(batch, sums, clock.seconds());
    }

    /// Writes everything that the next step depends on, but for the teacher, to a checkpoint
    /// (io/checkpoint.hpp).
    template <class Writer>
    void save(Writer& file) {
        file.template put_value<index_t>("distillation.step", step_);
        cursor_.save(file, "cursor.");
        save_model(file, "student/", *student_);
        save_optimizer(file, "optimizer/", optimizer_);
    }
    /// Takes up a run of the same settings where save left it. Throws io_error or
    /// configuration_error as grpo_trainer::load does; everything is then unchanged.
    template <class Reader>
    void load(Reader const& file) {
        auto const step = file.template get_value<index_t>("distillation.step");
        data_cursor cursor = cursor_;
        cursor.load(file, "cursor.");
        auto const weights = read_model(file, "student/", *student_);
        auto state = read_optimizer(file, "optimizer/", *student_);
        restore_model(*student_, weights);
        optimizer_.restore(state.steps, std::move(state.moments));
        cursor_ = cursor;
        step_ = step;
    }

private:
    /// Sums over the tokens of a step.
    struct step_sums {
        double loss = 0, divergence = 0, log_ratio = 0, log_probability = 0, entropy = 0;
        double gradient_norm = 0, learning_rate = 0;
    };

    void learn(distillation_batch const& all, step_sums& sums) {
        student_->visit([](auto& p) { p.clear_gradient(); });
        loads_.clear();
        auto const cuts = micro_batches(all.responses, options_.learning.micro_batch_tokens);
        for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
            std::span const part(all.responses.data() + cuts[c], cuts[c + 1] - cuts[c]);
            double const share =
                static_cast<double>(part.size()) / static_cast<double>(all.responses.size());
            if constexpr (by_objective) {
                auto batch = language_batch::of(part);
                batch.auxiliary_weight = share;
                learn_policy(batch, all, cuts[c], sums);
            } else {
                std::vector<response> plain;
                for (auto const& r : part) plain.push_back({r.prompt, r.tokens});
                auto batch = language_batch::of(plain);
                batch.auxiliary_weight = share;
                learn_divergence(batch, all, cuts[c], sums);
            }
        }
        sums.learning_rate = schedule_(optimizer_.steps());
        sums.gradient_norm = optimizer_.step(*student_, sums.learning_rate);
        balance_experts(*student_, loads_, options_.learning.expert_bias_rate);
    }

    /// Value and gradient of the divergence in one pass over the two heads, the rest on a tape.
    void learn_divergence(language_batch const& batch, distillation_batch const& all,
                          std::size_t first, step_sums& sums) {
        B& b = student_->backend();
        autodiff<B> tape(b);
        auto const pass_of = [&](auto& on, decoder<B, T> const& model, pass_options const& pass) {
            fresh_keys keys{batch.inputs.layout};
            return model.forward(on, batch.inputs, keys, pass);
        };
        auto pass_options = options_.learning.pass;
        pass_options.balance = options_.learning.balance > 0;
        auto const output = pass_of(tape, *student_, pass_options);
        auto const hidden = gather_rows(output.hidden, indices_from(tape, batch.rows));
        head_teacher const teacher{
            gather_rows(pass_of(b, *teacher_, {}).hidden, indices_from(b, batch.rows)),
            [model = teacher_](auto const& x) { return model->logits(x); }};
        auto const& head = student_->head();
        bool const tied = student_->config().tie_word_embeddings;
        auto const weights = weights_of(batch, all, first);
        auto const pass = lm_head_pass(
            value_of(hidden), head_matrix{head.value, tied ? transpose::yes : transpose::no},
            head.gradient, batch.targets, teacher, law_, weights,
            head_options<T>{.temperature = static_cast<T>(options_.temperature),
                            .pad_vocabulary = options_.pad_vocabulary});
        count(pass, weights, sums);
        tape.accumulate(hidden.buffer(), pass.gradient.buffer());
        if (pass_options.balance && !output.routings.empty()) {
            auto const loss =
                balance_loss(output.routings, options_.learning.balance * batch.auxiliary_weight);
            tape.accumulate(loss.buffer(), full<T>(b, {1}, T(1)).buffer());
        }
        add_loads(loads_, output.routings);
        tape.tape().run();
    }
    /// 1/N for the divergence of every token, and the supervised weight of the demonstrations'.
    head_weights<T> weights_of(language_batch const& batch, distillation_batch const& all,
                               std::size_t first) const {
        auto const each = 1 / static_cast<double>(all.tokens());
        auto const tokens = static_cast<std::size_t>(batch.tokens());
        head_weights<T> weights{.divergence = std::vector<T>(tokens, static_cast<T>(each))};
        if (options_.supervised == 0) return weights;
        weights.log_probability.resize(tokens);
        for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i)
            if (!all.sampled[first + i])
                std::fill(weights.log_probability.begin() + batch.offsets[i],
                          weights.log_probability.begin() + batch.offsets[i + 1],
                          static_cast<T>(-options_.supervised * each));
        return weights;
    }
    void count(head_pass<B, T> const& pass, head_weights<T> const& weights, step_sums& sums) const {
        for (std::size_t t = 0; t < pass.divergence.size(); ++t) {
            auto const d = static_cast<double>(pass.divergence[t]);
            auto const lp = static_cast<double>(pass.log_probability[t]);
            require<value_error>(std::isfinite(d), "distillation_trainer",
                                 "expected a finite divergence, got ", d,
                                 ": one model excludes a token that the other does not");
            sums.divergence += d;
            sums.log_probability += lp;
            sums.entropy += static_cast<double>(pass.entropy[t]);
            sums.loss += d * static_cast<double>(weights.divergence[t]);
            if (!weights.log_probability.empty())
                sums.loss += lp * static_cast<double>(weights.log_probability[t]);
        }
    }

    /// The objective with the teacher's log-ratio as the advantage.
    void learn_policy(language_batch const& batch, distillation_batch const& all, std::size_t first,
                      step_sums& sums) {
        B& b = student_->backend();
        language_batch teachers = batch;
        teachers.experts.clear();  // the student's; the teacher chooses for itself
        auto const teacher = to_host(
            language_forward<B, T>(*teacher_, options_.temperature)(b, teachers).log_probability);
        std::vector<T> old, advantage(teacher.size());
        for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i)
            old.insert(old.end(), all.log_probability[first + i].begin(),
                       all.log_probability[first + i].end());
        law_.advantage(std::span<T const>(teacher), std::span<T const>(old), batch.offsets, {},
                       std::span<T>(advantage));
        auto policy = rl::differentiable<T>(
            b, language_forward<B, T>(*student_, options_.temperature, options_.learning.balance,
                                      &loads_, options_.learning.pass));
        auto request = rl::request_of(law_);
        request.entropy = true;  // for the report
        auto const now = policy.evaluate(batch, request);
        rl::token_statistics<T> gradient;
        rl::token_batch<T> const tokens{
            .old_log_probability = old, .advantage = advantage, .offsets = batch.offsets};
        sums.loss +=
            rl::evaluate(law_, tokens, {std::ssize(all.responses), all.tokens()}, now, gradient)
                .loss;
        policy.backward(gradient);
        for (std::size_t t = 0; t < old.size(); ++t) {
            sums.log_ratio += static_cast<double>(teacher[t]) - static_cast<double>(old[t]);
            sums.log_probability += static_cast<double>(now.log_probability[t]);
            sums.entropy += static_cast<double>(now.entropy[t]);
        }
    }

    distillation_report report_of(distillation_batch const& batch, step_sums const& sums,
                                  double seconds) {
        auto const tokens = static_cast<double>(batch.tokens());
        double own = 0;
        for (auto sampled : batch.sampled) own += sampled;
        distillation_report report{step_++, {}, batch.tokens(true)};
        report.metrics = {
            report.step,
            {// of the log-ratio, the mean is an estimate of the reverse divergence
             {"divergence", (by_objective ? -sums.log_ratio : sums.divergence) / tokens},
             {"log_probability", sums.log_probability / tokens},
             {"entropy", sums.entropy / tokens},
             {"loss", sums.loss},
             {"gradient_norm", sums.gradient_norm},
             {"learning_rate", sums.learning_rate},
             {"student_share", own / static_cast<double>(batch.responses.size())},
             {"response/length", tokens / static_cast<double>(batch.responses.size())},
             {"tokens_per_second/step", tokens / seconds}}};
        return report;
    }

    decoder<B, T>* student_;
    decoder<B, T> const* teacher_;
    Law law_;
    distillation_options options_;
    Schedule schedule_;
    adamw<B, T> optimizer_;
    generator<B, T> engine_;
    expert_loads loads_;
    data_cursor cursor_;
    index_t step_ = 0;
};

}  // namespace grove::inline GROVE_ISA
