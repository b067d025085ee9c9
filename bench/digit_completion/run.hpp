// SPDX-License-Identifier: Apache-2.0
// The run on any backend: task, training, evaluation.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "grove/io/huggingface.hpp"
#include "grove/io/metrics.hpp"
#include "grove/io/progress.hpp"
#include "grove/io/table.hpp"
#include "grove/rl/entropy.hpp"
#include "grove/rl/preset.hpp"
#include "grove/task/digit_completion.hpp"
#include "grove/train/grpo_trainer.hpp"
#include "grove/train/ppo_trainer.hpp"
#include "program.hpp"

namespace digits {

using grove::index_t;

template <class B>
using model = grove::decoder<B, float>;

// The checkpoint's tokenizer: a character a token. Separator, end, padding and unknown have ids 0
// to 3 and are spelled | $ _ ? here.
struct digit_tokenizer {
    static constexpr std::string_view symbols = "|$_?0123456789,:";

    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> ids;
        for (char c : text) {
            auto const at = symbols.find(c);
            grove::require<grove::value_error>(at != symbols.npos, "digit_tokenizer",
                                               "expected one of ", symbols, ", got ", c);
            ids.push_back(static_cast<std::int32_t>(at));
        }
        return ids;
    }
    std::string decode(std::span<std::int32_t const> ids,
                       grove::shown_specials = grove::shown_specials::all) const {
        std::string text;
        for (auto id : ids) text += symbols.at(static_cast<std::size_t>(id));
        return text;
    }
    std::int32_t vocabulary_size() const { return static_cast<std::int32_t>(symbols.size()); }
    std::int32_t end_id() const { return 1; }
};
static_assert(grove::tokenizer<digit_tokenizer>);

inline std::vector<float> token_rewards(std::string_view completion, std::string_view answer) {
    bool const ended = completion.ends_with('$');
    if (ended) completion.remove_suffix(1);
    return grove::digit_completion::rewards(completion, ended, answer);
}
inline float total_reward(std::string_view completion, std::string_view answer) {
    float sum = 0;
    for (float r : token_rewards(completion, answer)) sum += r;
    return sum;
}

inline std::vector<grove::rollout_problem> problems_of(grove::problem_split split) {
    std::vector<grove::rollout_problem> chosen;
    for (auto const& p : grove::digit_completion{}.all())
        if (grove::split_of(p.question) == split) chosen.push_back({p.question + '|', p.answer});
    return chosen;
}
inline grove::generation_options generation(double temperature, index_t longest = 32) {
    return {.sampling = {.temperature = temperature},
            .max_new_tokens = longest,
            .end_tokens = {1},
            .max_batch = 1024};
}
// Mean reward on every held-out question.
template <class B>
double evaluate(model<B> const& policy, double temperature) {
    auto const problems = problems_of(grove::problem_split::held_out);
    digit_tokenizer const tokens;
    std::vector<grove::generation_request> requests;
    for (std::uint32_t i = 0; i < problems.size(); ++i)
        requests.push_back({tokens.encode(problems[i].prompt),
                            {.seed = 1, .stream = grove::random_stream::evaluation, .prompt = i}});
    grove::generator<B, float> engine(policy, generation(temperature));
    auto const made = engine(requests);
    double sum = 0;
    for (std::size_t i = 0; i < made.size(); ++i)
        sum += total_reward(tokens.decode(made[i].tokens), problems[i].reference);
    return sum / static_cast<double>(made.size());
}

// Holds the entropy of `trainer` at a target.
template <class Trainer>
void hold_entropy(Trainer& trainer, grove::rl::adaptive_entropy& control, double target,
                  double measured) {
    control.target = target;
    control.update(measured);
    trainer.objective().entropy_coefficient = control.coefficient();
}

