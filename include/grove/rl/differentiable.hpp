// SPDX-License-Identifier: Apache-2.0
/// @file
/// A policy from any function of tensors.
#pragma once

#include <memory>
#include <optional>

#include "grove/autodiff/checkpoint.hpp"
#include "grove/ops/create.hpp"
#include "grove/rl/policy.hpp"

namespace grove::inline GROVE_ISA::rl {

/// What a forward function gives for the tokens that count, on whatever backend it was called with.
template <class B, class T>
struct policy_tensors {
    tensor<B, T> log_probability;  ///< [tokens]
    tensor<B, T> entropy{};        ///< [tokens], or empty
    tensor<B, T> auxiliary{};      ///< [1], a loss of the model's own (balance), or empty
    tensor<B, T> value{};          ///< [tokens], of a critic, or empty
    tensor<B, T> kl{};             ///< [tokens], from a reference over the vocabulary, or empty
};

/// Models `policy` by recording `forward(tape, input)` and running the tape back.
template <class B, class T, class Forward>
class differentiable_policy {
public:
    differentiable_policy(B& backend, Forward forward)
        : backend_(&backend), forward_(std::move(forward)) {}

    template <class Input>
    token_statistics<T> evaluate(Input const& input, statistics_request request) {
        result_ = {};
        tape_ = std::make_unique<autodiff<B>>(*backend_);
        result_ = forward_(*tape_, input);
        auto const read = [](char const* name, auto const& x, bool wanted) {
            require<configuration_error>(!wanted || !x.empty(), "differentiable_policy",
                                         "expected a forward function that gives ", name,
                                         ", got none");
            return x.empty() ? std::vector<T>() : to_host(x);
        };
        return {to_host(result_.log_probability),
                read("an entropy", result_.entropy, request.entropy),
                read("a value", result_.value, request.value),
                read("a divergence over the vocabulary", result_.kl, request.kl)};
    }
    void backward(token_statistics<T> const& gradient);

private:
    void seed(tensor<autodiff<B>, T> const& y, std::vector<T> const& gradient) {
        if (gradient.empty()) return;
        require<shape_error>(!y.empty() && static_cast<index_t>(gradient.size()) == y.size(),
                             "differentiable_policy", "expected ", y.empty() ? 0 : y.size(),
                             " gradients, got ", gradient.size());
        tape_->accumulate(y.buffer(), backend_->upload(std::span<T const>(gradient)));
    }

    B* backend_;
    Forward forward_;
    std::unique_ptr<autodiff<B>> tape_;
    policy_tensors<autodiff<B>, T> result_;
};

/// A policy from `forward(on, input)`, which returns policy_tensors on the backend `on` it is given
/// and gets its weights there by `lift`: acting calls it with the backend, learning with a tape
/// over it.
template <class T = float, class B, class Forward>
differentiable_policy<B, T, Forward> differentiable(B& backend, Forward forward) {
    return {backend, std::move(forward)};
}

template <class B, class T, class Forward>
void differentiable_policy<B, T, Forward>::backward(token_statistics<T> const& gradient) {
    require<value_error>(tape_ != nullptr, "differentiable_policy",
                         "expected evaluate before backward, got neither input nor tape");
    require<configuration_error>(gradient.value.empty() || !result_.value.empty(),
                                 "differentiable_policy", "expected no gradient by values, got ",
                                 gradient.value.size(), ": the forward function gives none");
    seed(result_.log_probability, gradient.log_probability);
    seed(result_.entropy, gradient.entropy);
    seed(result_.value, gradient.value);
    seed(result_.kl, gradient.kl);
    if (!result_.auxiliary.empty()) seed(result_.auxiliary, std::vector<T>{T(1)});
    tape_->tape().run();
    result_ = {};
    tape_.reset();
}

}  // namespace grove::inline GROVE_ISA::rl
