// SPDX-License-Identifier: Apache-2.0
// Two ways to judge a token: PPO asks a critic, GRPO asks the other responses to the same prompt.
// Both learn the same task from as many responses: repeat the digit that the prompt shows.
#include <algorithm>
#include <iostream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/table.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/train/grpo_trainer.hpp"
#include "grove/train/ppo_trainer.hpp"

namespace {

using backend = grove::eigen_backend;

constexpr grove::index_t steps = 100, responses = 128, updates = 4;
grove::symbol_tokenizer const tokens("0123456789");

grove::rollout_problem problem(grove::index_t i) {
    std::string const digit = std::to_string(i % 10);
    return {"<begin>" + digit, digit};
}
// The share of right digits: the reward of a whole response …
float share(std::string_view text, char digit) {
    return text.empty() ? 0.0f
                        : static_cast<float>(std::ranges::count(text, digit)) /
                              static_cast<float>(text.size());
}
struct final_reward {
    std::optional<float> operator()(std::string_view, std::string_view text,
                                    std::string_view reference) const {
        return share(text, reference.front());
    }
};
// … or of each token, which a critic can use and a group cannot.
struct dense_reward {
    std::vector<float> operator()(grove::scored_completion const& c,
                                  grove::response const& r) const {
        std::vector<float> rewards;
        auto const right = tokens.encode(c.reference).front();
        for (auto token : r.tokens)
            rewards.push_back((token == right) / static_cast<float>(r.tokens.size()));
        return rewards;
    }
};

struct curve {
    std::string name;
    std::vector<double> reward;  // per step
    double seconds = 0;

    template <class Report>
    void take(Report const& report) {
        double sum = 0;
        for (auto const& c : report.completions) sum += c.reward;
        reward.push_back(sum / static_cast<double>(report.completions.size()));
        if (report.step % 20 == 19)
            std::cout << name << ", step " << report.step + 1 << ": reward " << reward.back()
                      << '\n';
    }
};

// Trains a fresh model with what `make(model)` returns.
template <class Make, class Reward>
curve run(std::string name, Make make, Reward const& rule) {
    backend b(/*threads*/ 1);
    grove::decoder<backend> model(b,
                                  {.vocab_size = tokens.vocabulary_size(),
                                   .hidden_size = 32,
                                   .intermediate_size = 64,
                                   .num_hidden_layers = 2,
                                   .num_attention_heads = 2,
                                   .num_key_value_heads = 2,
                                   .max_position_embeddings = 16},
                                  /*seed*/ 1);
    curve result{std::move(name), {}};
    auto trainer = make(model);
    grove::stopwatch const clock;
    trainer.run(steps, problem, tokens, rule, [&](auto const& report) { result.take(report); });
    result.seconds = clock.seconds();
    return result;
}
auto ppo(grove::critic_body critic) {
    return [critic](grove::decoder<backend>& model) {
        grove::ppo_options options;
        options.prompts_per_step = responses;
        options.mini_batches = updates;
        options.critic = critic;
        options.generation.max_new_tokens = 8;
        return grove::ppo_trainer(model, grove::rl::ppo{.advantage = {.lambda = 1.0}}, options,
                                  grove::constant_schedule{3e-3});
    };
}
auto grpo(grove::decoder<backend>& model) {
    grove::grpo_options options;
    options.prompts_per_step = responses / 8;
    options.group_size = 8;
    options.mini_batches = updates;
    options.generation.max_new_tokens = 8;
    return grove::grpo_trainer(model, grove::rl::grpo{.kl_coefficient = 0}, options,
                               grove::constant_schedule{3e-3});
}

}  // namespace

int main() {
    std::vector<curve> const curves{
        run("GRPO", grpo, final_reward{}),
        run("PPO, shared trunk", ppo(grove::critic_body::shared), final_reward{}),
        run("PPO, own critic", ppo(grove::critic_body::separate), final_reward{}),
        run("PPO, reward per token", ppo(grove::critic_body::separate), dense_reward{})};
    grove::table results({"method", "first", "step 20", "step 40", "last 5", "seconds"});
    bool all = true;
    for (auto const& [name, reward, seconds] : curves) {
        double last = 0;
        for (auto it = reward.end() - 5; it != reward.end(); ++it) last += *it / 5;
        results.row({name, reward.front(), reward[19], reward[39], last, seconds});
        all = all && last > 3 * reward.front();
    }
    std::cout << '\n' << results.text();
    return all ? 0 : 1;
}
