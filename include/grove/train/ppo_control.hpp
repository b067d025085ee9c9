// SPDX-License-Identifier: Apache-2.0
/// @file
/// Proximal policy optimization in environments: act, estimate, learn.
#pragma once

#include <cmath>
#include <utility>

#include "grove/env/running_moments.hpp"
#include "grove/env/vector_environment.hpp"
#include "grove/nn/actor_critic.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/ppo_control_options.hpp"
#include "grove/train/ppo_control_report.hpp"
#include "grove/train/shuffle.hpp"
#include "grove/train/state.hpp"
#include "grove/train/stopwatch.hpp"

namespace grove::inline GROVE_ISA {

/// The head for an environment's actions.
template <environment E, class B, class T = float>
using head_for =
    std::conditional_t<discrete_environment<E>, categorical_head<B, T>, gaussian_head<B, T>>;
/// An actor and its critic for an environment.
template <environment E, class B, class Activation = law::tanh>
using control_model = actor_critic<B, float, head_for<E, B>, Activation>;

/// `config` with the sizes of an environment.
template <environment E>
actor_critic_config config_for(actor_critic_config config = {}) {
    config.observation_size = E::observation_size;
    if constexpr (discrete_environment<E>) {
        config.outputs = E::action_count;
    } else {
        config.outputs = E::action_size;
    }
    return config;
}

/// What one rollout left to be learned: environment after environment, step after step.
template <class Action>
struct control_rollout {
    decisions<float, Action> taken;
    std::vector<float> outputs;           ///< [rows, outputs], what the head read
    std::vector<float> reward;            ///< [rows]
    std::vector<episode_state> ends;      ///< [rows]
    std::vector<index_t> cuts;            ///< rows behind which more would have followed …
    std::vector<float> cut_observations;  ///< [cuts, observation_size]: … this
    std::vector<float> log_probability, value, advantage, target;  ///< [rows]
};

/// Trains an actor and its critic in copies of an environment. Every step is a function of the
/// weights, the settings and the step number; wall time enters the metrics alone.
/// @code
/// using model = grove::control_model<grove::cart_pole, grove::eigen_backend>;
/// model m(backend, grove::config_for<grove::cart_pole>(), /*seed*/ 1);
/// grove::control_trainer trainer(m, grove::cart_pole{}, grove::rl::ppo{}, options, schedule);
/// trainer.run(100, [](grove::control_report const& report) { … });
/// auto const returns = trainer.evaluate(100);
/// @endcode
template <class Model, environment Environment, class Objective, class Schedule>
class control_trainer {
public:
    using action = action_of<Environment>;
    static_assert(std::is_same_v<action, typename Model::head_type::action>,
                  "a discrete environment takes a categorical_head, a continuous one a "
                  "gaussian_head of floats");

    /// Throws configuration_error for options out of range, and for a model of other sizes than
    /// the environment's.
    control_trainer(Model& model, Environment environment, Objective objective,
                    control_options options, Schedule schedule)
        : model_(&model),
          objective_(std::move(objective)),
          options_((options.validate(), std::move(options))),
          schedule_(std::move(schedule)),
          environments_(std::move(environment), options_.environments, options_.seed),
          moments_(Environment::observation_size),
          scale_(options_.environments, objective_.advantage.discount),
          optimizer_(options_.optimizer) {
        auto const& own = model.config();
        auto const fit = config_for<Environment>(own);
        require<configuration_error>(
            own.observation_size == fit.observation_size && own.outputs == fit.outputs,
            "control_trainer", "expected a model from ", fit.observation_size, " to ", fit.outputs,
            " numbers as the environment has, got one from ", own.observation_size, " to ",
            own.outputs);
    }

    /// Steps completed.
    index_t step_number() const { return step_; }
    /// What observations were like, where they are normalized.
    running_moments const& moments() const { return moments_; }

