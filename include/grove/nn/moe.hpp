// SPDX-License-Identifier: Apache-2.0
/// @file
/// DeepSeek-V3's mixture of experts (arXiv 2412.19437, section 2.1.2).
#pragma once

#include <limits>
#include <numeric>
#include <optional>

#include "grove/nn/layers.hpp"
#include "grove/ops/expert_rows.hpp"
#include "grove/ops/reduce.hpp"
#include "grove/ops/softmax.hpp"

namespace grove::inline GROVE_ISA {

/// Experts that each mixture-of-experts layer chose: per layer [tokens · num_experts_per_tok], best
/// first.
using chosen_experts = std::vector<std::vector<std::int32_t>>;

/// What a router decided in one layer. Returned, never counted inside: a recomputed pass must not
/// count twice.
template <class B, class T>
struct routing {
    index_tensor<B> experts;  ///< [tokens, num_experts_per_tok], best first
    index_tensor<B>
        offsets;  ///< [n_routed_experts + 1]: expert e got offsets[e+1] − offsets[e] tokens
    tensor<B, T> balance;  ///< [1], sequence-wise balance loss; empty unless asked for
};

/// Affinities sᵢ = sigmoid(x · gateᵢ), or softmax over the experts; the bias takes part in choosing
/// only.
template <class B, class T>
struct expert_router {
    parameter<B, T> gate;                ///< [hidden, n_routed_experts]
    tensor<B, T> score_correction_bias;  ///< [n_routed_experts], moved by update_expert_bias, not
                                         ///< by gradients
    index_t top, groups, top_groups;
    bool normalize;
    T scale;
    scoring_function scoring = scoring_function::sigmoid;

    /// x [tokens, hidden] → affinities [tokens, experts].
    template <class X>
    X scores(X const& x) const {
        auto const logits =
            matmul(x, lift(x.backend(), gate), transpose::no, transpose::no, results::decisions);
        return scoring == scoring_function::softmax ? softmax(logits) : sigmoid(logits);
    }
    index_t experts() const { return gate.value.columns(); }

    /// Columns of the chosen experts [tokens, top], best first. With groups, only the experts of
    /// the top_groups groups with the largest sums of their two best scores compete; the others are
    /// −∞.
    template <class X>
    auto choose(X const& scores) const {
        auto choice = map(law::add{}, scores, constant(scores.backend(), score_correction_bias));
        if (groups > 1) {
            index_t const tokens = choice.rows(), width = experts() / groups;
            auto const grouped = choice.reshape({tokens * groups, width});
            auto const group_scores =
                sum_columns(take_columns(grouped, top_k(grouped, 2))).reshape({tokens, groups});
            auto const chosen = flat_index(top_k(group_scores, top_groups), groups);
            auto const ones = full(scores.backend(), {chosen.size(), 1}, T(1));
            auto const open = scatter_add_rows(ones, chosen, tokens * groups);
            choice = map(law::keep_where<T>{-std::numeric_limits<T>::infinity()}, grouped, open)
                         .reshape({tokens, experts()});
        }
        return top_k(choice, top);
    }
    /// The chosen experts' affinities [tokens, top], summing to 1 where `normalize`, times `scale`.
    template <class X, class Index>
    X weights(X const& scores, Index const& chosen) const {
        X w = take_columns(scores, chosen);
        if (normalize) w = w / affine(sum_columns(w), T(1), T(1e-20));
        return affine(w, scale);
    }
    template <class Visit>
    void visit(Visit&& f) {
        f(gate);
    }
};

/// Σ over sequences of Σᵢ fᵢ Pᵢ, divided by the number of sequences (equations 17–20): fᵢ is expert
/// i's share of the choices × experts, Pᵢ its mean normalised affinity. scores [tokens, experts].
template <class B, class T>
tensor<B, T> sequence_balance(tensor<B, T> const& scores, index_tensor<B> const& experts,
                              std::vector<std::int32_t> const& offsets) {
    B& b = scores.backend();
    index_t const count = scores.columns(), tokens = scores.rows(), top = experts.columns();
    auto const sequences = static_cast<index_t>(offsets.size()) - 1;
    std::vector<T> inverse(static_cast<std::size_t>(sequences), T(0));
    for (std::size_t s = 0; s < inverse.size(); ++s) {
        auto const n = static_cast<double>(offsets[s + 1] - offsets[s]);
        if (n > 0)
            inverse[s] = static_cast<T>(static_cast<double>(count) /
                                        (static_cast<double>(top * sequences) * n * n));
    }
    auto const bounds = indices_from(b, offsets);
    auto const ones = full(b, {experts.size(), 1}, T(1));
    auto const chosen = scatter_add_rows(ones, flat_index(experts, count), tokens * count);
    auto const f = sum_segments(chosen.reshape({tokens, count}), bounds);
    auto const p = sum_segments(scores / sum_columns(scores), bounds);
    return sum(f * p * from_host(b, {sequences, 1}, inverse));
}

/// Shared experts plus the routed ones: gate_up [experts, hidden, 2 · width], down [experts, width,
/// hidden].
template <class B, class T>
struct mixture_of_experts {
    expert_router<B, T> router;
    parameter<B, T> gate_up, down;
    std::optional<swiglu_block<B, T>> shared;

