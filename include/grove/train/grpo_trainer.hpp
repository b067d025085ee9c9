// SPDX-License-Identifier: Apache-2.0
/// @file
/// Group-relative policy optimization of a decoder with verifiable rewards: sample, score, learn.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "grove/core/trace.hpp"
#include "grove/train/grpo_options.hpp"
#include "grove/train/grpo_report.hpp"
#include "grove/train/sample_rollout.hpp"
#include "grove/train/state.hpp"
#include "grove/train/stopwatch.hpp"

namespace grove::inline GROVE_ISA {

/// Trains a decoder by the composition `Objective` (rl/preset.hpp). Every step is a function of the
/// weights, the settings and the step number; wall time enters the metrics alone.
/// @code
/// grove::grpo_trainer trainer(model, grove::rl::r1_paper({.clip = 0.2}), options, schedule);
/// trainer.run(100, problems, tokens, reward, [](grove::grpo_report const& r) { … });
/// @endcode
/// A step is a rollout, which is the expensive part, and the updates on it. It can be taken apart,
/// and a checkpoint taken at any point of it resumes there, without sampling again what was
/// sampled:
/// @code
/// while (trainer.step_number() < 100) {
///     if (trainer.pending_updates() == 0) trainer.collect(problems, tokens, reward);
///     if (auto const report = trainer.update()) log(*report);
///     checkpoints.save(trainer.update_number(), [&](auto& file) { trainer.save(file); });
/// }
/// @endcode
template <class B, class T, class Objective, class Schedule>
class grpo_trainer {
public:
    grpo_trainer(decoder<B, T>& model, Objective objective, grpo_options options, Schedule schedule)
        : model_(&model),
          objective_(std::move(objective)),
          options_(std::move(options)),
          schedule_(std::move(schedule)),
          optimizer_(options_.learning.optimizer),
          engine_(model, options_.generation),
          cursor_(options_.problem_count) {
        options_.validate();
        if (objective_.kl_coefficient > 0) {
            reference_ = std::make_unique<decoder<B, T>>(model.backend(), model.config(), 0);
            reference_->copy_from(model);
        }
    }

    /// The composition in use, whose coefficients a controller may change between steps; whether
    /// there is a divergence at all was settled in the constructor. A controller is not part of a
    /// checkpoint.
    Objective& objective() { return objective_; }

    /// Steps completed.
    index_t step_number() const { return step_; }
    /// Updates completed over all steps, also those that found nothing to learn.
    index_t update_number() const { return step_ * options_.updates_per_step() + update_; }
    /// Updates still to be made on the rollout at hand; 0 where the next needs a new one.
    index_t pending_updates() const { return rollout_ ? options_.updates_per_step() - update_ : 0; }
    /// Which problem comes next, and how often each was visited.
    data_cursor const& cursor() const { return cursor_; }

    /// Steps until step_number() == steps, calling every callback with each report.
    template <class Problems, class Tokenizer, reward Reward, class... Callbacks>
    void run(index_t steps, Problems const& problems, Tokenizer const& tokens, Reward const& rule,
             Callbacks&&... callbacks) {
        while (step_ < steps) {
            grpo_report const report = step(problems, tokens, rule);
            (callbacks(report), ...);
        }
    }

    /// One rollout, unless one is at hand, and all updates on it; throws what collect and update
    /// throw.
    template <class Problems, class Tokenizer, reward Reward>
    grpo_report step(Problems const& problems, Tokenizer const& tokens, Reward const& rule) {
        if (!rollout_) collect(problems, tokens, rule);
        for (;;)
            if (auto report = update()) return *std::move(report);
    }

    /// The first part of a step: samples and scores the next problems; `problems(i)` is
    /// rollout_problem i. Throws value_error where updates are still pending and for NaN rewards;
    /// the trainer is then unchanged, as after any exception.
    template <class Problems, class Tokenizer, reward Reward>
    void collect(Problems const& problems, Tokenizer const& tokens, Reward const& rule) {
        require<value_error>(!rollout_, "grpo_trainer::collect",
                             "expected a rollout that was learned from, got one with ",
                             pending_updates(), " pending updates");
        trace_range const range("grove: collect a rollout");
        stopwatch const start;
        data_cursor cursor = cursor_;
        auto rollout = sample_rollout(engine_, options_.seed, options_.prompts_per_step,
                                      options_.group_size, problems, tokens, cursor);
        double const sampling_seconds = start.seconds();
        score_completions(rollout, rule);
        rollout.advantage = rl::advantages(
            objective_.advantage, rollout.rewards(),
            rl::equal_groups(options_.prompts_per_step, options_.group_size), rollout.scored());
        cursor_ = cursor;
        rollout_ = std::move(rollout);
        record_ = {};
        record_.sampling_seconds = sampling_seconds;
        record_.seconds = start.seconds();
    }

