// SPDX-License-Identifier: Apache-2.0
/// @file
/// Proximal policy optimization of a decoder with a critic: sample, score, estimate, learn.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "grove/optim/schedule.hpp"
#include "grove/rl/kl_reward.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/language_critic.hpp"
#include "grove/train/ppo_options.hpp"
#include "grove/train/ppo_report.hpp"
#include "grove/train/sample_rollout.hpp"
#include "grove/train/shuffle.hpp"
#include "grove/train/state.hpp"
#include "grove/train/stopwatch.hpp"

namespace grove::inline GROVE_ISA {

/// A rule that rewards every token: (completion, its tokens) → as many rewards.
template <class Rule>
concept token_reward = requires(Rule const& rule, scored_completion const& c, response const& r) {
    { rule(c, r) } -> std::convertible_to<std::vector<float>>;
};

/// Trains a decoder and its critic by `Objective`, rl::ppo or another with rl::gae as its
/// advantage. A reward rule judges whole completions (reward/reward.hpp), which pays the last
/// token, or is a token_reward. Every step is a function of the weights, the settings and the step
/// number; wall time enters the metrics alone.
/// @code
/// grove::ppo_trainer trainer(model, grove::rl::ppo{}, options, schedule);
/// trainer.run(100, problems, tokens, reward, [](grove::ppo_report const& r) { … });
/// @endcode
template <class B, class T, class Objective, class Schedule>
class ppo_trainer {
public:
    /// Throws configuration_error for options out of range.
    ppo_trainer(decoder<B, T>& model, Objective objective, ppo_options options, Schedule schedule)
        : model_(&model),
          objective_(std::move(objective)),
          options_((options.validate(), std::move(options))),
          schedule_(std::move(schedule)),
          optimizer_(options_.learning.optimizer),
          critic_optimizer_(options_.learning.optimizer),
          engine_(model, options_.generation),
          critic_(model, options_.critic),
          cursor_(options_.problem_count),
          kl_(options_.kl) {
        if (kl_.coefficient == 0) return;
        reference_ = std::make_unique<decoder<B, T>>(model.backend(), model.config(), 0);
        reference_->copy_from(model);
    }

    /// The composition in use, whose coefficients a controller may change between steps. A
    /// controller is not part of a checkpoint.
    Objective& objective() { return objective_; }

    /// Steps completed.
    index_t step_number() const { return step_; }
    /// Which problem comes next, and how often each was visited.
    data_cursor const& cursor() const { return cursor_; }
    /// The coefficient of the divergence in the reward.
    double kl_coefficient() const { return kl_.coefficient; }

    /// Steps until step_number() == steps, calling every callback with each report.
    template <class Problems, class Tokenizer, class Reward, class... Callbacks>
    void run(index_t steps, Problems const& problems, Tokenizer const& tokens, Reward const& rule,
             Callbacks&&... callbacks) {
        while (step_ < steps) {
            ppo_report const report = step(problems, tokens, rule);
            (callbacks(report), ...);
        }
    }
    /// One rollout and all updates on it; `problems(i)` is rollout_problem i. Throws value_error
    /// for rewards and other numbers that are not finite; where it is the rewards, the trainer is
    /// unchanged.
    template <class Problems, class Tokenizer, class Reward>
    ppo_report step(Problems const& problems, Tokenizer const& tokens, Reward const& rule) {
        static_assert(reward<Reward> || token_reward<Reward>,
                      "a reward rule takes (prompt, completion, reference) and returns a number or "
                      "none, or takes (scored_completion, response) and returns one per token");
        stopwatch const clock;
        ppo_record record;
        data_cursor cursor = cursor_;
        auto rollout = sample_rollout(engine_, options_.seed, options_.prompts_per_step,
                                      options_.group_size, problems, tokens, cursor);
        record.sampling_seconds = clock.seconds();
        experience learned = score(rollout, rule);
        estimate(learned, record);
        cursor_ = cursor;
        learn_all(learned, record);
        record.kl_coefficient = kl_.coefficient;
        if (options_.adapt_kl && record.kl.count > 0)
            kl_.update(record.kl.value(), std::ssize(learned.responses));
        record.seconds = clock.seconds();
        return summarize(step_++, std::move(rollout), record);
    }

