// SPDX-License-Identifier: Apache-2.0
/// @file
/// A decoder as a policy: log-probabilities of responses, and gradients for them.
#pragma once

#include "grove/nn/decoder.hpp"
#include "grove/ops/lm_head.hpp"
#include "grove/rl/differentiable.hpp"

namespace grove::inline GROVE_ISA {

/// A prompt and what was written after it.
struct response {
    std::vector<std::int32_t> prompt;
    std::vector<std::int32_t> tokens;
    kept_tokens kept{};  ///< what truncated sampling kept, token by token
    /// Experts to replay, of all tokens but the last; none: the model chooses.
    chosen_experts experts{};
};

/// Responses packed for one pass: every response token is predicted from the row before it.
struct language_batch {
    packed_tokens inputs;               ///< prompts and responses without their last token
    std::vector<std::int32_t> rows;     ///< [tokens], input row that predicts each response token
    std::vector<std::int32_t> targets;  ///< [tokens], the response tokens
    kept_tokens kept;                   ///< per response token, or empty
    chosen_experts experts;             ///< to replay, per input token, or empty
    std::vector<index_t> offsets{0};    ///< [responses + 1] into the response tokens
    double auxiliary_weight = 1.0;      ///< share of the optimizer step that this batch is

    index_t tokens() const { return static_cast<index_t>(targets.size()); }

    /// Packs responses; throws value_error for an empty prompt or response.
    template <class Range>
    static language_batch of(Range const& responses) {
        language_batch batch;
        for (response const& r : responses) batch.add(r);
        return batch;
    }
    void add(response const& r) {
        require<value_error>(!r.prompt.empty() && !r.tokens.empty(), "language_batch",
                             "expected a prompt and a response of at least one token each, got ",
                             r.prompt.size(), " and ", r.tokens.size());
        require<value_error>(rows.empty() || kept.all() == r.kept.all(), "language_batch",
                             "expected kept tokens for all responses or for none, got both");
        require<value_error>(rows.empty() || experts.size() == r.experts.size(), "language_batch",
                             "expected recorded experts of ", experts.size(), " layers, got ",
                             r.experts.size());
        experts.resize(r.experts.size());
        for (std::size_t layer = 0; layer < experts.size(); ++layer)
            experts[layer].insert(experts[layer].end(), r.experts[layer].begin(),
                                  r.experts[layer].end());
        std::int32_t const first = static_cast<std::int32_t>(inputs.tokens.size());
        auto const length = static_cast<std::int32_t>(r.prompt.size() + r.tokens.size() - 1);
        inputs.layout.add(length, first, length);
        inputs.tokens.insert(inputs.tokens.end(), r.prompt.begin(), r.prompt.end());
        inputs.tokens.insert(inputs.tokens.end(), r.tokens.begin(), r.tokens.end() - 1);
        for (std::int32_t i = 0; i < length; ++i) inputs.positions.push_back(i);
        auto const prompt = static_cast<std::int32_t>(r.prompt.size());
        for (std::int32_t i = prompt - 1; i < length; ++i) rows.push_back(first + i);
        targets.insert(targets.end(), r.tokens.begin(), r.tokens.end());
        offsets.push_back(tokens());
        if (r.kept.all()) return;
        if (kept.all()) kept.offsets = {0};
        auto const base = kept.offsets.back();
        for (std::size_t i = 1; i < r.kept.offsets.size(); ++i)
            kept.offsets.push_back(base + r.kept.offsets[i]);
        kept.tokens.insert(kept.tokens.end(), r.kept.tokens.begin(), r.kept.tokens.end());
    }
};

/// Tokens that each expert got, per mixture-of-experts layer.
using expert_loads = std::vector<std::vector<double>>;

/// forward(on, language_batch) of a decoder: log-probability and entropy of every response token at
/// the temperature it was sampled with. Called with the backend it acts; with a tape it learns.
template <class B, class T>
class language_forward {
public:
    /// `balance` weights DeepSeek-V3's sequence-wise balance loss; 0 leaves it out. Loads of
    /// learning passes are added to `loads`, where given. Learning passes take `options` as they
    /// are; a batch's recorded experts are replayed by all.
    language_forward(decoder<B, T> const& model, double temperature = 1.0, double balance = 0.0,
                     expert_loads* loads = nullptr, pass_options options = {})
        : model_(&model),
          temperature_(temperature),
          balance_(balance),
          loads_(loads),
          options_(options) {}

    template <class On>
    rl::policy_tensors<On, T> operator()(On& on, language_batch const& batch) const;

private:
    template <class Routings>
    void count(Routings const& routings) const {
        loads_->resize(routings.size());
        for (std::size_t layer = 0; layer < routings.size(); ++layer) {
            auto const offsets = to_host(routings[layer].offsets);
            auto& loads = (*loads_)[layer];
            loads.resize(offsets.size() - 1);
            for (std::size_t e = 0; e < loads.size(); ++e) loads[e] += offsets[e + 1] - offsets[e];
        }
    }

    decoder<B, T> const* model_;
    double temperature_;
    double balance_;
    expert_loads* loads_;
    pass_options options_;
};

/// Applies update_expert_bias to every router of a model, and clears the loads.
template <class B, class T>
void balance_experts(decoder<B, T>& model, expert_loads& loads, double rate) {
    std::size_t layer = 0;
    model.visit_routers([&](auto& router) {
        if (layer < loads.size() && rate > 0) update_expert_bias(router, loads[layer], rate);
        ++layer;
    });
    loads.clear();
}

/// Cuts consecutive responses into batches of at most `tokens` input tokens (at least one response
/// each): first indices, with the total behind them.
template <class Range>
std::vector<std::size_t> micro_batches(Range const& responses, index_t tokens) {
    std::vector<std::size_t> cuts{0};
    index_t sum = 0;
    for (std::size_t i = 0; i < responses.size(); ++i) {
        response const& r = responses[i];
        auto const n = static_cast<index_t>(r.prompt.size() + r.tokens.size());
        if (sum > 0 && sum + n > tokens) {
            cuts.push_back(i);
            sum = 0;
        }
        sum += n;
    }
    cuts.push_back(responses.size());
    return cuts;
}

template <class B, class T>
template <class On>
rl::policy_tensors<On, T> language_forward<B, T>::operator()(On& on,
                                                             language_batch const& batch) const {
    constexpr bool learning = is_autodiff<On>;
    bool const balanced = learning && balance_ > 0;
    fresh_keys keys{batch.inputs.layout};
    pass_options options = options_;
    options.balance = balanced;
    if (!batch.experts.empty()) options.replay = &batch.experts;
    auto output = model_->forward(on, batch.inputs, keys, options);
    auto const hidden = gather_rows(output.hidden, indices_from(on, batch.rows));
    auto const* model = model_;
    auto y = lm_head(hidden, [model](auto const& x) { return model->logits(x); }, batch.targets,
                     {static_cast<T>(temperature_), batch.kept});
    rl::policy_tensors<On, T> result{y[0], y[1]};
    if (balanced) {
        T const weight = static_cast<T>(balance_ * batch.auxiliary_weight);
        for (auto const& routing : output.routings) {
            auto const loss = affine(routing.balance, weight);
            result.auxiliary = result.auxiliary.empty() ? loss : result.auxiliary + loss;
        }
    }
    if (learning && loads_ != nullptr) count(output.routings);
    return result;
}

}  // namespace grove::inline GROVE_ISA
