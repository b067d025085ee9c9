// SPDX-License-Identifier: Apache-2.0
// Decoders small enough for finite differences, with weights from a formula.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "grove/nn/decoder.hpp"
#include "grove/ops/lm_head.hpp"

namespace grove_test {

using namespace grove;

/// Grouped queries, a head width that is not hidden_size / heads, an untied head.
inline decoder_config dense_config() {
    return {.vocab_size = 7,
            .hidden_size = 8,
            .intermediate_size = 5,
            .num_hidden_layers = 2,
            .num_attention_heads = 4,
            .num_key_value_heads = 2,
            .head_dim = 6,
            .max_position_embeddings = 16,
            .rope_theta = 500,
            .rms_norm_eps = 1e-5};
}
/// One dense layer and two of experts in four groups, of which two stay; shared experts; tied head.
inline decoder_config grouped_config() {
    return {.vocab_size = 7,
            .hidden_size = 8,
            .intermediate_size = 5,
            .num_hidden_layers = 3,
            .num_attention_heads = 2,
            .num_key_value_heads = 1,
            .max_position_embeddings = 16,
            .rope_theta = 500,
            .rms_norm_eps = 1e-5,
            .tie_word_embeddings = true,
            .n_routed_experts = 8,
            .num_experts_per_tok = 3,
            .n_shared_experts = 2,
            .moe_intermediate_size = 3,
            .n_group = 4,
            .topk_group = 2,
            .routed_scaling_factor = 2.5};
}
/// Experts alone, from the first layer, without groups, shared experts or normalised weights.
inline decoder_config plain_config() {
    auto config = grouped_config();
    config.num_hidden_layers = 2;
    config.n_shared_experts = 0;
    config.first_k_dense_replace = 0;
    config.n_group = config.topk_group = 1;
    config.norm_topk_prob = false;
    config.routed_scaling_factor = 1.5;
    return config;
}

/// Latent attention, interleaved pairs, yarn; `compressed`: of queries too.
inline decoder_config latent_config(bool compressed) {
    auto config = grouped_config();
    config.rope_interleave = true;
    config.kv_lora_rank = 6;
    config.q_lora_rank = compressed ? 5 : 0;
    config.qk_nope_head_dim = 3;
    config.qk_rope_head_dim = 4;
    config.v_head_dim = 5;
    config.rope_scaling = {.type = rope_type::yarn,
                           .factor = 4,
                           .original_max_position_embeddings = 4,
                           .mscale = 0.7,
                           .mscale_all_dim = 1.0};
    return config;
}
/// Biases, norms of queries and keys, experts scored by softmax.
inline decoder_config softmax_config() {
    auto config = plain_config();
    config.scoring_func = scoring_function::softmax;
    config.use_qk_norm = config.attention_bias = config.attention_output_bias = true;
    config.rope_scaling = {.type = rope_type::linear, .factor = 2};
    return config;
}

/// Places of the numbers of each matrix that a parameter is made of: of queries, keys and values
/// side by side, or of itself.
template <class Parameter>
std::vector<std::vector<std::size_t>> matrices_of(decoder_config const& c, Parameter const& p) {
    index_t const keys = c.num_key_value_heads * c.head_width(),
                  columns = p.value.extents()[p.value.extents().rank() - 1],
                  rows = p.value.size() / columns;
    std::vector<index_t> parts{columns};
    if (p.name.find("qkv_proj") != std::string::npos) parts = {columns - 2 * keys, keys, keys};
    std::vector<std::vector<std::size_t>> matrices;
    for (index_t first = 0; index_t part : parts) {
        matrices.emplace_back();
        for (index_t i = 0; i < rows * part; ++i)
            matrices.back().push_back(
                static_cast<std::size_t>(i / part * columns + first + i % part));
        first += part;
    }
    return matrices;
}

/// Weight i of parameter k: sin((0.7 + 0.01 i) i + 1.3 k), halved for matrices, near 1 for norms.
/// Bias of expert e in layer l: −1.5 + 0.4 sin(2 e + 3 l).
template <class B, class T>
void set_weights(decoder<B, T>& model) {
    double k = 0;
    model.visit([&](auto& p) {
        bool const matrix = p.value.extents().rank() > 1;
        std::vector<T> numbers(static_cast<std::size_t>(p.value.size()));
        for (auto const& places : matrices_of(model.config(), p)) {
            for (double i = 0; auto at : places) {
                double const wave = std::sin((0.7 + 0.01 * i) * i + 1.3 * k);
                numbers[at] = static_cast<T>(matrix ? 0.5 * wave : 1 + 0.2 * wave);
                ++i;
            }
            ++k;
        }
        p.value = from_host(model.backend(), p.value.extents(), numbers);
    });
    double layer = static_cast<double>(model.config().first_k_dense_replace);
    model.visit_routers([&](auto& router) {
        std::vector<T> bias(static_cast<std::size_t>(router.experts()));
        for (std::size_t e = 0; e < bias.size(); ++e) {
            double const angle = 2.0 * static_cast<double>(e) + 3 * layer;
            bias[e] = static_cast<T>(-1.5 + 0.4 * std::sin(angle));
        }
        router.score_correction_bias = from_host(model.backend(), {router.experts()}, bias);
        ++layer;
    });
}

inline packed_tokens two_sequences() { return packed_tokens::of({{3, 1, 4, 1, 5}, {2, 6}}); }
inline std::vector<std::int32_t> const next_tokens{1, 4, 1, 5, 0, 6, 3};
inline constexpr double temperature = 0.7;

/// −mean log-probability of next_tokens plus 0.3 · Σ balance, on whatever backend it is given.
template <class On, class Model>
tensor<On, double> loss(On& on, Model const& model, pass_options options = {}) {
    auto const batch = two_sequences();
    fresh_keys keys{batch.layout};
    options.balance = true;
    auto const output = model.forward(on, batch, keys, options);
    auto const head = [&](auto const& x) { return model.logits(x); };
    head_options<double> const head_settings{.temperature = temperature, .kept = {}, .chunk = 3};
    auto total = affine(mean(lm_head(output.hidden, head, next_tokens, head_settings)[0]), -1.0);
    for (auto const& routing : output.routings) total = total + affine(routing.balance, 0.3);
    return total;
}

}  // namespace grove_test
