// SPDX-License-Identifier: Apache-2.0
/// @file
/// Group-relative policy optimization of a decoder with verifiable rewards: sample, score, learn.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "grove/io/metric_record.hpp"
#include "grove/reward/reward.hpp"
#include "grove/rl/advantage.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/state.hpp"
#include "grove/train/supervised.hpp"

namespace grove::inline GROVE_ISA {

/// A question as the policy sees it, and what its answers are judged by.
struct rollout_problem {
    std::string prompt;
    std::string reference;
};

/// Settings of a GRPO run.
struct grpo_options {
    std::uint64_t seed = 0;
    index_t prompts_per_step = 16;
    index_t group_size = 16;       ///< completions of each prompt
    index_t updates_per_step = 1;  ///< optimizer steps over one rollout, on disjoint shares of it
    index_t reference_refresh =
        0;                      ///< steps after which the reference becomes the policy; 0: never
    index_t problem_count = 0;  ///< problems are visited again after so many; 0: endless
    generation_options generation;
    learning_options learning;

    void validate() const {
        generation.validate();
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "grpo_options", parts...);
        };
        need(prompts_per_step > 0, "expected prompts_per_step > 0, got ", prompts_per_step);
        need(group_size > 0, "expected group_size > 0, got ", group_size);
        need(updates_per_step > 0 && prompts_per_step % updates_per_step == 0,
             "expected updates_per_step to divide prompts_per_step, got ", updates_per_step,
             " and ", prompts_per_step);
        need(reference_refresh >= 0 && problem_count >= 0,
             "expected reference_refresh ≥ 0 and problem_count ≥ 0, got ", reference_refresh,
             " and ", problem_count);
    }
};

/// A scored completion, as callbacks see it.
struct scored_completion {
    std::string prompt, text, reference;
    float reward = 0;
    bool scored = false;  ///< whether the reward rule judged it at all
    finish_reason reason = finish_reason::length;
    index_t length = 0;  ///< tokens
};

/// What one step did.
struct grpo_report {
    index_t step = 0;
    metric_record metrics;
    std::vector<scored_completion> completions;
    index_t sampled_tokens = 0;
    double logprob_max_abs_diff =
        0;  ///< max |trainer's − sampler's log-probability| before any update
};

/// Trains a decoder by the composition `Objective` (rl/preset.hpp). Every step is a function of the
/// weights, the settings and the step number; wall time enters the metrics alone.
/// @code
/// grove::grpo_trainer trainer(model, grove::rl::r1_paper({.clip = 0.2}), options, schedule);
/// trainer.run(100, problems, tokens, reward, [](grove::grpo_report const& r) { … });
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
          engine_(model, options_.generation) {
        options_.validate();
        if (objective_.kl_coefficient > 0) {
            reference_ = std::make_unique<decoder<B, T>>(model.backend(), model.config(), 0);
            reference_->copy_from(model);
        }
    }

    index_t step_number() const { return step_; }

    /// Steps until step_number() == steps, calling every callback with each report.
    template <class Problems, class Tokenizer, reward Reward, class... Callbacks>
    void run(index_t steps, Problems const& problems, Tokenizer const& tokens, Reward const& rule,
             Callbacks&&... callbacks) {
        while (step_ < steps) {
            grpo_report const report = step(problems, tokens, rule);
            (callbacks(report), ...);
        }
    }

    /// One rollout and the updates on it. `problems(i)` is rollout_problem i. Throws value_error
    /// for NaN rewards; the model is then unchanged.
    template <class Problems, class Tokenizer, reward Reward>
    grpo_report step(Problems const& problems, Tokenizer const& tokens, Reward const& rule) {
        clock start;
        rollout data = sample(problems, tokens);
        double const sampling_seconds = start.seconds();
        score(data, rule);
        learning_record record = learn(data);
        if (options_.reference_refresh > 0 && reference_ &&
            (step_ + 1) % options_.reference_refresh == 0)
            reference_->copy_from(*model_);
        grpo_report report = summarize(data, record, sampling_seconds, start.seconds());
        ++step_;
        return report;
    }

    /// Everything that the next step depends on, to and from a checkpoint (train/state.hpp).
    template <class Writer>
    void save(Writer& file) {
        file.template put_value<std::int64_t>("grpo.step", step_);
        save_model(file, "model/", *model_);
        save_optimizer(file, "optimizer/", optimizer_);
        if (reference_) save_model(file, "reference/", *reference_);
    }
    template <class Reader>
    void load(Reader const& file) {
        load_model(file, "model/", *model_);
        load_optimizer(file, "optimizer/", optimizer_, *model_);
        if (reference_) load_model(file, "reference/", *reference_);
        step_ = file.template get<std::int64_t>("grpo.step").at(0);
    }