    /// Writes everything that the next step depends on to a checkpoint (io/checkpoint.hpp).
    template <class Writer>
    void save(Writer& file) {
        file.template put_value<index_t>("ppo.step", step_);
        file.template put_value<index_t>("ppo.separate_critic", critic_.body() != nullptr);
        file.template put_value<double>("ppo.kl_coefficient", kl_.coefficient);
        cursor_.save(file, "cursor.");
        save_model(file, "model/", *model_);
        save_model(file, "critic/", critic_);
        save_optimizer(file, "optimizer/", optimizer_);
        save_optimizer(file, "critic_optimizer/", critic_optimizer_);
        if (reference_) save_model(file, "reference/", *reference_);
    }
    /// Takes up a run of the same settings where save left it. Throws io_error, naming the section,
    /// where something is missing, damaged or does not fit, and configuration_error for another
    /// problem_count or kind of critic, or where only one of the two runs has a divergence in its
    /// reward; the trainer and its model are then unchanged.
    template <class Reader>
    void load(Reader const& file) {
        auto const step = file.template get_value<index_t>("ppo.step");
        bool const separate = file.template get_value<index_t>("ppo.separate_critic") != 0;
        auto const coefficient = file.template get_value<double>("ppo.kl_coefficient");
        require<configuration_error>(
            separate == (critic_.body() != nullptr) && (coefficient > 0) == bool(reference_),
            "ppo_trainer::load", "expected a run ", separate ? "with" : "without",
            " a separate critic and with kl.coefficient ", coefficient, ", got another");
        data_cursor cursor = cursor_;
        cursor.load(file, "cursor.");
        auto const weights = read_model(file, "model/", *model_);
        auto const critic = read_model(file, "critic/", critic_);
        auto state = read_optimizer(file, "optimizer/", *model_);
        auto critic_state = read_optimizer(file, "critic_optimizer/", critic_);
        std::vector<tensor<B, T>> reference;
        if (reference_) reference = read_model(file, "reference/", *reference_);

        restore_model(*model_, weights);
        restore_model(critic_, critic);
        optimizer_.restore(state.steps, std::move(state.moments));
        critic_optimizer_.restore(critic_state.steps, std::move(critic_state.moments));
        if (reference_) restore_model(*reference_, reference);
        cursor_ = cursor;
        kl_.coefficient = coefficient;
        step_ = step;
    }

private:
    /// What is learned from: the responses that were scored, and numbers for their tokens, packed.
    struct experience {
        std::vector<response> responses;
        std::vector<index_t> offsets{0};
        std::vector<T> old, value, reward, advantage, target;
    };

    language_forward<B, T> forward_of(decoder<B, T> const& model, expert_loads* loads) const {
        return {model, options_.generation.sampling.recorded_temperature(),
                loads ? options_.learning.balance : 0.0, loads, options_.learning.pass};
    }
    /// Calls f(batch, first, last) for micro-batches of `responses`, in order.
    template <class Body>
    void each_batch(std::vector<response> const& responses, Body&& f) const {
        auto const cuts = micro_batches(responses, options_.learning.micro_batch_tokens);
        for (std::size_t c = 0; c + 1 < cuts.size(); ++c)
            if (cuts[c] < cuts[c + 1])
                f(language_batch::of(std::span(responses).subspan(cuts[c], cuts[c + 1] - cuts[c])),
                  cuts[c], cuts[c + 1]);
    }

    template <class Reward>
    experience score(scored_rollout<T>& rollout, Reward const& rule) const;
    void estimate(experience& learned, ppo_record& record);
    void learn_all(experience const& learned, ppo_record& record);
    bool learn(experience const& learned, std::span<std::size_t const> chosen, ppo_record& record);