    /// Steps until step_number() == steps, calling every callback with each report.
    template <class... Callbacks>
    void run(index_t steps, Callbacks&&... callbacks) {
        while (step_ < steps) {
            control_report const report = step();
            (callbacks(report), ...);
        }
    }
    /// One rollout and all updates on it. Throws value_error for numbers that are not finite; the
    /// trainer must then be made again, or loaded.
    control_report step();
    /// Returns of `episodes` whole episodes in environments of their own, with the likeliest
    /// actions. Throws configuration_error for an environment without a time limit.
    std::vector<double> evaluate(index_t episodes, std::uint64_t seed = 0) const;

    /// Writes everything that the next step depends on to a checkpoint (io/checkpoint.hpp).
    template <class Writer>
    void save(Writer& file) {
        file.template put_value<index_t>("ppo.step", step_);
        save_model(file, "model/", *model_);
        save_optimizer(file, "optimizer/", optimizer_);
        environments_.save(file, "environments/");
        moments_.save(file, "observations/");
        scale_.save(file, "rewards/");
    }
    /// Takes up a run of the same settings where save left it. Throws io_error, naming the section,
    /// where something is missing, damaged or does not fit; the trainer and its model are then
    /// unchanged.
    template <class Reader>
    void load(Reader const& file) {
        auto const step = file.template get_value<index_t>("ppo.step");
        auto const weights = read_model(file, "model/", *model_);
        auto state = read_optimizer(file, "optimizer/", *model_);
        auto environments = environments_;
        auto moments = moments_;
        auto scale = scale_;
        environments.load(file, "environments/");
        moments.load(file, "observations/");
        scale.load(file, "rewards/");

        restore_model(*model_, weights);
        optimizer_.restore(state.steps, std::move(state.moments));
        environments_ = std::move(environments);
        moments_ = std::move(moments);
        scale_ = std::move(scale);
        step_ = step;
    }

private:
    using backend_type = typename Model::backend_type;
    using rollout_type = control_rollout<action>;
    static constexpr auto seen_ = static_cast<std::size_t>(Environment::observation_size);
    static constexpr auto wide_ = static_cast<std::size_t>(action_width<Environment>());

    tensor<backend_type, float> input(std::span<float const> observations) const {
        index_t const rows = std::ssize(observations) / Environment::observation_size;
        return from_host(model_->backend(), {rows, Environment::observation_size}, observations);
    }
    /// Values of observations, block by block, so that what is between stays in the cache.
    std::vector<float> values(std::span<float const> observations) const {
        std::vector<float> all;
        std::size_t const most = 256 * seen_;
        while (!observations.empty()) {
            auto const block = observations.first(std::min(most, observations.size()));
            auto const part = to_host(model_->value(input(block)));
            all.insert(all.end(), part.begin(), part.end());
            observations = observations.subspan(block.size());
        }
        return all;
    }
    /// Observations as the model sees them.
    std::vector<float> normalized(std::span<float const> raw) const {
        std::vector<float> rows(raw.begin(), raw.end());
        if (options_.normalize_observations) moments_.normalize(rows);
        return rows;
    }
    /// Copies row `i` of `from` to row `row` of `to`.
    template <class From, class To>
    static void put(From const& from, std::size_t i, std::size_t width, To& to, std::size_t row) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                    to.begin() + static_cast<std::ptrdiff_t>(row * width));
    }

    rollout_type collect();
    template <class Draw>
    void act(rollout_type& rollout, index_t t, Draw const& draw);
    void estimate(rollout_type& rollout) const;
    bool learn(rollout_type const& rollout, std::span<std::size_t const> rows, ppo_record& record);

    Model* model_;
    Objective objective_;
    control_options options_;
    Schedule schedule_;
    vector_environment<Environment> environments_;
    running_moments moments_;
    reward_scale scale_;
    adamw<backend_type, float> optimizer_;
    index_t step_ = 0;
};

