// SPDX-License-Identifier: Apache-2.0
/// @file
/// An actor and its critic, as networks of their own or on a shared trunk.
#pragma once

#include "grove/nn/mlp.hpp"
#include "grove/nn/policy_head.hpp"
#include "grove/rl/differentiable.hpp"

namespace grove::inline GROVE_ISA {

/// What was seen, and what was done there.
template <class T, class Action>
struct decisions {
    std::vector<T> observations;  ///< [rows, observation_size]
    std::vector<Action> actions;  ///< [rows, action width]
};

/// Sizes of an actor and its critic.
struct actor_critic_config {
    index_t observation_size = 0;
    index_t outputs = 0;  ///< actions to choose from, or numbers of one action
    std::vector<index_t> hidden{64, 64};
    bool shared_trunk = false;   ///< one stack of hidden layers for both
    double log_deviation = 0.0;  ///< initial log σ of a gaussian_head
    double gain = 1.0;           ///< of the hidden layers; √2 suits relu
    double policy_gain = 0.01;   ///< of the actor's last layer
};

/// Models `forward(on, decisions)` of rl::differentiable: log-probability, entropy and value.
template <class B, class T, class Head, class Activation = law::tanh>
class actor_critic {
public:
    using backend_type = B;
    using head_type = Head;
    using decisions_type = decisions<T, typename Head::action>;

    /// Throws configuration_error for sizes that are not positive.
    actor_critic(B& backend, actor_critic_config config, std::uint64_t seed)
        : actor_critic(parameter_maker<B, T>(backend, seed), std::move(config)) {}

    B& backend() const { return *backend_; }
    actor_critic_config const& config() const { return config_; }
    Head const& head() const { return head_; }

    /// What the head reads: [rows, outputs].
    template <class X>
    X policy(X const& observations) const {
        return actor_(trunk_(observations));
    }
    /// Expected return from here: [rows].
    template <class X>
    X value(X const& observations) const {
        return critic_(trunk_(observations)).reshape({observations.rows()});
    }
    template <class On>
    rl::policy_tensors<On, T> operator()(On& on, decisions_type const& batch) const {
        index_t const width = config_.observation_size;
        index_t const rows = std::ssize(batch.observations) / width;
        auto const x = trunk_(from_host(on, {rows, width}, batch.observations));
        auto const [log_probability, entropy] =
            head_.statistics(actor_(x), std::span(batch.actions));
        return {log_probability, entropy, {}, critic_(x).reshape({rows})};
    }
    template <class Visit>
    void visit(Visit&& f) {
        trunk_.visit(f);
        actor_.visit(f);
        head_.visit(f);
        critic_.visit(f);
    }

private:
    using network = mlp<B, T, Activation>;

    actor_critic(parameter_maker<B, T> make, actor_critic_config config)
        : backend_(&make.backend()),
          config_(std::move(config)),
          head_(Head::make(make, config_.outputs, config_.log_deviation)) {
        std::vector<index_t> trunk{config_.observation_size}, branch{config_.observation_size};
        auto& hidden = config_.shared_trunk ? trunk : branch;
        hidden.insert(hidden.end(), config_.hidden.begin(), config_.hidden.end());
        if (config_.shared_trunk) branch = {trunk.back()};
        trunk_ = network::make(make, "trunk", trunk, config_.gain, config_.gain);
        trunk_.activated = true;
        branch.push_back(config_.outputs);
        actor_ = network::make(make, "actor", branch, config_.policy_gain, config_.gain);
        branch.back() = 1;
        critic_ = network::make(make, "critic", branch, 1.0, config_.gain);
    }

    B* backend_;
    actor_critic_config config_;
    Head head_;
    network trunk_, actor_, critic_;
};

}  // namespace grove::inline GROVE_ISA
