// SPDX-License-Identifier: Apache-2.0
/// @file
/// Supervised fine-tuning: maximum likelihood of given responses.
#pragma once

#include "grove/core/trace.hpp"
#include "grove/optim/adamw.hpp"
#include "grove/train/language_policy.hpp"

namespace grove::inline GROVE_ISA {

/// Settings that both trainers share.
struct learning_options {
    adamw_options optimizer;
    double balance = 0.0;                ///< weight of the sequence-wise balance loss
    double expert_bias_rate = 0.0;       ///< step of the auxiliary-loss-free balancing
    index_t micro_batch_tokens = 16384;  ///< input tokens of one pass
    pass_options pass{};                 ///< recompute, expand_latents: of learning passes
};

/// What one supervised step measured.
struct supervised_report {
    double loss = 0;  ///< mean −log p over the response tokens, in nats
    double gradient_norm = 0;
    index_t tokens = 0;
};

/// Trains a decoder on responses: loss = −mean log p(token), prompts are not learned.
template <class B, class T>
class supervised_trainer {
public:
    supervised_trainer(decoder<B, T>& model, learning_options options)
        : model_(&model), options_(options), optimizer_(options.optimizer) {}

    adamw<B, T>& optimizer() { return optimizer_; }

    /// One optimizer step over all `responses` at this learning rate.
    supervised_report step(std::vector<response> const& responses, double rate);

private:
    decoder<B, T>* model_;
    learning_options options_;
    adamw<B, T> optimizer_;
    expert_loads loads_;
};

template <class B, class T>
supervised_report supervised_trainer<B, T>::step(std::vector<response> const& responses,
                                                 double rate) {
    trace_range const range("grove: supervised step");
    require<value_error>(!responses.empty(), "supervised_trainer",
                         "expected at least one response, got none");
    supervised_report report;
    for (auto const& r : responses) report.tokens += static_cast<index_t>(r.tokens.size());
    auto policy = rl::differentiable<T>(
        model_->backend(),
        language_forward<B, T>(*model_, 1.0, options_.balance, &loads_, options_.pass));
    auto const cuts = micro_batches(responses, options_.micro_batch_tokens);
    for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
        auto batch =
            language_batch::of(std::span(responses).subspan(cuts[c], cuts[c + 1] - cuts[c]));
        batch.auxiliary_weight =
            static_cast<double>(cuts[c + 1] - cuts[c]) / static_cast<double>(responses.size());
        auto const now = policy.evaluate(batch, rl::statistics_request{});
        for (T lp : now.log_probability) report.loss -= static_cast<double>(lp);
        policy.backward(
            {std::vector<T>(now.log_probability.size(), T(-1) / static_cast<T>(report.tokens)),
             {},
             {}});
    }
    report.loss /= static_cast<double>(report.tokens);
    report.gradient_norm = optimizer_.step(*model_, rate);
    balance_experts(*model_, loads_, options_.expert_bias_rate);
    return report;
}

}  // namespace grove::inline GROVE_ISA
