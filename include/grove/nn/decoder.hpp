// SPDX-License-Identifier: Apache-2.0
/// @file
/// The reference decoder: one definition that acts on a backend and learns on a tape over it.
#pragma once

#include <cmath>
#include <memory>
#include <string_view>

#include "grove/nn/latent_attention.hpp"
#include "grove/nn/moe.hpp"

namespace grove::inline GROVE_ISA {

/// What a pass computes.
template <class B, class T>
struct decoder_output {
    tensor<B, T> hidden;                  ///< [tokens, hidden_size], after the last norm
    std::vector<routing<B, T>> routings;  ///< one for each mixture-of-experts layer
};

/// What a pass does besides computing.
struct pass_options {
    /// Each routing carries its sequence-wise balance loss.
    bool balance = false;
    /// A tape keeps the input of each block alone and computes the rest again on its way back.
    bool recompute = false;
    /// Latent attention multiplies out its keys and values: faster in long passes, other bits than
    /// without. A learner that is to agree with its sampler asks for what the sampler did
    /// (generation_options::expand_latents).
    bool expand_latents = false;
    /// Experts that an earlier pass chose for the same tokens; null: chosen now.
    chosen_experts const* replay = nullptr;
};

/// Pre-norm transformer block: x + attention(norm x), then x + mlp(norm x) or x + experts(norm x).
template <class B, class T>
struct decoder_block {
    norm<B, T> input_layernorm, post_attention_layernorm;
    std::optional<self_attention<B, T>> self_attn;
    std::optional<latent_attention<B, T>> latent_attn;
    std::optional<swiglu_block<B, T>> mlp;
    std::optional<mixture_of_experts<B, T>> moe;