private:
    struct clock {
        std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
        double seconds() const {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        }
    };
    struct rollout {
        std::vector<response> responses;
        std::vector<std::vector<float>> log_probability;
        std::vector<scored_completion> completions;
        std::vector<index_t> groups;
        std::vector<T> rewards, advantage;
        std::vector<std::uint8_t> scored;
        index_t tokens = 0;
    };
    struct learning_record {
        rl::evaluation evaluation;
        double entropy = 0, gradient_norm = 0, rate = 0, max_abs_diff = 0;
    };

    template <class Problems, class Tokenizer>
    rollout sample(Problems const& problems, Tokenizer const& tokens) {
        rollout data;
        std::vector<generation_request> requests;
        for (index_t p = 0; p < options_.prompts_per_step; ++p) {
            index_t const cursor = step_ * options_.prompts_per_step + p;
            index_t const count = options_.problem_count;
            index_t const index = count > 0 ? cursor % count : cursor;
            random_key key{options_.seed, random_stream::rollout,
                           static_cast<std::uint32_t>(count > 0 ? cursor / count : 0),
                           static_cast<std::uint32_t>(index), 0};
            rollout_problem const problem = problems(index);
            auto const prompt = tokens.encode(problem.prompt);
            for (index_t s = 0; s < options_.group_size; ++s) {
                key.sample = static_cast<std::uint32_t>(s);
                requests.push_back({prompt, key});
                data.completions.push_back({problem.prompt, {}, problem.reference});
            }
        }
        auto results = engine_(requests);
        for (std::size_t i = 0; i < results.size(); ++i) {
            auto& c = data.completions[i];
            c.text = tokens.decode(results[i].tokens, shown_specials::tags);
            c.reason = results[i].reason;
            c.length = static_cast<index_t>(results[i].tokens.size());
            data.tokens += c.length;
            data.log_probability.push_back(std::move(results[i].log_probability));
            data.responses.push_back(
                {requests[i].prompt, std::move(results[i].tokens), std::move(results[i].kept)});
        }
        return data;
    }
    template <class Reward>
    void score(rollout& data, Reward const& rule) const {
        for (auto& c : data.completions) {
            auto const value = rule(c.prompt, c.text, c.reference);
            c.scored = value.has_value();
            c.reward = value.value_or(0.0f);
            data.scored.push_back(c.scored);
            data.rewards.push_back(static_cast<T>(c.reward));
        }
        data.groups = rl::equal_groups(options_.prompts_per_step, options_.group_size);
        data.advantage =
            rl::advantages(objective_.advantage, data.rewards, data.groups, data.scored);
    }

    /// The updates of one rollout: each on an equal share of its groups.
    learning_record learn(rollout const& data) {
        learning_record record;
        std::size_t const share =
            data.responses.size() / static_cast<std::size_t>(options_.updates_per_step);
        for (index_t u = 0; u < options_.updates_per_step; ++u)
            update(data, static_cast<std::size_t>(u) * share, share, u == 0, record);
        record.entropy /=
            static_cast<double>(std::max<index_t>(record.evaluation.statistics.tokens, 1));
        return record;
    }
    void update(rollout const& data, std::size_t first, std::size_t count, bool fresh,
                learning_record& record) {
        // A response with advantage 0 has no gradient unless a KL term pulls at it.
        std::vector<std::size_t> chosen;
        std::vector<response> responses;
        rl::totals all;
        for (std::size_t i = first; i < first + count; ++i) {
            ++all.sequences;
            all.tokens += static_cast<index_t>(data.responses[i].tokens.size());
            if (data.advantage[i] == T(0) && !reference_) continue;
            chosen.push_back(i);
            responses.push_back(data.responses[i]);
        }
        record.rate = schedule_(optimizer_.steps());
        double const temperature = options_.generation.sampling.recorded_temperature();
        auto policy = rl::differentiable<T>(
            model_->backend(),
            language_forward<B, T>(*model_, temperature, options_.learning.balance, &loads_));
        auto const cuts = micro_batches(responses, options_.learning.micro_batch_tokens);
        for (std::size_t c = 0; c + 1 < cuts.size() && !responses.empty(); ++c) {
            auto batch =
                language_batch::of(std::span(responses).subspan(cuts[c], cuts[c + 1] - cuts[c]));
            batch.auxiliary_weight =
                static_cast<double>(cuts[c + 1] - cuts[c]) / static_cast<double>(all.sequences);
            learn_batch(policy, batch, data, std::span(chosen).subspan(cuts[c]), all, fresh,
                        record);
        }
        if (responses.empty()) return;  // nothing to learn from: every group agrees with itself
        record.gradient_norm =
            std::max(record.gradient_norm, optimizer_.step(*model_, record.rate));
        balance_experts(*model_, loads_, options_.learning.expert_bias_rate);
    }
    template <class Policy>
    void learn_batch(Policy& policy, language_batch const& batch, rollout const& data,
                     std::span<std::size_t const> chosen, rl::totals const& all, bool fresh,
                     learning_record& record) {
        std::vector<T> old, advantage, reference;
        for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
            auto const& lp = data.log_probability[chosen[i]];
            old.insert(old.end(), lp.begin(), lp.end());
            advantage.push_back(data.advantage[chosen[i]]);
        }
        if (reference_)
            reference =
                to_host(language_forward<B, T>(*reference_,
                                               options_.generation.sampling.recorded_temperature())(
                            model_->backend(), batch)
                            .log_probability);
        auto const now = policy.evaluate(batch, rl::statistics_request{.entropy = true});
        rl::token_statistics<T> gradient;
        gradient.log_probability.resize(old.size());
        rl::token_batch<T> const tokens{now.log_probability, old,           reference,
                                        advantage,           batch.offsets, {}};
        record.evaluation +=
            rl::evaluate(objective_, tokens, all, std::span<T>(gradient.log_probability));
        policy.backward(gradient);
        for (T h : now.entropy) record.entropy += static_cast<double>(h);
        if (!fresh) return;
        for (std::size_t t = 0; t < old.size(); ++t)
            record.max_abs_diff =
                std::max(record.max_abs_diff,
                         static_cast<double>(std::abs(now.log_probability[t] - old[t])));
    }

    grpo_report summarize(rollout& data, learning_record const& record, double sampling_seconds,
                          double seconds) const {
        auto const n = static_cast<double>(data.responses.size());
        double reward = 0, magnitude = 0, truncated = 0;
        for (auto const& c : data.completions) {
            reward += static_cast<double>(c.reward) / n;
            truncated += (c.reason == finish_reason::length) / n;
        }
        for (T a : data.advantage) magnitude += std::abs(static_cast<double>(a)) / n;
        auto const& s = record.evaluation.statistics;
        auto const tokens = static_cast<double>(data.tokens);
        grpo_report report;
        report.step = step_;
        report.sampled_tokens = data.tokens;
        report.logprob_max_abs_diff = record.max_abs_diff;
        report.metrics = {step_,
                          {{"reward/mean", reward},
                           {"advantage/mean_magnitude", magnitude},
                           {"groups/zero_variance",
                            rl::zero_variance_share(data.rewards, data.groups, data.scored)},
                           {"ratio/mean", s.ratio.value()},
                           {"ratio/max_deviation", s.ratio_deviation},
                           {"clipped/low", s.clipped_low.value()},
                           {"clipped/high", s.clipped_high.value()},
                           {"kl", s.kl.value()},
                           {"entropy", record.entropy},
                           {"loss", record.evaluation.loss},
                           {"gradient_norm", record.gradient_norm},
                           {"learning_rate", record.rate},
                           {"response/length", tokens / n},
                           {"response/truncated", truncated},
                           {"tokens_per_second/sampling", tokens / sampling_seconds},
                           {"tokens_per_second/step", tokens / seconds}}};
        report.completions = std::move(data.completions);
        return report;
    }

    decoder<B, T>* model_;
    Objective objective_;
    grpo_options options_;
    Schedule schedule_;
    adamw<B, T> optimizer_;
    generator<B, T> engine_;
    std::unique_ptr<decoder<B, T>> reference_;
    expert_loads loads_;
    index_t step_ = 0;
};

}  // namespace grove::inline GROVE_ISA
