// SPDX-License-Identifier: Apache-2.0
// Samples tokens from a decoder and evaluates them as the trainer does, on any backend.
#pragma once

#include <cmath>

#include "grove/task/problem.hpp"
#include "grove/train/language_policy.hpp"
#include "r1_zero/model.hpp"
#include "r1_zero/puzzle.hpp"

namespace acting_equals_learning {

using grove::index_t;

// Plain types, which units compiled for different instruction sets may share.
struct options {
    index_t tokens = 100000, batch = 64;
    int threads = 0;  // of the CPU
    double temperature = 1.0, top_p = 1.0, min_p = 0.0;
    index_t top_k = 0;
    std::string architecture = "moe", backend = "cpu", precision = "float32";
    std::uint64_t seed = 0;
    bool json = false;
};
struct difference {
    index_t tokens = 0;
    double max_abs_diff = 0;
    double max_ratio_deviation = 0;

    void add(float sampled, float learned) {
        ++tokens;
        double const d = static_cast<double>(learned) - static_cast<double>(sampled);
        max_abs_diff = std::max(max_abs_diff, std::abs(d));
        max_ratio_deviation = std::max(max_ratio_deviation, std::abs(std::exp(d) - 1.0));
    }
};

// In builds with CUDA.
difference compare_on_cuda(options const& o);

inline namespace GROVE_ISA {

// The main job's extents in each architecture that the decoder knows.
inline grove::decoder_config config_of(std::string const& architecture, index_t vocabulary) {
    auto config = r1_zero::make_config({}, vocabulary);
    config.initializer_range = 0.3;  // far from uniform, as after training
    if (architecture == "dense") config.n_routed_experts = 0;
    if (architecture == "latent" || architecture == "expanded") {  // DeepSeek-V3's
        config.rope_interleave = true;
        config.q_lora_rank = config.hidden_size / 2;
        config.kv_lora_rank = config.hidden_size / 3;
        config.qk_nope_head_dim = config.v_head_dim = config.head_width();
        config.qk_rope_head_dim = config.head_width() / 2;
    }
    if (architecture == "softmax") {  // Qwen3's
        config.scoring_func = grove::scoring_function::softmax;
        config.n_group = config.topk_group = 1;
        config.n_shared_experts = 0;
        config.use_qk_norm = config.attention_bias = true;
    }
    return config;
}

// One rollout of `batch` sequences at a time, and the trainer's view of it.
template <class B>
void compare_round(grove::decoder<B, float> const& model, options const& o,
                   grove::symbol_tokenizer const& tokens, std::uint32_t round, difference& result) {
    grove::generation_options generation;
    generation.sampling = {o.temperature, o.top_k, o.top_p, o.min_p};
    generation.max_new_tokens = 48;
    generation.end_tokens = {tokens.end_id()};
    generation.max_batch = o.batch;
    generation.expand_latents = o.architecture == "expanded";
    grove::generator<B, float> engine(model, generation);
    grove::problem_set const problems(grove::addition{}, o.seed);
    std::vector<grove::generation_request> requests;
    for (std::uint32_t i = 0; i < 512; ++i)
        requests.push_back({tokens.encode("<begin>" + problems[i].question + "="),
                            {o.seed, grove::random_stream::rollout, round, i, 0}});
    auto const completions = engine(requests);

    std::vector<grove::response> responses;
    for (std::size_t i = 0; i < completions.size(); ++i)
        responses.push_back({requests[i].prompt, completions[i].tokens, completions[i].kept});
    double const temperature = generation.sampling.recorded_temperature();
    auto policy = grove::rl::differentiable<float>(
        model.backend(),
        grove::language_forward<B, float>(model, temperature, 0.0, nullptr,
                                          {.expand_latents = generation.expand_latents}));
    auto const learned = policy.evaluate(grove::language_batch::of(responses), {});
    std::size_t t = 0;
    for (auto const& c : completions)
        for (float sampled : c.log_probability) result.add(sampled, learned.log_probability[t++]);
}

// Rounds until there are enough tokens.
template <class B>
difference compare(B& backend, options const& o) {
    grove::symbol_tokenizer const tokens(grove::addition::alphabet);
    grove::decoder<B, float> const model(
        backend, config_of(o.architecture, tokens.vocabulary_size()), o.seed);
    difference result;
    for (std::uint32_t round = 0; result.tokens < o.tokens; ++round)
        compare_round(model, o, tokens, round, result);
    return result;
}

}  // namespace GROVE_ISA
}  // namespace acting_equals_learning