    /// One update on the rollout at hand; the report of the step, where this was its last. Throws
    /// value_error without a rollout and for numbers that are not finite; weights, optimizer and
    /// rollout are then unchanged.
    std::optional<grpo_report> update() {
        require<value_error>(rollout_.has_value(), "grpo_trainer::update",
                             "expected a rollout to learn from, got none; call collect first");
        trace_range const range("grove: update");
        stopwatch const start;
        step_record record = record_;
        learn(record);
        record.seconds += start.seconds();
        record_ = record;
        if (++update_ < options_.updates_per_step()) return std::nullopt;
        return finish();
    }

    /// Writes everything that the next update depends on to a checkpoint (io/checkpoint.hpp, or
    /// anything with its put, put_value, get, get_into and get_value).
    template <class Writer>
    void save(Writer& file) {
        file.template put_value<index_t>("grpo.step", step_);
        file.template put_value<index_t>("grpo.pending_updates", pending_updates());
        file.template put_value<index_t>("grpo.mini_batches", options_.mini_batches);
        file.template put_value<index_t>("grpo.epochs", options_.epochs);
        cursor_.save(file, "cursor.");
        save_model(file, "model/", *model_);
        save_optimizer(file, "optimizer/", optimizer_);
        if (reference_) save_model(file, "reference/", *reference_);
        if (!rollout_) return;
        save_rollout(file, "rollout/", *rollout_);
        visit_numbers(record_, [&](std::string const& name, auto const& number) {
            file.put_value("record/" + name, number);
        });
    }
    /// Takes up a run of the same settings where save left it. Throws io_error, naming the section,
    /// where something is missing, damaged or does not fit, and configuration_error for another
    /// problem_count, and for other mini_batches or epochs while updates are pending; the trainer
    /// and its model are then unchanged.
    template <class Reader>
    void load(Reader const& file) {
        auto const step = file.template get_value<index_t>("grpo.step");
        auto const pending = file.template get_value<index_t>("grpo.pending_updates");
        auto const mini_batches = file.template get_value<index_t>("grpo.mini_batches");
        auto const epochs = file.template get_value<index_t>("grpo.epochs");
        index_t const updates = options_.updates_per_step();
        require<configuration_error>(
            pending == 0 || (mini_batches == options_.mini_batches && epochs == options_.epochs),
            "grpo_trainer::load", "expected mini_batches ", mini_batches, " and epochs ", epochs,
            ", with which the rollout is half learned, got ", options_.mini_batches, " and ",
            options_.epochs);
        require<io_error>(step >= 0 && pending >= 0 && pending <= updates, "grpo_trainer::load",
                          "expected at most ", updates, " updates of a step to be pending, got ",
                          pending, " in step ", step);
        data_cursor cursor = cursor_;
        cursor.load(file, "cursor.");
        auto const weights = read_model(file, "model/", *model_);
        auto state = read_optimizer(file, "optimizer/", *model_);
        std::vector<tensor<B, T>> reference;
        if (reference_) reference = read_model(file, "reference/", *reference_);
        std::optional<scored_rollout<T>> rollout;
        step_record record;
        if (pending > 0) {
            rollout = load_rollout<T>(file, "rollout/", responses_per_step());
            visit_numbers(record, [&]<class Number>(std::string const& name, Number& number) {
                number = file.template get_value<Number>("record/" + name);
            });
        }

        restore_model(*model_, weights);
        optimizer_.restore(state.steps, std::move(state.moments));
        if (reference_) restore_model(*reference_, reference);
        cursor_ = cursor;
        rollout_ = std::move(rollout);
        record_ = record;
        step_ = step;
        update_ = pending > 0 ? updates - pending : 0;
    }

private:
    std::size_t responses_per_step() const {
        return static_cast<std::size_t>(options_.prompts_per_step * options_.group_size);
    }

    bool rewards_entropy() const { return objective_.entropy_coefficient != 0; }

