// SPDX-License-Identifier: Apache-2.0
/// @file
/// The reference decoder: one definition that acts on a backend and learns on a tape over it.
#pragma once

#include <cmath>
#include <string_view>

#include "grove/nn/attention.hpp"
#include "grove/nn/moe.hpp"

namespace grove::inline GROVE_ISA {

/// What a pass computes.
template <class B, class T>
struct decoder_output {
    tensor<B, T> hidden;                  ///< [tokens, hidden_size], after the last norm
    std::vector<routing<B, T>> routings;  ///< one for each mixture-of-experts layer
};

/// Pre-norm transformer block: x + attention(norm x), then x + mlp(norm x) or x + experts(norm x).
template <class B, class T>
struct decoder_block {
    norm<B, T> input_layernorm, post_attention_layernorm;
    self_attention<B, T> self_attn;
    std::optional<swiglu_block<B, T>> mlp;
    std::optional<mixture_of_experts<B, T>> moe;

    template <class Visit>
    void visit(Visit&& f) {
        input_layernorm.visit(f);
        self_attn.visit(f);
        post_attention_layernorm.visit(f);
        if (mlp) mlp->visit(f);
        if (moe) moe->visit(f);
    }
};

/// A decoder-only transformer on backend `B` with weights of type `T`.
/// @code
/// grove::decoder<grove::eigen_backend> model(backend, {.vocab_size = 23, .hidden_size = 96},
/// seed); auto batch = grove::packed_tokens::of({{0, 4, 7}, {0, 5}}); grove::fresh_keys
/// keys{batch.layout}; auto hidden = model.forward(backend, batch, keys).hidden;   // [5, 96]
/// @endcode
template <class B, class T = float>
class decoder {
public:
    using backend_type = B;
    using value_type = T;

