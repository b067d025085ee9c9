// SPDX-License-Identifier: Apache-2.0
// A reward and a surrogate of your own, ten lines each; everything else is grove's.
#include <iostream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/optim/schedule.hpp"
#include "grove/rl/preset.hpp"
#include "grove/train/grpo_trainer.hpp"

// Rewards the share of sevens in the completion.
struct likes_sevens {
    std::optional<float> operator()(std::string_view, std::string_view text,
                                    std::string_view) const {
        if (text.empty()) return 0.0f;
        return static_cast<float>(std::ranges::count(text, '7')) / static_cast<float>(text.size());
    }
};

// A surrogate without a kink: A · tanh(ratio − 1). Its gradient comes from dual numbers.
struct soft_surrogate {
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return advantage * grove::math::tanh(ratio - Number(1));
    }
};

int main() {
    grove::eigen_backend backend;
    grove::symbol_tokenizer const tokens("0123456789");
    grove::decoder<grove::eigen_backend> model(
        backend,
        {.vocab_size = tokens.vocabulary_size(), .hidden_size = 32, .num_hidden_layers = 2}, 1);
    grove::rl::objective<grove::rl::group_normalized, grove::rl::token_ratio, soft_surrogate,
                         grove::rl::no_kl, grove::rl::token_mean> const objective;
    grove::grpo_options options;
    options.generation.max_new_tokens = 8;
    grove::grpo_trainer trainer(model, objective, options, grove::constant_schedule{1e-2});
    auto const prompts = [](grove::index_t) { return grove::rollout_problem{"<begin>", ""}; };
    double reward = 0;
    trainer.run(30, prompts, tokens, likes_sevens{}, [&](grove::grpo_report const& report) {
        reward = report.metrics.values.front().value;
        if (report.step % 10 == 9)
            std::cout << "step " << report.step + 1 << " reward " << reward << '\n';
    });
    return reward > 0.9 ? 0 : 1;
}