    decoder<B, T>* model_;
    Objective objective_;
    ppo_options options_;
    Schedule schedule_;
    adamw<B, T> optimizer_, critic_optimizer_;
    generator<B, T> engine_;
    language_critic<B, T> critic_;
    std::unique_ptr<decoder<B, T>> reference_;
    expert_loads loads_;
    data_cursor cursor_;
    rl::adaptive_kl kl_;
    index_t step_ = 0;
};

/// Rewards for every token of the responses that a rule has judged.
template <class B, class T, class O, class S>
template <class Reward>
auto ppo_trainer<B, T, O, S>::score(scored_rollout<T>& rollout, Reward const& rule) const
    -> experience {
    experience learned;
    if constexpr (!token_reward<Reward>) score_completions(rollout, rule);
    for (std::size_t i = 0; i < rollout.size(); ++i) {
        auto& completion = rollout.completions[i];
        auto const& response = rollout.responses[i];
        std::vector<float> rewards(response.tokens.size());
        if constexpr (token_reward<Reward>) {
            rewards = rule(std::as_const(completion), response);
            require<value_error>(rewards.size() == response.tokens.size(), "ppo_trainer",
                                 "expected a reward for each of ", response.tokens.size(),
                                 " tokens, got ", rewards.size());
            completion.reward = std::accumulate(rewards.begin(), rewards.end(), 0.0f);
            completion.scored = true;
        } else {
            rewards.back() = completion.reward;
        }
        if (!completion.scored) continue;
        auto const& old = rollout.log_probability[i];
        learned.responses.push_back(response);
        learned.old.insert(learned.old.end(), old.begin(), old.end());
        learned.reward.insert(learned.reward.end(), rewards.begin(), rewards.end());
        learned.offsets.push_back(std::ssize(learned.old));
    }
    return learned;
}

/// Values, rewards less the divergence, advantages and the critic's targets.
template <class B, class T, class O, class S>
void ppo_trainer<B, T, O, S>::estimate(experience& learned, ppo_record& record) {
    auto& b = model_->backend();
    auto const own = forward_of(*model_, nullptr).with_values(critic_.head(), critic_.body());
    std::vector<T> now, reference;
    auto const append = [](std::vector<T>& all, tensor<B, T> const& part) {
        auto const x = to_host(part);
        all.insert(all.end(), x.begin(), x.end());
    };
    each_batch(learned.responses, [&](language_batch batch, std::size_t, std::size_t) {
        auto const y = own(b, batch);
        append(now, y.log_probability);
        append(learned.value, y.value);
        if (!reference_) return;
        batch.experts.clear();  // the policy's; the reference chooses for itself
        append(reference, forward_of(*reference_, nullptr)(b, batch).log_probability);
    });
    for (std::size_t t = 0; t < now.size(); ++t)
        record.max_abs_diff =
            std::max(record.max_abs_diff, static_cast<double>(std::abs(now[t] - learned.old[t])));
    if (reference_) {
        for (std::size_t t = 0; t < now.size(); ++t)
            record.kl += {static_cast<double>(learned.old[t] - reference[t]), 1};
        rl::kl_reward<>{.coefficient = kl_.coefficient}(std::span<T const>(learned.old),
                                                        std::span<T const>(reference), {},
                                                        std::span(learned.reward));
    }
    learned.advantage.resize(now.size());
    learned.target.resize(now.size());
    objective_.advantage(rl::trajectory<T>{learned.reward, learned.value, {}, learned.offsets, {}},
                         std::span(learned.advantage), std::span(learned.target));
    record.explained_variance = explained_variance<T>(learned.value, learned.target);
    if (options_.whiten_advantages) rl::whitening{}(std::span(learned.advantage));
}

template <class B, class T, class O, class S>
void ppo_trainer<B, T, O, S>::learn_all(experience const& learned, ppo_record& record) {
    std::size_t const count = learned.responses.size();
    auto const shares = static_cast<std::size_t>(options_.mini_batches);
    for (index_t epoch = 0; epoch < options_.epochs; ++epoch) {
        auto const order = shuffled_indices(
            count, {options_.seed, random_stream::shuffle, static_cast<std::uint32_t>(step_),
                    static_cast<std::uint32_t>(epoch)});
        for (std::size_t s = 0; s < shares; ++s) {
            std::size_t const first = s * count / shares, last = (s + 1) * count / shares;
            if (first == last) continue;
            if (!learn(learned, std::span(order).subspan(first, last - first), record)) return;
        }
    }
}

/// The update on these responses; false, and none, where the policy has moved too far from the one
/// that sampled.
template <class B, class T, class O, class S>
bool ppo_trainer<B, T, O, S>::learn(experience const& learned, std::span<std::size_t const> chosen,
                                    ppo_record& record) {
    std::vector<response> responses;
    rl::totals all{std::ssize(chosen), 0};
    for (std::size_t i : chosen) {
        responses.push_back(learned.responses[i]);
        all.tokens += std::ssize(responses.back().tokens);
    }
    model_->visit([](auto& p) { p.clear_gradient(); });
    critic_.visit([](auto& p) { p.clear_gradient(); });
    loads_.clear();
    auto policy = rl::differentiable<T>(
        model_->backend(),
        forward_of(*model_, &loads_).with_values(critic_.head(), critic_.body()));
    rl::actor_critic_evaluation measured;
    each_batch(responses, [&](language_batch batch, std::size_t first, std::size_t last) {
        batch.auxiliary_weight =
            static_cast<double>(last - first) / static_cast<double>(chosen.size());
        auto const gather = [&](std::vector<T> const& numbers) {
            std::vector<T> part;
            for (std::size_t i = first; i < last; ++i)
                part.insert(part.end(), numbers.begin() + learned.offsets[chosen[i]],
                            numbers.begin() + learned.offsets[chosen[i] + 1]);
            return part;
        };
        auto const old = gather(learned.old), advantage = gather(learned.advantage);
        auto const value = gather(learned.value), target = gather(learned.target);
        measured += rl::learn(
            policy, batch,
            rl::token_batch<T>{
                .old_log_probability = old, .advantage = advantage, .offsets = batch.offsets},
            objective_, rl::value_batch<T>{target, value}, options_.value_loss, all);
    });
    record.evaluation += measured;
    double const limit = options_.divergence_limit;
    if (limit > 0 && measured.divergence.value() > limit) return false;
    record.learning_rate = schedule_(optimizer_.steps());
    record.gradient_norm =
        std::max(record.gradient_norm, optimizer_.step(*model_, record.learning_rate));
    critic_optimizer_.step(critic_, record.learning_rate * options_.critic_rate);
    ++record.updates;
    balance_experts(*model_, loads_, options_.learning.expert_bias_rate);
    return true;
}

}  // namespace grove::inline GROVE_ISA