    template <class Visit>
    void visit(Visit&& f) {
        input_layernorm.visit(f);
        if (self_attn) self_attn->visit(f);
        if (latent_attn) latent_attn->visit(f);
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
        : decoder(config, parameter_maker<B, T>(backend, seed)) {}
    /// Norms' weights are one, all others zero, for a reader to fill. Throws configuration_error.
    decoder(B& backend, decoder_config const& config)
        : decoder(config, parameter_maker<B, T>(backend)) {}
    decoder(decoder const&) = delete;
    decoder& operator=(decoder const&) = delete;

    B& backend() const { return *backend_; }
    decoder_config const& config() const { return config_; }

    /// Hidden states of a batch, on `on`: the model's backend to act, a tape over it to learn.
    /// `keys` is fresh_keys or a cache.
    template <class On, class Keys>
    decoder_output<On, T> forward(On& on, packed_tokens const& batch, Keys& keys,
                                  pass_options const& options = {}) const;
    /// Hidden states of a pass to act whose ids and positions [tokens] are on the backend, and so
    /// is all that `keys` knows: nothing is uploaded, and the pass can be captured. Ids and
    /// positions out of range throw value_error when the host next waits. Throws
    /// configuration_error for options that need the batch on the host: balance and replay.
    template <class Keys>
    tensor<B, T> forward(index_tensor<B> const& tokens, index_tensor<B> const& positions,
                         Keys& keys, pass_options const& options = {}) const {
        require<configuration_error>(!options.balance && options.replay == nullptr, "decoder",
                                     "expected a pass without balance and replay, got one with");
        packed_tokens const nothing;
        pass<Keys> const p{nothing, keys, options, positions};
        std::vector<routing<B, T>> routings;
        residual<tensor<B, T>> r{gather_rows(lift(*backend_, embed_tokens_.weight), tokens)};
        for (std::size_t i = 0; i < layers_.size(); ++i) r = block(r, i, p, routings);
        return norm_(r)[1];
    }
    /// Rows of hidden states [rows, hidden_size] → logits [rows, vocab_size].
    template <class X>
    X logits(X const& hidden) const {
        if (config_.tie_word_embeddings)
            return matmul(hidden, lift(hidden.backend(), embed_tokens_.weight), transpose::no,
                          transpose::yes, results::decisions);
        return matmul(hidden, lift(hidden.backend(), *lm_head_), transpose::no, transpose::no,
                      results::decisions);
    }

    /// The weight of `logits`: [hidden_size, vocab_size], or the embeddings [vocab_size,
    /// hidden_size] where the two are tied.
    parameter<B, T> const& head() const {
        return config_.tie_word_embeddings ? embed_tokens_.weight : *lm_head_;
    }

    /// Calls f(parameter) for every weight, in a fixed order.
    template <class Visit>
    void visit(Visit&& f) {
        embed_tokens_.visit(f);
        for (auto& block : layers_) block.visit(f);
        norm_.visit(f);
        if (lm_head_) f(*lm_head_);
    }
    /// The same without the right to change them.
    template <class Visit>
    void visit(Visit&& f) const {
        const_cast<decoder&>(*this).visit([&](parameter<B, T> const& p) { f(p); });
    }
    /// Calls f(router) for every mixture-of-experts layer, in the order of
    /// decoder_output::routings.
    template <class Visit>
    void visit_routers(Visit&& f) {
        for (auto& block : layers_)
            if (block.moe) f(block.moe->router);
    }
    template <class Visit>
    void visit_routers(Visit&& f) const {
        const_cast<decoder&>(*this).visit_routers([&](expert_router<B, T> const& r) { f(r); });
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
    decoder(decoder_config const& config, parameter_maker<B, T> make)
        : backend_(&make.backend()), config_(config) {
        config.validate();
        double const d = config.initializer_range;
        double const out = d / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
        embed_tokens_ = {
            make.normal("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, d)};
        for (index_t i = 0; i < config.num_hidden_layers; ++i)
            layers_.push_back(make_block(make, i, out));
        norm_ = norm<B, T>::make(make, "model.norm", config.hidden_size, config.rms_norm_eps);
        if (!config.tie_word_embeddings)
            lm_head_ = make.normal("lm_head.weight", {config.hidden_size, config.vocab_size}, d);
        table_ =
            rope_table<T>(make.backend(), config.max_position_embeddings,
                          rope_frequencies_of(config.rope_scaling, config.rope_width(),
                                              config.rope_theta, config.max_position_embeddings));
    }

    template <class Keys>
    struct pass {
        packed_tokens const& batch;
        Keys& keys;
        pass_options const& options;
        index_tensor<B> positions;
    };
    /// A pass whose inputs live as long as the tape that will run it again.
    template <class Keys>
    struct kept_pass {
        packed_tokens batch;
        Keys keys;
        pass_options options;
        index_tensor<B> positions;
        chosen_experts replay;

        explicit kept_pass(pass<Keys> const& p)
            : batch(p.batch), keys(p.keys), options(p.options), positions(p.positions) {
            if (options.replay == nullptr) return;
            replay = *options.replay;
            options.replay = &replay;
        }
        pass<Keys> view() { return {batch, keys, options, positions}; }
    };

    /// Layer i on a stream [tokens, hidden]; what a router decided is added to `routings`.
    template <class On, class Keys>
    residual<tensor<On, T>> block(residual<tensor<On, T>> const& before, std::size_t i,
                                  pass<Keys> const& p,
                                  std::vector<routing<On, T>>& routings) const {
        On& on = before.x.backend();
        auto const& layer = layers_[i];
        auto const number = static_cast<index_t>(i);
        auto const positions = constant(on, p.positions);
        auto const table = constant(on, table_);
        auto const [x, normed] = layer.input_layernorm(before);
        auto const attended = layer.latent_attn
                                  ? (*layer.latent_attn)(normed, table, positions, number, p.keys,
                                                         p.options.expand_latents)
                                  : (*layer.self_attn)(normed, table, positions, number, p.keys);
        auto const [y, h] = layer.post_attention_layernorm(residual<tensor<On, T>>{x, attended});
        if (!layer.moe) return {y, (*layer.mlp)(h)};
        auto const* replay =
            p.options.replay == nullptr ? nullptr : &(*p.options.replay)[i - first_expert_layer()];
        auto [chosen, record] =
            (*layer.moe)(h, p.options.balance ? &p.batch.layout.offsets : nullptr, replay);
        routings.push_back(std::move(record));
        return {y, chosen};
    }
    /// The same, of which the tape keeps x alone.
    template <class Keys>
    tensor<autodiff<B>, T> recomputed(tensor<autodiff<B>, T> const& x, std::size_t i,
                                      std::shared_ptr<kept_pass<Keys>> const& p,
                                      std::vector<routing<autodiff<B>, T>>& routings) const {
        auto decided = std::make_shared<std::vector<routing<B, T>>>();
        auto const y = checkpoint(
            [this, i, p, decided](auto const& input) {
                using on = std::remove_cvref_t<decltype(input.backend())>;
                std::vector<routing<on, T>> records;
                residual<std::remove_cvref_t<decltype(input)>> const before{input};
                auto const output = this->block(before, i, p->view(), records).sum();
                bool const balanced = !records.empty() && p->options.balance;
                auto const loss =
                    balanced ? records.front().balance : zeros<T>(input.backend(), {1});
                // The first run acts, those on the way back learn.
                if constexpr (!is_autodiff<on>) *decided = records;
                return std::array{output, loss};
            },
            x);
        for (auto const& record : *decided) {
            auto& on = x.backend();
            routings.push_back({constant(on, record.experts), constant(on, record.offsets), {}});
            if (p->options.balance) routings.back().balance = y[1];
        }
        return y[0];
    }
    std::size_t first_expert_layer() const {
        index_t const n = config_.num_hidden_layers;
        return static_cast<std::size_t>(
            config_.n_routed_experts > 0 ? std::min(config_.first_k_dense_replace, n) : n);
    }

    decoder_block<B, T> make_block(parameter_maker<B, T>& make, index_t i, double out) const {
        std::string const prefix = "model.layers." + std::to_string(i) + ".";
        double const epsilon = config_.rms_norm_eps;
        decoder_block<B, T> block{
            norm<B, T>::make(make, prefix + "input_layernorm", config_.hidden_size, epsilon),
            norm<B, T>::make(make, prefix + "post_attention_layernorm", config_.hidden_size,
                             epsilon),
            {},
            {},
            {},
            {}};
        if (config_.is_latent()) {
            block.latent_attn =
                latent_attention<B, T>::make(make, prefix + "self_attn.", config_, out);
        } else {
            block.self_attn = self_attention<B, T>::make(make, prefix + "self_attn.", config_, out);
        }
        if (config_.is_moe(i)) {
            block.moe = mixture_of_experts<B, T>::make(make, prefix + "mlp.", config_, out);
        } else {
            block.mlp =
                swiglu_block<B, T>::make(make, prefix + "mlp.", config_.hidden_size,
                                         config_.intermediate_size, config_.initializer_range, out);
        }
        return block;
    }
    void check(packed_tokens const& batch, pass_options const& options) const {
        std::size_t const routed = layers_.size() - first_expert_layer();
        require<shape_error>(options.replay == nullptr || options.replay->size() == routed,
                             "decoder", "expected recorded experts of ", routed, " layers, got ",
                             options.replay == nullptr ? 0 : options.replay->size());
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

template <class B, class T>
template <class On, class Keys>
decoder_output<On, T> decoder<B, T>::forward(On& on, packed_tokens const& batch, Keys& keys,
                                             pass_options const& options) const {
    check(batch, options);
    decoder_output<On, T> output;
    pass<Keys> const p{batch, keys, options, indices_from(*backend_, batch.positions)};
    residual<tensor<On, T>> r{embed_tokens_(on, batch.tokens)};
    auto through = [&](auto&& layer) {
        for (std::size_t i = 0; i < layers_.size(); ++i) r = layer(i);
    };
    if constexpr (is_autodiff<On>) {
        if (options.recompute) {
            auto const kept = std::make_shared<kept_pass<Keys>>(p);
            through([&](std::size_t i) {
                return residual<tensor<On, T>>{recomputed(r.x, i, kept, output.routings)};
            });
        }
    }
    if (!is_autodiff<On> || !options.recompute)
        through([&](std::size_t i) { return block(r, i, p, output.routings); });
    output.hidden = norm_(r)[1];
    return output;
}

}  // namespace grove::inline GROVE_ISA
