// SPDX-License-Identifier: Apache-2.0
// Samples tokens from the main job's decoder, or one of another architecture, evaluates the same
// tokens as the trainer does, and prints how far the two log-probabilities are apart: 0, bit for
// bit.
//
//   acting_equals_learning --tokens 100000 --threads 2 --batch 64 --top-p 0.95 --json
//   acting_equals_learning --architecture latent --min-p 0.05
#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>

#include "grove/io/json.hpp"
#include "grove/task/problem.hpp"
#include "grove/train/language_policy.hpp"
#include "r1_zero/model.hpp"

namespace {

using grove::index_t;

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

struct options {
    index_t tokens = 100000, batch = 64;
    int threads = 0;
    grove::sampling_options sampling{};
    std::string architecture = "moe";
    std::uint64_t seed = 0;
    bool json = false;
};

// The main job's extents in each architecture that the decoder knows.
grove::decoder_config config_of(std::string const& architecture, index_t vocabulary) {
    auto config = r1_zero::make_config(vocabulary);
    config.initializer_range = 0.3;  // far from uniform, as after training
    if (architecture == "dense") config.n_routed_experts = 0;
    if (architecture == "latent") {  // DeepSeek-V3's
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
void compare(r1_zero::model const& model, options const& o, std::uint32_t round,
             difference& result) {
    grove::symbol_tokenizer const tokens(grove::addition::alphabet);
    auto settings = r1_zero::generation(tokens, o.sampling.temperature, o.sampling.top_p);
    settings.sampling = o.sampling;
    settings.max_batch = o.batch;
    grove::generator<r1_zero::backend, float> engine(model, settings);
    grove::problem_set const problems(grove::addition{}, o.seed);
    std::vector<grove::generation_request> requests;
    for (std::uint32_t i = 0; i < 512; ++i)
        requests.push_back({tokens.encode("<begin>" + problems[i].question + "="),
                            {o.seed, grove::random_stream::rollout, round, i, 0}});
    auto const completions = engine(requests);

    std::vector<grove::response> responses;
    for (std::size_t i = 0; i < completions.size(); ++i)
        responses.push_back({requests[i].prompt, completions[i].tokens, completions[i].kept});
    auto policy = grove::rl::differentiable<float>(
        model.backend(),
        grove::language_forward<r1_zero::backend, float>(model, o.sampling.recorded_temperature()));
    auto const learned = policy.evaluate(grove::language_batch::of(responses), {});
    std::size_t t = 0;
    for (auto const& c : completions)
        for (float sampled : c.log_probability) result.add(sampled, learned.log_probability[t++]);
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    CLI::App app("Compares the sampler's log-probabilities with the trainer's");
    app.add_option("--tokens", o.tokens, "tokens to sample at least")->capture_default_str();
    app.add_option("--threads", o.threads, "threads, 0 for all")->capture_default_str();
    app.add_option("--batch", o.batch, "sequences decoded together")->capture_default_str();
    app.add_option("--top-p", o.sampling.top_p, "nucleus")->capture_default_str();
    app.add_option("--top-k", o.sampling.top_k, "tokens to keep, 0 for all")->capture_default_str();
    app.add_option("--min-p", o.sampling.min_p, "share of the best token")->capture_default_str();
    app.add_option("--temperature", o.sampling.temperature, "temperature")->capture_default_str();
    app.add_option("--architecture", o.architecture, "dense, moe, latent or softmax")
        ->check(CLI::IsMember({"dense", "moe", "latent", "softmax"}))
        ->capture_default_str();
    app.add_option("--seed", o.seed, "seed of weights and draws")->capture_default_str();
    app.add_flag("--json", o.json, "print one JSON object");
    CLI11_PARSE(app, argc, argv);
    try {
        r1_zero::backend backend(o.threads);
        grove::symbol_tokenizer const tokens(grove::addition::alphabet);
        r1_zero::model const model(backend, config_of(o.architecture, tokens.vocabulary_size()),
                                   o.seed);
        difference result;
        for (std::uint32_t round = 0; result.tokens < o.tokens; ++round)
            compare(model, o, round, result);
        if (o.json) {
            std::cout << grove::json{{"tokens", result.tokens},
                                     {"max_abs_diff", result.max_abs_diff},
                                     {"max_ratio_deviation", result.max_ratio_deviation}}
                      << '\n';
        } else {
            std::cout << result.tokens << " tokens, largest difference of log-probabilities "
                      << result.max_abs_diff << ", largest deviation of the ratio from 1 "
                      << result.max_ratio_deviation << '\n';
        }
        return result.max_abs_diff == 0 ? 0 : 1;
    } catch (std::exception const& e) {
        std::cerr << "acting_equals_learning: " << e.what() << '\n';
        return 2;
    }
}