// Trains step by step; returns the best mean reward of a training step.
template <class B, class Trainer, class Rule>
double run(Trainer& trainer, std::string const& name, index_t steps, double entropy,
           settings const& s, model<B> const& policy, Rule const& rule) {
    auto const training = problems_of(grove::problem_split::training);
    auto const problem_of = [&](index_t i) { return training[static_cast<std::size_t>(i)]; };
    std::filesystem::create_directories(s.out);
    grove::jsonl_writer file(s.out + '/' + name + ".jsonl");
    grove::progress_line line(std::cerr, grove::progress(steps),
                              {.terminal = isatty(STDERR_FILENO) == 1});
    grove::rl::adaptive_entropy control{.step = s.grip};
    double best = 0;
    trainer.run(steps, problem_of, digit_tokenizer{}, rule, [&](auto const& report) {
        auto record = report.metrics;
        for (auto const& [metric, value] : report.metrics.values) {
            if (metric == "reward/mean") best = std::max(best, value);
            double const progress = static_cast<double>(report.step) / static_cast<double>(steps);
            if (metric == "entropy" && entropy > 0)
                hold_entropy(trainer, control, entropy * std::max(0.0, 1 - progress / s.fall),
                             value);
        }
        if ((report.step + 1) % 10 == 0) {
            record.values.push_back({"held_out/reward", evaluate(policy, 1.0)});
            record.values.push_back({"held_out/greedy", evaluate(policy, 0.0)});
        }
        file.write(record);
        ++record.step;  // steps done
        line.write(record);
    });
    return best;
}
// What both methods have in common: 800 answers a step, in four updates.
template <class Options>
Options options_of(settings const& s) {
    Options options;
    options.seed = s.seed;
    options.mini_batches = 4;
    options.problem_count =
        static_cast<index_t>(problems_of(grove::problem_split::training).size());
    options.learning.optimizer.beta2 = 0.999;
    options.learning.optimizer.weight_decay = 0.01;
    return options;
}
template <class B>
double train_ppo(model<B>& policy, settings const& s) {
    auto options = options_of<grove::ppo_options>(s);
    options.prompts_per_step = 800;
    // A reward of entropy does what a divergence from a random policy does.
    options.kl.coefficient = s.entropy > 0 ? 0 : 0.005;
    options.critic_rate = 1e-3 / s.rate;
    options.generation = generation(1.0);
    grove::ppo_trainer trainer(policy, grove::rl::ppo{}, options,
                               grove::constant_schedule{.peak = s.rate});
    return run(
        trainer, "ppo", s.steps > 0 ? s.steps : 200, std::max(s.entropy, 0.0), s, policy,
        [](auto const& c, grove::response const&) { return token_rewards(c.text, c.reference); });
}
template <class B>
double train_grpo(model<B>& policy, settings const& s) {
    auto options = options_of<grove::grpo_options>(s);
    options.prompts_per_step = 100;
    options.group_size = 8;
    options.generation = generation(1.0, 20);  // the longest answer has 18 tokens
    auto const reward = [](std::string_view, std::string_view completion, std::string_view answer) {
        return total_reward(completion, answer) - (completion.ends_with('$') ? 0.0f : 0.2f);
    };
    grove::constant_schedule const schedule{.peak = 2e-4};
    if (s.explore > 0) {
        grove::rl::pass_at_k_grpo const best_of_group{.surrogate = {.low = 0.2, .high = 0.28}};
        grove::grpo_trainer trainer(policy, best_of_group, options, schedule);
        run(trainer, "pass_at_k", s.explore, 0.0, s, policy, reward);
    }
    grove::grpo_trainer trainer(policy, grove::rl::dapo(), options, schedule);
    return run(trainer, "grpo", s.steps > 0 ? s.steps : 500, s.entropy < 0 ? 0.3 : s.entropy, s,
               policy, reward);
}

template <class B>
bool run_on(B& backend, settings const& s) {
    auto const policy = grove::load_huggingface(s.checkpoint, backend);
    double const before = evaluate(*policy, 1.0);
    auto const start = std::chrono::steady_clock::now();
    double const best = s.method == "ppo" ? train_ppo(*policy, s) : train_grpo(*policy, s);
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - start;
    std::printf("%s in %.0f s\n", s.method.c_str(), seconds.count());
    std::printf("best mean reward of a training step   %6.3f (mark 0.2)\n", best);
    std::printf("held out, temperature 1: before       %6.3f\n", before);
    std::printf("                         after        %6.3f\n", evaluate(*policy, 1.0));
    std::printf("held out, greedy:        after        %6.3f\n", evaluate(*policy, 0.0));
    std::printf("floors: to end at once 0.10, to repeat the second term and end 0.28\n");
    return best > 0.2;
}

}  // namespace digits