    static mixture_of_experts make(parameter_maker<B, T>& make, std::string const& prefix,
                                   decoder_config const& c, double output_deviation) {
        index_t const e = c.n_routed_experts, h = c.hidden_size, w = c.moe_intermediate_size;
        double const d = c.initializer_range;
        mixture_of_experts m{
            {make.normal(prefix + "gate.weight", {h, e}, d), zeros<T>(make.backend(), {e}),
             c.num_experts_per_tok, c.n_group, c.topk_group, c.norm_topk_prob,
             static_cast<T>(c.routed_scaling_factor), c.scoring_func},
            make.normal(prefix + "experts.gate_up_proj", {e, h, 2 * w}, d),
            make.normal(prefix + "experts.down_proj", {e, w, h}, output_deviation),
            {}};
        if (c.n_shared_experts > 0)
            m.shared = swiglu_block<B, T>::make(make, prefix + "shared_experts.", h,
                                                w * c.n_shared_experts, d, output_deviation);
        return m;
    }

    /// x [tokens, hidden] → [tokens, hidden]. `sequences` are the offsets of the sequences for the
    /// balance loss, or null where it is not wanted; `replay` the experts [tokens · top] that an
    /// earlier pass chose, or null to choose now. A token's result depends on that token alone.
    /// Throws shape_error for a replay of other tokens, value_error for experts that do not exist.
    template <class On>
    std::pair<tensor<On, T>, routing<On, T>> operator()(
        tensor<On, T> const& x, std::vector<std::int32_t> const* sequences,
        std::vector<std::int32_t> const* replay = nullptr) const {
        On& on = x.backend();
        index_t const tokens = x.rows(), slots = tokens * router.top;
        auto const scores = router.scores(x);
        require<shape_error>(replay == nullptr || static_cast<index_t>(replay->size()) == slots,
                             "mixture_of_experts", "expected ", slots, " recorded experts, got ",
                             replay == nullptr ? 0 : replay->size());
        auto const experts = replay == nullptr
                                 ? router.choose(detach(scores))
                                 : indices_from(on, *replay).reshape({tokens, router.top});
        auto const weights = router.weights(scores, experts);

        auto const order = order_by_expert<On, T>(experts, router.experts());
        auto const inner =
            swiglu(grouped_matmul(spread_rows(x, order), lift(on, gate_up), order.offsets));
        auto out =
            combine_rows(grouped_matmul(inner, lift(on, down), order.offsets), order, weights);
        if (shared) out = out + (*shared)(x);

        routing<On, T> record{experts, order.offsets, {}};
        if (sequences != nullptr) record.balance = sequence_balance(scores, experts, *sequences);
        return {out, record};
    }
    template <class Visit>
    void visit(Visit&& f) {
        router.visit(f);
        f(gate_up);
        f(down);
        if (shared) shared->visit(f);
    }
};

/// Auxiliary-loss-free balancing (Wang et al. 2024): bias += rate · sign(mean load − load), where
/// `loads` are the tokens that each expert got since the last update.
template <class B, class T>
void update_expert_bias(expert_router<B, T>& router, std::vector<double> const& loads,
                        double rate) {
    require<shape_error>(static_cast<index_t>(loads.size()) == router.experts(),
                         "update_expert_bias", "expected ", router.experts(), " loads, got ",
                         loads.size());
    // Divided once, so that equal counts are exactly their mean.
    double const mean =
        std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(loads.size());
    auto bias = to_host(router.score_correction_bias);
    for (std::size_t e = 0; e < bias.size(); ++e)
        bias[e] += static_cast<T>(rate * ((loads[e] < mean) - (loads[e] > mean)));
    router.score_correction_bias =
        from_host(router.score_correction_bias.backend(), {router.experts()}, bias);
}

}  // namespace grove::inline GROVE_ISA