    /// The update on the next mini-batch. A response with advantage 0 has no gradient unless a KL
    /// term or its entropy pulls at it.
    void learn(step_record& record) {
        forget_gradients();
        std::size_t const share =
            rollout_->size() / static_cast<std::size_t>(options_.mini_batches);
        std::size_t const first = static_cast<std::size_t>(update_ % options_.mini_batches) * share;
        std::vector<std::size_t> chosen;
        std::vector<response> responses;
        rl::totals all;
        for (std::size_t i = first; i < first + share; ++i) {
            ++all.sequences;
            all.tokens += std::ssize(rollout_->responses[i].tokens);
            if (rollout_->advantage[i] == T(0) && !reference_ && !rewards_entropy()) continue;
            chosen.push_back(i);
            responses.push_back(rollout_->responses[i]);
        }
        record.learning_rate = schedule_(optimizer_.steps());
        if (responses.empty()) return;  // every group agrees with itself
        double const temperature = options_.generation.sampling.recorded_temperature();
        language_forward<B, T> forward(*model_, temperature, options_.learning.balance, &loads_,
                                       options_.learning.pass);
        if (Objective::whole_vocabulary && reference_) forward.with_reference(*reference_);
        auto policy = rl::differentiable<T>(model_->backend(), forward);
        auto const cuts = micro_batches(responses, options_.learning.micro_batch_tokens);
        for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
            auto batch =
                language_batch::of(std::span(responses).subspan(cuts[c], cuts[c + 1] - cuts[c]));
            batch.auxiliary_weight =
                static_cast<double>(cuts[c + 1] - cuts[c]) / static_cast<double>(all.sequences);
            learn_batch(policy, batch, std::span(chosen).subspan(cuts[c]), all, record);
        }
        record.gradient_norm =
            std::max(record.gradient_norm, optimizer_.step(*model_, record.learning_rate));
        balance_experts(*model_, loads_, options_.learning.expert_bias_rate);
    }
    /// Drops what an update that threw has left.
    void forget_gradients() {
        model_->visit([](auto& p) { p.clear_gradient(); });
        loads_.clear();
    }
    template <class Policy>
    void learn_batch(Policy& policy, language_batch const& batch,
                     std::span<std::size_t const> chosen, rl::totals const& all,
                     step_record& record) {
        std::vector<T> old, advantage, reference;
        for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
            auto const& lp = rollout_->log_probability[chosen[i]];
            old.insert(old.end(), lp.begin(), lp.end());
            advantage.push_back(rollout_->advantage[chosen[i]]);
        }
        if (reference_ && !Objective::whole_vocabulary) {
            language_batch own = batch;
            own.experts.clear();  // the policy's; the reference chooses for itself
            reference =
                to_host(language_forward<B, T>(*reference_,
                                               options_.generation.sampling.recorded_temperature())(
                            model_->backend(), own)
                            .log_probability);
        }
        auto request = rl::request_of(objective_);
        request.entropy = true;  // for the record
        auto const now = policy.evaluate(batch, request);
        rl::token_statistics<T> gradient;
        rl::token_batch<T> const tokens{.old_log_probability = old,
                                        .reference_log_probability = reference,
                                        .advantage = advantage,
                                        .offsets = batch.offsets};
        record.evaluation += rl::evaluate(objective_, tokens, all, now, gradient);
        policy.backward(gradient);
        for (T h : now.entropy) record.entropy += static_cast<double>(h);
        if (update_ > 0) return;
        for (std::size_t t = 0; t < old.size(); ++t)
            record.max_abs_diff =
                std::max(record.max_abs_diff,
                         static_cast<double>(std::abs(now.log_probability[t] - old[t])));
    }

    /// Ends the step whose last update is done.
    grpo_report finish() {
        if (options_.reference_refresh > 0 && reference_ &&
            (step_ + 1) % options_.reference_refresh == 0)
            reference_->copy_from(*model_);
        scored_rollout<T> learned = *std::exchange(rollout_, std::nullopt);
        update_ = 0;
        return summarize(step_++, std::move(learned), options_.group_size,
                         options_.updates_per_step(), record_);
    }

    decoder<B, T>* model_;
    Objective objective_;
    grpo_options options_;
    Schedule schedule_;
    adamw<B, T> optimizer_;
    generator<B, T> engine_;
    std::unique_ptr<decoder<B, T>> reference_;
    expert_loads loads_;
    data_cursor cursor_;
    std::optional<scored_rollout<T>> rollout_;  // until all updates on it are done
    step_record record_;
    index_t step_ = 0;
    index_t update_ = 0;  // of this step
};

}  // namespace grove::inline GROVE_ISA
