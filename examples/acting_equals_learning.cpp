// SPDX-License-Identifier: Apache-2.0
// Samples tokens from the main job's decoder, or one of another architecture, evaluates the same
// tokens as the trainer does, and prints how far the two log-probabilities are apart: 0, bit for
// bit.
//
//   acting_equals_learning --tokens 100000 --threads 2 --batch 64 --top-p 0.95 --json
//   acting_equals_learning --architecture latent --min-p 0.05 --backend cuda
#include "acting_equals_learning.hpp"

#include <CLI/CLI.hpp>
#include <iostream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/json.hpp"

namespace {

using acting_equals_learning::difference, acting_equals_learning::options;

difference compare(options const& o) {
    if (o.backend == "cpu") {
        grove::eigen_backend backend(o.threads);
        return acting_equals_learning::compare(backend, o);
    }
#if defined(GROVE_EXAMPLES_CUDA)
    return acting_equals_learning::compare_on_cuda(o);
#else
    grove::fail<grove::configuration_error>(
        "acting_equals_learning", "expected --backend cpu, got ", o.backend,
        ": this program was built without CUDA (cmake --preset cuda has it)");
#endif
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    CLI::App app("Compares the sampler's log-probabilities with the trainer's");
    app.add_option("--tokens", o.tokens, "tokens to sample at least")->capture_default_str();
    app.add_option("--backend", o.backend, "cpu, or cuda where it was built")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
    app.add_option("--precision", o.precision, "of products on cuda: float32, tf32 or bf16")
        ->check(CLI::IsMember({"float32", "tf32", "bf16"}))
        ->capture_default_str();
    app.add_option("--threads", o.threads, "threads, 0 for all")->capture_default_str();
    app.add_option("--batch", o.batch, "sequences decoded together")->capture_default_str();
    app.add_option("--top-p", o.top_p, "nucleus")->capture_default_str();
    app.add_option("--top-k", o.top_k, "tokens to keep, 0 for all")->capture_default_str();
    app.add_option("--min-p", o.min_p, "share of the best token")->capture_default_str();
    app.add_option("--temperature", o.temperature, "temperature")->capture_default_str();
    app.add_option("--architecture", o.architecture, "dense, moe, latent, expanded or softmax")
        ->check(CLI::IsMember({"dense", "moe", "latent", "expanded", "softmax"}))
        ->capture_default_str();
    app.add_option("--seed", o.seed, "seed of weights and draws")->capture_default_str();
    app.add_flag("--json", o.json, "print one JSON object");
    CLI11_PARSE(app, argc, argv);
    try {
        difference const result = compare(o);
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
