// SPDX-License-Identifier: Apache-2.0
// The run itself: a base model made on the spot, then reinforcement learning from verifiable
// rewards.
#pragma once

#include <unistd.h>

#include <iostream>

#include "evaluate.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/io/checkpoint_folder.hpp"
#include "grove/io/metrics.hpp"
#include "grove/io/progress.hpp"
#include "grove/io/tensorboard.hpp"
#include "grove/reward/accuracy.hpp"
#include "grove/reward/format.hpp"
#include "grove/reward/sum.hpp"
#include "grove/task/base_data.hpp"

namespace r1_zero::inline GROVE_ISA {

// Seconds of work, also over interruptions.
class stopwatch {
public:
    double seconds() const {
        using namespace std::chrono;
        return before_ + duration<double>(steady_clock::now() - start_).count();
    }
    void resume_from(double seconds) { before_ = seconds; }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    double before_ = 0;
};

template <class B>
class run {
public:
    run(B& backend, settings s)
        : s_(std::move(s)),
          tokens_(make_puzzle(s_).alphabet()),
          policy_(backend, make_config(s_.model, tokens_.vocabulary_size()), s_.seed),
          training_(make_puzzle(s_), s_.seed),
          checkpoints_(s_.out / "checkpoints"),
          notes_({{"settings", s_.identity()}}) {}

    // Trains the policy; returns what was measured on the way.
    grove::json operator()() {
        std::cout << "A mixture-of-experts decoder of " << policy_.parameter_count()
                  << " weights on " << B::name() << ", seed " << s_.seed << ", run folder "
                  << s_.out.string() << '\n';
        auto const point = prepare_folder();
        make_base(point);
        measure_base();
        reinforce(point);
        notes_["final"] = evaluate(policy_, s_, tokens_);
        notes_["samples_after"] = show_samples(policy_, s_, tokens_, 4);
        notes_["train_seconds"] = watch_.seconds();
        notes_["weights_crc32c"] = grove::digest(policy_);
        return notes_;
    }

private:
    // Updates of both phases are numbered through, so that one folder of checkpoints serves both.
    index_t rl_updates() const { return s_.rl_steps * s_.mini_batches; }
    index_t last_update() const { return s_.base_steps + rl_updates(); }

    std::optional<grove::resume_point> prepare_folder() {
        auto point = s_.resume ? checkpoints_.latest() : std::nullopt;
        if (!point) {
            std::filesystem::remove_all(s_.out / "checkpoints");
            std::filesystem::remove_all(s_.out / "tensorboard");
            return point;
        }
        for (auto const& sentence : point->damaged) std::cerr << sentence << '\n';
        grove::checkpoint_reader const file(point->path);
        auto notes = file.get_json("notes");
        grove::require<grove::configuration_error>(
            notes.at("settings") == s_.identity(), "r1_zero",
            "expected the settings of the run to be resumed, ", notes.at("settings").dump(),
            ", got ", s_.identity().dump());
        notes_ = std::move(notes);
        watch_.resume_from(notes_.at("train_seconds").get<double>());
        std::cout << "Resuming after update " << point->step << " of " << last_update() << ".\n";
        return point;
    }
    template <class Save>
    void checkpoint(index_t update, Save&& save) {
        notes_["train_seconds"] = watch_.seconds();
        checkpoints_.save(update, [&](grove::checkpoint_writer& file) {
            file.put_json("notes", notes_);
            save(file);
        });
        checkpoints_.keep_last(2);
    }
    bool is_due(index_t update) const {
        return update % s_.checkpoint_every == 0 || update == s_.base_steps ||
               update == last_update();
    }
    grove::progress_line<> progress_to(index_t steps, index_t first) const {
        return {std::cout, grove::progress(steps, first), {.terminal = ::isatty(1) == 1}};
    }

    // Short supervised pre-training on text that mixes habits, none of them reliable.
    void make_base(std::optional<grove::resume_point> const& point) {
        index_t const first = point ? std::min(point->step, s_.base_steps) : 0;
        if (point && point->step > s_.base_steps) return;
        grove::supervised_trainer<B, float> trainer(policy_, base_learning());
        if (point) {
            grove::checkpoint_reader const file(point->path);
            grove::load_model(file, "model/", policy_);
            grove::load_optimizer(file, "optimizer/", trainer.optimizer(), policy_);
        }
        if (first == s_.base_steps) return;
        std::cout << "Base model: " << s_.base_steps << " supervised steps on mixed text\n";
        grove::base_data const data(training_);
        grove::cosine_schedule const rate{s_.base_rate, s_.base_steps, 20, 0.05};
        grove::jsonl_writer log(s_.out / "base.jsonl", first - 1);
        auto line = progress_to(s_.base_steps, first);
        for (index_t step = first; step < s_.base_steps; ++step) {
            auto const report = trainer.step(demonstrations(data, step), rate(step));
            log.write(grove::metric_record{
                step, {{"loss", report.loss}, {"gradient_norm", report.gradient_norm}}});
            line.write(grove::metric_record{step + 1, {{"loss", report.loss}}});
            if (is_due(step + 1))
                checkpoint(step + 1, [&](grove::checkpoint_writer& file) {
                    grove::save_model(file, "model/", policy_);
                    grove::save_optimizer(file, "optimizer/", trainer.optimizer());
                });
        }
    }
    std::vector<grove::response> demonstrations(grove::base_data<puzzle> const& data,
                                                index_t step) const {
        std::vector<grove::response> responses;
        for (index_t i = 0; i < s_.base_batch; ++i) {
            auto const [prompt, text] = data[step * s_.base_batch + i];
            auto response = tokens_.encode(text);
            response.push_back(tokens_.end_id());
            responses.push_back({tokens_.encode(prompt), std::move(response)});
        }
        return responses;
    }
    void measure_base() {
        if (notes_.contains("base")) return;
        notes_["base"] = evaluate(policy_, s_, tokens_);
        notes_["samples_before"] = show_samples(policy_, s_, tokens_, 4);
        notes_["sampled_tokens"] = 0;
        notes_["logprob_max_abs_diff"] = 0.0;
    }