template <class M, environment E, class O, class S>
control_report control_trainer<M, E, O, S>::step() {
    stopwatch const clock;
    ppo_record record;
    rollout_type const rollout = collect();
    record.explained_variance = explained_variance<float>(rollout.value, rollout.target);
    record.sampling_seconds = clock.seconds();
    bool near = true;
    for (index_t epoch = 0; near && epoch < options_.epochs; ++epoch) {
        auto const order = shuffled_indices(
            static_cast<std::size_t>(options_.rows()),
            {options_.seed, random_stream::shuffle, static_cast<std::uint32_t>(step_),
             static_cast<std::uint32_t>(epoch)});
        for (index_t first = 0; near && first < options_.rows(); first += options_.mini_batch)
            near = learn(rollout,
                         std::span(order).subspan(static_cast<std::size_t>(first),
                                                  static_cast<std::size_t>(options_.mini_batch)),
                         record);
    }
    record.seconds = clock.seconds();
    return summarize(step_++, environments_.take_finished(), options_.rows(), record);
}

/// Acts in all environments and estimates what came of it.
template <class M, environment E, class O, class S>
auto control_trainer<M, E, O, S>::collect() -> rollout_type {
    auto const rows = static_cast<std::size_t>(options_.rows());
    rollout_type rollout;
    rollout.taken.observations.resize(rows * seen_);
    rollout.taken.actions.resize(rows * wide_);
    rollout.outputs.resize(rows * static_cast<std::size_t>(model_->config().outputs));
    rollout.reward.resize(rows);
    rollout.ends.resize(rows);
    running_moments moments = moments_;  // those before it normalize the whole rollout
    auto const draw = model_->head().sampler();
    for (index_t t = 0; t < options_.steps; ++t) {
        if (options_.normalize_observations) moments.add(environments_.observations());
        act(rollout, t, draw);
        if (options_.normalize_rewards) scale_.add(environments_.rewards(), environments_.ends());
    }
    if (options_.normalize_rewards)
        for (float& r : rollout.reward) r *= static_cast<float>(scale_.factor());
    estimate(rollout);
    moments_ = std::move(moments);
    return rollout;
}

/// Step `t` of a rollout.
template <class M, environment E, class O, class S>
template <class Draw>
void control_trainer<M, E, O, S>::act(rollout_type& rollout, index_t t, Draw const& draw) {
    auto const n = static_cast<std::size_t>(options_.environments);
    auto const outputs = static_cast<std::size_t>(model_->config().outputs);
    auto const row = [&](std::size_t i) {
        return i * static_cast<std::size_t>(options_.steps) + static_cast<std::size_t>(t);
    };
    auto const seen = normalized(environments_.observations());
    auto const read = to_host(model_->policy(input(seen)));
    std::vector<action> chosen(n * wide_);
    for (std::size_t i = 0; i < n; ++i) {
        draw(std::span(read).subspan(i * outputs, outputs),
             {options_.seed, random_stream::rollout, static_cast<std::uint32_t>(step_),
              static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(t)},
             std::span(chosen).subspan(i * wide_, wide_));
        put(seen, i, seen_, rollout.taken.observations, row(i));
        put(read, i, outputs, rollout.outputs, row(i));
        put(chosen, i, wide_, rollout.taken.actions, row(i));
    }
    environments_.step(chosen);
    for (std::size_t i = 0; i < n; ++i) {
        auto const end = environments_.ends()[i];
        rollout.reward[row(i)] = static_cast<float>(environments_.rewards()[i]);
        rollout.ends[row(i)] = end;
        bool const last = t + 1 == options_.steps;
        if (end == episode_state::terminated || (end == episode_state::running && !last)) continue;
        rollout.cuts.push_back(static_cast<index_t>(row(i)));
        auto const after = environments_.last_observations().subspan(i * seen_, seen_);
        rollout.cut_observations.insert(rollout.cut_observations.end(), after.begin(), after.end());
    }
}

