// SPDX-License-Identifier: Apache-2.0
// verl's end-to-end acceptance test: from its published, randomly initialised checkpoint to
// completing sequences of digits. Upstream's mark is a mean training reward above 0.2, which PPO
// with its settings passes.
//
// Further on there is a trap: behind a right prefix, ending pays more than a guess at the next
// digit until more than half of the guesses are right. What leads out of it is a reward of entropy
// (PPO), or to learn from the best of each group at first, which pays a group that guesses (GRPO).
//
//   digit_completion ppo [--steps 200] [--entropy 0] [--backend cuda]
//   digit_completion grpo [--explore 2400] [--steps 500] [--entropy 0.3]
#include <CLI/CLI.hpp>
#include <iostream>

#include "grove/core/error.hpp"
#include "program.hpp"

namespace {

bool on_cuda([[maybe_unused]] digits::settings const& s) {
#ifdef GROVE_DIGITS_CUDA
    return digits::run_on_cuda(s);
#else
    grove::fail<grove::configuration_error>("digit_completion", "expected a build with CUDA for ",
                                            "--backend cuda, got one without");
#endif
}

}  // namespace

int main(int argc, char** argv) try {
    digits::settings s;
    CLI::App app("verl's acceptance test: sequences of digits");
    app.add_option("method", s.method, "ppo or grpo")->check(CLI::IsMember({"ppo", "grpo"}));
    app.add_option("--backend", s.backend, "cpu, or cuda where it was built")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
    app.add_option("--checkpoint", s.checkpoint, "folder to start from")->capture_default_str();
    app.add_option("--out", s.out, "folder of METHOD.jsonl")->capture_default_str();
    app.add_option("--steps", s.steps, "rollouts of 800 answers; 0: 200 of ppo, 500 of grpo")
        ->capture_default_str();
    app.add_option("--explore", s.explore, "rollouts of grpo before, best of each group")
        ->capture_default_str();
    app.add_option("--entropy", s.entropy, "nats a token at first; below 0: none, 0.3 of grpo")
        ->capture_default_str();
    app.add_option("--fall", s.fall, "share of the steps within which the entropy falls to 0")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--grip", s.grip, "by which the coefficient of entropy moves in a step")
        ->capture_default_str();
    app.add_option("--rate", s.rate, "learning rate of ppo's policy")->capture_default_str();
    app.add_option("--seed", s.seed, "seed of every draw")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    return (s.backend == "cpu" ? digits::run_on_cpu(s) : on_cuda(s)) ? 0 : 1;
} catch (std::exception const& e) {
    std::cerr << "digit_completion: " << e.what() << '\n';
    return 2;
}
