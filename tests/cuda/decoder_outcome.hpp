// SPDX-License-Identifier: Apache-2.0
// What a small decoder computes, written once: compiled by nvcc for the CUDA backend and by the
// host's compiler for the reference. What passes between the two has no type of grove's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "../nn/small_decoder.hpp"
#include "grove/core/random.hpp"

namespace decoder_outcome {

using rows = std::vector<std::vector<float>>;

struct outcome {
    rows acting;     // log-probabilities of each next token, a row for each sequence
    rows learning;   // the same, from the tape
    rows gradients;  // of −mean log-probability + 0.3 · Σ balance, a row for each parameter
    std::vector<std::int32_t> experts;
};

enum class kind { dense, experts, latent, softmax };

/// Of the reference backend (decoder_reference.cpp).
outcome of_reference(kind which);

/// `count` sequences of 1 to 12 tokens.
inline std::vector<std::vector<std::int32_t>> sequences(std::uint32_t count) {
    std::vector<std::vector<std::int32_t>> y;
    for (std::uint32_t s = 0; s < count; ++s) {
        grove::random_sequence random({.seed = 17, .prompt = s});
        y.emplace_back(static_cast<std::size_t>(random.integer(1, 12)));
        for (auto& token : y.back()) token = static_cast<std::int32_t>(random.integer(0, 6));
    }
    return y;
}
inline grove::decoder_config config_of(kind which) {
    switch (which) {
        case kind::dense:
            return grove_test::dense_config();
        case kind::experts:
            return grove_test::grouped_config();
        case kind::latent:
            return grove_test::latent_config(true);
        case kind::softmax:
            return grove_test::softmax_config();
    }
    return {};
}
inline rows by_sequence(std::vector<float> const& packed,
                        std::vector<std::vector<std::int32_t>> const& tokens) {
    rows y;
    auto from = packed.begin();
    for (auto const& sequence : tokens) {
        auto const to = from + static_cast<std::ptrdiff_t>(sequence.size());
        y.emplace_back(from, to);
        from = to;
    }
    return y;
}

template <class B>
class model {
public:
    model(B& backend, kind which) : decoder_(backend, config_of(which), 1) {
        grove_test::set_weights(decoder_);
    }

    rows act(std::vector<std::vector<std::int32_t>> const& tokens,
             std::vector<std::int32_t>* experts = nullptr) const {
        auto const batch = grove::packed_tokens::of(tokens);
        grove::fresh_keys keys{batch.layout};
        auto const output = decoder_.forward(decoder_.backend(), batch, keys);
        for (auto const& routing : output.routings)
            for (auto expert : grove::to_host(routing.experts))
                if (experts != nullptr) experts->push_back(expert);
        return by_sequence(grove::to_host(log_probability(output.hidden, batch.tokens)), tokens);
    }
    /// One pass forward and back; the parameters' gradients add up.
    rows learn(std::vector<std::vector<std::int32_t>> const& tokens) {
        auto const batch = grove::packed_tokens::of(tokens);
        grove::autodiff<B> tape(decoder_.backend());
        grove::fresh_keys keys{batch.layout};
        auto const output = decoder_.forward(tape, batch, keys, {.balance = true});
        auto const learned = log_probability(output.hidden, batch.tokens);
        auto loss = grove::affine(grove::mean(learned), -1.0f);
        for (auto const& routing : output.routings)
            loss = loss + grove::affine(routing.balance, 0.3f);
        grove::backward(loss);
        return by_sequence(grove::to_host(learned), tokens);
    }
    rows gradients() {
        rows y;
        decoder_.visit([&](auto& p) { y.push_back(grove::to_host(p.gradient)); });
        return y;
    }
    outcome all(std::vector<std::vector<std::int32_t>> const& tokens) {
        outcome y;
        y.acting = act(tokens, &y.experts);
        y.learning = learn(tokens);
        y.gradients = gradients();
        return y;
    }

private:
    template <class Hidden>
    auto log_probability(Hidden const& hidden, std::vector<std::int32_t> targets) const {
        for (auto& target : targets) target = (target + 3) % 7;
        grove::head_options<float> const options{.temperature = 0.7f, .kept = {}, .chunk = 5};
        return grove::lm_head(
            hidden, [&](auto const& x) { return decoder_.logits(x); }, targets, options)[0];
    }

    grove::decoder<B, float> decoder_;
};

}  // namespace decoder_outcome
