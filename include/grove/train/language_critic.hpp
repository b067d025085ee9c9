// SPDX-License-Identifier: Apache-2.0
/// @file
/// A critic for a decoder: a number for every state, from its own hidden states or from another
/// decoder's.
#pragma once

#include <memory>

#include "grove/nn/decoder.hpp"

namespace grove::inline GROVE_ISA {

/// Where a critic gets its hidden states: from the policy, which then learns for both, or from a
/// decoder of its own that starts as a copy.
enum class critic_body { shared, separate };

/// value = head(hidden state); the head starts at 0.
template <class B, class T>
class language_critic {
public:
    language_critic(decoder<B, T>& policy, critic_body body) : head_(make_head(policy)) {
        if (body == critic_body::shared) return;
        body_ = std::make_unique<decoder<B, T>>(policy.backend(), policy.config(), 0);
        body_->copy_from(policy);
    }

    linear<B, T> const& head() const { return head_; }
    /// Its own decoder, or null: it reads the policy's states.
    decoder<B, T> const* body() const { return body_.get(); }

    template <class Visit>
    void visit(Visit&& f) {
        head_.visit(f);
        if (body_) body_->visit(f);
    }
    template <class Visit>
    void visit_routers(Visit&& f) {
        if (body_) body_->visit_routers(f);
    }

private:
    static linear<B, T> make_head(decoder<B, T> const& policy) {
        parameter_maker<B, T> zeros(policy.backend());
        return linear<B, T>::make(zeros, "value_head", policy.config().hidden_size, 1, 0.0, true);
    }

    linear<B, T> head_;
    std::unique_ptr<decoder<B, T>> body_;
};

}  // namespace grove::inline GROVE_ISA