    // R1-Zero: rewards alone, no demonstration.
    void reinforce(std::optional<grove::resume_point> const& point) {
        grove::linear_schedule const rate{s_.rl_rate, rl_updates(), 5, 0.1};
        grove::grpo_trainer trainer(policy_,
                                    grove::rl::r1_paper({.clip = s_.clip, .kl_coefficient = 0.0}),
                                    rl_options(s_, tokens_), rate);
        if (point && point->step > s_.base_steps)
            trainer.load(grove::checkpoint_reader(point->path));
        index_t const first = trainer.step_number();
        if (first == s_.rl_steps) return;
        std::cout << "Reinforcement learning: " << s_.rl_steps << " steps of " << s_.prompts
                  << " × " << s_.group_size
                  << " completions, rewards for accuracy and format alone\n";
        grove::jsonl_writer log(s_.out / "metrics.jsonl", first - 1);
        grove::tensorboard_writer board(s_.out / "tensorboard", first - 1);
        auto line = progress_to(s_.rl_steps, first);
        auto const prompt_of = grove::r1_zero_compact();
        // The base model has seen the first problems of the set; go on behind them.
        index_t const seen = s_.base_steps * s_.base_batch;
        auto const problem_at = [&](index_t i) {
            auto const problem = training_[seen + i];
            return grove::rollout_problem{prompt_of.render(problem.question), problem.answer};
        };
        auto const rule =
            grove::weighted_sum(grove::accuracy_reward<right_answer>{}, 1.0f,
                                grove::format_reward{}, static_cast<float>(s_.format_weight));
        while (trainer.step_number() < s_.rl_steps) {
            if (trainer.pending_updates() == 0) trainer.collect(problem_at, tokens_, rule);
            if (auto const report = trainer.update()) {
                auto const record = with_rates(*report);
                log.write(record);
                board.write(record);
                line.write(grove::metric_record{
                    report->step + 1, {record.values[0], record.values[1], record.values[3]}});
                note(*report);
            }
            index_t const done = s_.base_steps + trainer.update_number();
            if (is_due(done))
                checkpoint(done, [&](grove::checkpoint_writer& file) { trainer.save(file); });
        }
    }
    // Rates of this step's completions in front of the trainer's own metrics.
    grove::metric_record with_rates(grove::grpo_report const& report) const {
        auto const n = static_cast<double>(report.completions.size());
        double accuracy = 0, format = 0, worked = 0, length = 0;
        double right[2] = {}, count[2] = {};  // of sums, of countdowns
        for (auto const& c : report.completions) {
            auto const answer = grove::parse_answer(c.text);
            auto const parts = grove::parse_think_answer(c.text);
            bool const is_right = answer && right_answer{}(*answer, c.reference);
            bool const kind = puzzle::is_countdown(c.prompt);
            right[kind] += is_right;
            count[kind] += 1;
            accuracy += is_right / n;
            format += parts.has_value() / n;
            worked += (parts && !parts->think.empty()) / n;
            length += static_cast<double>(c.length) / n;
        }
        grove::metric_record record{
            report.step,
            {{"accuracy", accuracy}, {"format", format}, {"worked", worked}, {"length", length}}};
        record.values.insert(record.values.end(), report.metrics.values.begin(),
                             report.metrics.values.end());
        for (bool kind : {false, true})
            if (s_.countdown > 0 && count[kind] > 0)
                record.values.push_back(
                    {kind ? "accuracy/countdowns" : "accuracy/sums", right[kind] / count[kind]});
        return record;
    }
    void note(grove::grpo_report const& report) {
        notes_["sampled_tokens"] = notes_["sampled_tokens"].get<index_t>() + report.sampled_tokens;
        notes_["logprob_max_abs_diff"] =
            std::max(notes_["logprob_max_abs_diff"].get<double>(), report.logprob_max_abs_diff);
    }

    settings s_;
    grove::symbol_tokenizer tokens_;
    model<B> policy_;
    problems training_;
    grove::checkpoint_folder checkpoints_;
    grove::json notes_;
    stopwatch watch_;
};

}  // namespace r1_zero::inline GROVE_ISA
