// SPDX-License-Identifier: Apache-2.0
/// @file
/// A decoder as a policy: log-probabilities of responses, and gradients for them.
#pragma once

#include "grove/distill/divergence.hpp"
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
    /// Of states [input rows, hidden] those before the response tokens, which ascend; `index` is
    /// `rows` on the backend.
    template <class X, class Index>
    X states_before(X const& states, Index const& index) const {
        return rows.size() == inputs.tokens.size() ? states : gather_rows(states, index);
    }

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

/// Adds what a pass has routed.
template <class Routings>
void add_loads(expert_loads& all, Routings const& routings) {
    all.resize(routings.size());
    for (std::size_t layer = 0; layer < routings.size(); ++layer) {
        auto const offsets = to_host(routings[layer].offsets);
        auto& loads = all[layer];
        loads.resize(offsets.size() - 1);
        for (std::size_t e = 0; e < loads.size(); ++e) loads[e] += offsets[e + 1] - offsets[e];
    }
}
/// The balance losses that a pass has kept, times `weight`; empty where it has none.
template <class Routings>
auto balance_loss(Routings const& routings, double weight) {
    using tensor_type = decltype(routings.front().balance);
    using T = typename tensor_type::value_type;
    tensor_type sum;
    for (auto const& routing : routings) {
        auto const loss = affine(routing.balance, static_cast<T>(weight));
        sum = sum.empty() ? loss : sum + loss;
    }
    return sum;
}

/// forward(on, language_batch) of a decoder: log-probability and entropy of every response token at
/// the temperature it was sampled with, and its value where there is a critic. Called with the
/// backend it acts; with a tape it learns.
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

    /// Gives values as well: `head` [hidden, 1] of the state before each response token, of this
    /// decoder or of one that is the critic's own.
    language_forward& with_values(linear<B, T> const& head, decoder<B, T> const* critic = nullptr) {
        value_head_ = &head;
        critic_ = critic;
        return *this;
    }
    /// Gives KL(π ‖ π_ref) over the vocabulary as well, both at the temperature. The reference does
    /// not learn, and chooses its own experts.
    language_forward& with_reference(decoder<B, T> const& reference) {
        reference_ = &reference;
        return *this;
    }
    template <class On>
    rl::policy_tensors<On, T> operator()(On& on, language_batch const& batch) const;

private:
    /// Log-probability, entropy and, with a reference, the divergence from it.
    template <class On>
    rl::policy_tensors<On, T> statistics(language_batch const& batch,
                                         tensor<On, T> const& hidden) const {
        auto const logits_of = [](decoder<B, T> const* model) {
            return [model](auto const& x) { return model->logits(x); };
        };
        head_options<T> const options{static_cast<T>(temperature_), batch.kept};
        if (reference_ == nullptr) {
            auto y = lm_head(hidden, logits_of(model_), batch.targets, options);
            return {y[0], y[1]};
        }
        B& b = model_->backend();
        fresh_keys keys{batch.inputs.layout};
        auto const states = reference_->forward(b, batch.inputs, keys).hidden;
        head_teacher const teacher{batch.states_before(states, indices_from(b, batch.rows)),
                                   logits_of(reference_)};
        auto y = lm_head(hidden, logits_of(model_), batch.targets, teacher, distill::reverse_kl{},
                         options);
        return {.log_probability = y[0], .entropy = y[1], .kl = y[2]};
    }
    /// Values from the decoder's states, or from the critic's.
    template <class On>
    tensor<On, T> values(On& on, language_batch const& batch, index_tensor<On> const& rows,
                         tensor<On, T> hidden) const {
        if (critic_ != nullptr) {
            fresh_keys keys{batch.inputs.layout};
            hidden = batch.states_before(critic_->forward(on, batch.inputs, keys, options_).hidden,
                                         rows);
        }
        return (*value_head_)(hidden, results::decisions).reshape({batch.tokens()});
    }

    decoder<B, T> const* model_;
    double temperature_;
    double balance_;
    expert_loads* loads_;
    pass_options options_;
    linear<B, T> const* value_head_ = nullptr;
    decoder<B, T> const* critic_ = nullptr;  // none: the model
    decoder<B, T> const* reference_ = nullptr;
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
    auto const rows = indices_from(on, batch.rows);
    auto const hidden = batch.states_before(output.hidden, rows);
    rl::policy_tensors<On, T> result = statistics(batch, hidden);
    if (balanced)
        result.auxiliary = balance_loss(output.routings, balance_ * batch.auxiliary_weight);
    if (learning && loads_ != nullptr) add_loads(*loads_, output.routings);
    if (value_head_ != nullptr) result.value = values(on, batch, rows, hidden);
    return result;
}

}  // namespace grove::inline GROVE_ISA
