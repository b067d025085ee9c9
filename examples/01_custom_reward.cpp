// SPDX-License-Identifier: Apache-2.0
// A reward and a surrogate of your own; everything else is grove's.
#include <iostream>

#include "grove/grove.hpp"

struct likes_sevens {  // the share of sevens in the completion
    std::optional<float> operator()(std::string_view, std::string_view text,
                                    std::string_view) const {
        return text.empty() ? 0.0f : std::ranges::count(text, '7') / float(text.size());
    }
};
struct soft_surrogate {  // A · tanh(ratio − 1): no kink, and its gradient comes for free
    template <class Number>
    GROVE_HD Number operator()(Number ratio, Number advantage) const {
        return advantage * grove::math::tanh(ratio - Number(1));
    }
};

int main() {
    namespace rl = grove::rl;
    grove::eigen_backend backend;
    grove::symbol_tokenizer const tokens("0123456789");
    grove::decoder<grove::eigen_backend> model(
        backend, {.vocab_size = tokens.vocabulary_size(), .hidden_size = 32}, /*seed*/ 1);
    rl::objective<rl::group_normalized, rl::token_ratio, soft_surrogate, rl::no_kl,
                  rl::token_mean> const objective;
    grove::grpo_options options;
    options.generation.max_new_tokens = 8;
    grove::grpo_trainer trainer(model, objective, options, grove::constant_schedule{1e-2});
    auto const prompt = [](grove::index_t) { return grove::rollout_problem{"<begin>", ""}; };
    double reward = 0;
    trainer.run(30, prompt, tokens, likes_sevens{}, [&](grove::grpo_report const& report) {
        reward = report.metrics.values.front().value;
        if (report.step % 10 == 9) std::cout << report.step + 1 << ": " << reward << '\n';
    });
    return reward > 0.9 ? 0 : 1;
}