/// Log-probabilities, values, advantages and the critic's targets of a rollout.
template <class M, environment E, class O, class S>
void control_trainer<M, E, O, S>::estimate(rollout_type& rollout) const {
    auto& b = model_->backend();
    rollout.value = values(rollout.taken.observations);
    rollout.log_probability = to_host(model_->head().statistics(
        from_host(b, {options_.rows(), model_->config().outputs}, rollout.outputs),
        std::span<action const>(rollout.taken.actions))[0]);
    std::vector<float> after(rollout.reward.size());  // what a row's successor is worth
    auto const worth = values(normalized(rollout.cut_observations));
    for (std::size_t c = 0; c < worth.size(); ++c)
        after[static_cast<std::size_t>(rollout.cuts[c])] = worth[c];
    std::vector<index_t> offsets{0};
    std::vector<float> bootstrap;
    for (index_t row = 0; row < options_.rows(); ++row) {
        auto const at = static_cast<std::size_t>(row);
        if (rollout.ends[at] == episode_state::running && (row + 1) % options_.steps != 0) continue;
        offsets.push_back(row + 1);
        bootstrap.push_back(after[at]);
    }
    rollout.advantage.resize(rollout.reward.size());
    rollout.target.resize(rollout.reward.size());
    objective_.advantage(
        rl::trajectory<float>{rollout.reward, rollout.value, bootstrap, offsets, {}},
        std::span(rollout.advantage), std::span(rollout.target));
}

/// The update on these rows; false, and none, where the policy has moved too far from the one that
/// sampled.
template <class M, environment E, class O, class S>
bool control_trainer<M, E, O, S>::learn(rollout_type const& rollout,
                                        std::span<std::size_t const> rows, ppo_record& record) {
    typename M::decisions_type batch;
    batch.observations.resize(rows.size() * seen_);
    batch.actions.resize(rows.size() * wide_);
    std::vector<float> old(rows.size()), advantage(rows.size()), value(rows.size()),
        target(rows.size());
    for (std::size_t k = 0; k < rows.size(); ++k) {
        std::size_t const row = rows[k];
        put(std::span(rollout.taken.observations).subspan(row * seen_), 0, seen_,
            batch.observations, k);
        put(std::span(rollout.taken.actions).subspan(row * wide_), 0, wide_, batch.actions, k);
        old[k] = rollout.log_probability[row];
        advantage[k] = rollout.advantage[row];
        value[k] = rollout.value[row];
        target[k] = rollout.target[row];
    }
    if (options_.normalize_advantages) rl::whitening{}(std::span(advantage));
    index_t const offsets[] = {0, std::ssize(rows)};
    rl::token_batch<float> const tokens{
        .old_log_probability = old, .advantage = advantage, .offsets = offsets};
    auto policy = rl::differentiable<float>(
        model_->backend(), [this](auto& on, auto const& input) { return (*model_)(on, input); });
    model_->visit([](auto& p) { p.clear_gradient(); });
    auto const measured =
        rl::learn(policy, batch, tokens, objective_, rl::value_batch<float>{target, value},
                  options_.value_loss, rl::count(tokens));
    record.evaluation += measured;
    double const limit = options_.divergence_limit;
    if (limit > 0 && measured.divergence.value() > limit) return false;
    record.learning_rate = schedule_(optimizer_.steps());
    record.gradient_norm =
        std::max(record.gradient_norm, optimizer_.step(*model_, record.learning_rate));
    ++record.updates;
    return true;
}

template <class M, environment E, class O, class S>
std::vector<double> control_trainer<M, E, O, S>::evaluate(index_t episodes,
                                                          std::uint64_t seed) const {
    vector_environment<E> run(environments_.environment(), episodes, seed,
                              random_stream::evaluation);
    index_t const limit = run.environment().time_limit;
    require<configuration_error>(limit > 0, "control_trainer::evaluate",
                                 "expected an environment with a time limit, got none");
    auto const n = static_cast<std::size_t>(episodes);
    auto const outputs = static_cast<std::size_t>(model_->config().outputs);
    std::vector<double> returns(n);
    std::vector<bool> ended(n);
    std::vector<action> chosen(n * wide_);
    for (index_t t = 0; t < limit; ++t) {
        auto const read = to_host(model_->policy(input(normalized(run.observations()))));
        for (std::size_t i = 0; i < n; ++i)
            model_->head().mode(std::span(read).subspan(i * outputs, outputs),
                                std::span(chosen).subspan(i * wide_, wide_));
        run.step(chosen);
        for (std::size_t i = 0; i < n; ++i) {
            if (!ended[i]) returns[i] += run.rewards()[i];
            ended[i] = ended[i] || run.ends()[i] != episode_state::running;
        }
    }
    return returns;
}

}  // namespace grove::inline GROVE_ISA