    /// Weights drawn from `seed`: normal with initializer_range, output projections scaled down by
    /// √(2 · layers). Throws configuration_error for contradictory extents.
    decoder(B& backend, decoder_config const& config, std::uint64_t seed)
        : backend_(&backend), config_(config) {
        config.validate();
        parameter_maker<B, T> make(backend, seed);
        double const d = config.initializer_range;
        double const out = d / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
        embed_tokens_ = {
            make.normal("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, d)};
        for (index_t i = 0; i < config.num_hidden_layers; ++i)
            layers_.push_back(make_block(make, i, out));
        norm_ = make_norm(make, "model.norm.weight");
        if (!config.tie_word_embeddings)
            lm_head_ = make.normal("lm_head.weight", {config.hidden_size, config.vocab_size}, d);
        table_ = rope_table<T>(backend, config.max_position_embeddings, config.head_width(),
                               config.rope_theta);
    }
    decoder(decoder const&) = delete;
    decoder& operator=(decoder const&) = delete;

    B& backend() const { return *backend_; }
    decoder_config const& config() const { return config_; }

    /// Hidden states of a batch, on `on`: the model's backend to act, a tape over it to learn.
    /// `keys` is fresh_keys or a cache. With `balance`, each routing carries its sequence-wise
    /// balance loss.
    template <class On, class Keys>
    decoder_output<On, T> forward(On& on, packed_tokens const& batch, Keys& keys,
                                  bool balance = false) const {
        check(batch);
        decoder_output<On, T> output;
        auto const positions = indices_from(on, batch.positions);
        auto const table = constant(on, table_);
        auto x = embed_tokens_(on, batch.tokens);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            auto const& block = layers_[i];
            x = x + block.self_attn(block.input_layernorm(x), table, positions,
                                    static_cast<index_t>(i), keys);
            auto const h = block.post_attention_layernorm(x);
            if (block.moe) {
                auto [y, record] = (*block.moe)(h, balance ? &batch.layout.offsets : nullptr);
                x = x + y;
                output.routings.push_back(std::move(record));
            } else {
                x = x + (*block.mlp)(h);
            }
        }
        output.hidden = norm_(x);
        return output;
    }
    /// Rows of hidden states [rows, hidden_size] → logits [rows, vocab_size].
    template <class X>
    X logits(X const& hidden) const {
        if (config_.tie_word_embeddings)
            return matmul(hidden, lift(hidden.backend(), embed_tokens_.weight), transpose::no,
                          transpose::yes);
        return matmul(hidden, lift(hidden.backend(), *lm_head_));
    }

    /// Calls f(parameter) for every weight, in a fixed order.
    template <class Visit>
    void visit(Visit&& f) {
        embed_tokens_.visit(f);
        for (auto& block : layers_) block.visit(f);
        norm_.visit(f);
        if (lm_head_) f(*lm_head_);
    }
    /// Calls f(router) for every mixture-of-experts layer, in the order of
    /// decoder_output::routings.
    template <class Visit>
    void visit_routers(Visit&& f) {
        for (auto& block : layers_)
            if (block.moe) f(block.moe->router);
    }
    index_t parameter_count() {
        index_t n = 0;
        visit([&](auto& p) { n += p.value.size(); });
        return n;
    }
    /// Takes the weights and biases of another decoder of the same extents (they are shared until
    /// one side replaces its own): a frozen reference model. Throws shape_error, and changes
    /// nothing, where an extent differs.
    void copy_from(decoder& other) {
        std::vector<tensor<B, T>> values;
        other.visit([&](auto& p) { values.push_back(p.value); });
        other.visit_routers([&](auto& r) { values.push_back(r.score_correction_bias); });
        std::size_t i = 0;
        auto const check = [&](std::string_view name, tensor<B, T> const& own) {
            shape const got = i < values.size() ? values[i].extents() : shape{0};
            require<shape_error>(own.extents() == got, "decoder::copy_from", "expected ", name,
                                 " of shape ", own.extents(), ", got ", got);
            ++i;
        };
        visit([&](auto& p) { check(p.name, p.value); });
        visit_routers([&](auto& r) { check("expert bias", r.score_correction_bias); });
        require<shape_error>(i == values.size(), "decoder::copy_from", "expected ", i,
                             " tensors, got ", values.size());
        i = 0;
        visit([&](auto& p) { p.value = values[i++]; });
        visit_routers([&](auto& r) { r.score_correction_bias = values[i++]; });
    }

private:
    norm<B, T> make_norm(parameter_maker<B, T>& make, std::string name) const {
        return {make.constant(std::move(name), {config_.hidden_size}, T(1)),
                static_cast<T>(config_.rms_norm_eps)};
    }
    decoder_block<B, T> make_block(parameter_maker<B, T>& make, index_t i, double out) const {
        std::string const prefix = "model.layers." + std::to_string(i) + ".";
        decoder_block<B, T> block{
            make_norm(make, prefix + "input_layernorm.weight"),
            make_norm(make, prefix + "post_attention_layernorm.weight"),
            self_attention<B, T>::make(make, prefix + "self_attn.", config_, out),
            {},
            {}};
        if (config_.is_moe(i)) {
            block.moe = mixture_of_experts<B, T>::make(make, prefix + "mlp.", config_, out);
        } else {
            block.mlp =
                swiglu_block<B, T>::make(make, prefix + "mlp.", config_.hidden_size,
                                         config_.intermediate_size, config_.initializer_range, out);
        }
        return block;
    }
    void check(packed_tokens const& batch) const {
        require<shape_error>(
            batch.tokens.size() == batch.positions.size() &&
                batch.layout.tokens() == static_cast<index_t>(batch.tokens.size()),
            "decoder", "expected as many positions and laid-out tokens as tokens (",
            batch.tokens.size(), "), got ", batch.positions.size(), " and ", batch.layout.tokens());
        for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
            require<value_error>(batch.tokens[i] >= 0 && batch.tokens[i] < config_.vocab_size,
                                 "decoder", "expected token ids in [0, ", config_.vocab_size,
                                 "), got ", batch.tokens[i], " at ", i);
            require<value_error>(
                batch.positions[i] >= 0 && batch.positions[i] < config_.max_position_embeddings,
                "decoder", "expected positions in [0, ", config_.max_position_embeddings, "), got ",
                batch.positions[i], " at ", i);
        }
    }

    B* backend_;
    decoder_config config_;
    embedding<B, T> embed_tokens_;
    std::vector<decoder_block<B, T>> layers_;
    norm<B, T> norm_;
    std::optional<parameter<B, T>> lm_head_;
    tensor<B, T> table_;
};

}  // namespace grove::inline GROVE_ISA
