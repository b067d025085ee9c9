// SPDX-License-Identifier: Apache-2.0
// R1-Zero in miniature: a small mixture-of-experts decoder learns to reason from rewards alone.
//
// 1. A base model is made on the spot from mixed-quality text about three-digit sums: many answers
//    at once, half of them wrong, and some worked solutions, mostly right.
// 2. GRPO with two verifiable rewards, a right answer and a well-formed one, trains it further. No
//    demonstration, no reward on length, no learned reward model.
// 3. Held-out problems say what came of it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "grove/core/error.hpp"
#include "outcome.hpp"
#include "program.hpp"

namespace {

constexpr char const* what_it_shows = R"(
What this shows: rewards on the outcome alone made written reasoning the habit, and responses
grew longer for it; the same code sampled and learned, with the same log-probabilities to the last
bit. What a miniature cannot show: reasoning that nobody demonstrated. The base text holds worked
solutions, so RL selects and sharpens a habit that is there; it invents none, and nothing transfers
beyond the problems of the task.
)";

// The settings that --setting names: what all other options start from.
r1_zero::settings named(int argc, char** argv) {
    std::string name = "miniature";
    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    app.add_option("--setting", name);
    app.parse(argc, argv);
    return r1_zero::named_settings(name);
}

r1_zero::settings parse(int argc, char** argv) {
    r1_zero::settings s;
    CLI::App app("R1-Zero in miniature: reasoning from verifiable rewards alone");
    try {
        s = named(argc, argv);
    } catch (CLI::ParseError const& e) {
        std::exit(app.exit(e));
    }
    app.add_option("--setting", s.setting, "miniature, or large, for a GPU")
        ->check(CLI::IsMember({"miniature", "large"}))
        ->capture_default_str();
    app.add_option("--backend", s.backend, "cpu, or cuda where it was built")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
    app.add_option("--precision", s.precision, "of products on cuda: float32, tf32 or bf16")
        ->check(CLI::IsMember({"float32", "tf32", "bf16"}))
        ->capture_default_str();
    app.add_option("--seed", s.seed, "seed of everything that is drawn")->capture_default_str();
    app.add_option("--out", s.out, "folder of the run")->capture_default_str();
    app.add_option("--threads", s.threads, "threads, 0 for all; results do not depend on it");
    app.add_flag("--resume", s.resume, "go on from the newest checkpoint in the folder");
    app.add_option("--base-steps", s.base_steps, "supervised steps")->capture_default_str();
    app.add_option("--rl-steps", s.rl_steps, "steps of GRPO")->capture_default_str();
    app.add_option("--group-size", s.group_size, "completions of a prompt")->capture_default_str();
    app.add_option("--mini-batches", s.mini_batches, "updates on a rollout")->capture_default_str();
    app.add_option("--held-out", s.held_out, "problems of the evaluation")->capture_default_str();
    app.add_option("--checkpoint-every", s.checkpoint_every, "updates")->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& e) {
        std::exit(app.exit(e));
    }
    grove::require<grove::configuration_error>(
        s.base_steps > 0 && s.rl_steps > 0 && s.mini_batches > 0 && s.held_out > 0 &&
            s.checkpoint_every > 0,
        "r1_zero", "expected positive numbers of steps, updates and problems, got --base-steps ",
        s.base_steps, " --rl-steps ", s.rl_steps, " --mini-batches ", s.mini_batches,
        " --held-out ", s.held_out, " --checkpoint-every ", s.checkpoint_every);
    return s;
}

grove::json run(r1_zero::settings const& s) {
    if (s.backend == "cpu") return r1_zero::run_on_cpu(s);
#if defined(GROVE_EXAMPLES_CUDA)
    return r1_zero::run_on_cuda(s);
#else
    grove::fail<grove::configuration_error>(
        "r1_zero", "expected --backend cpu, got ", s.backend,
        ": this program was built without CUDA (cmake --preset cuda has it)");
#endif
}

}  // namespace

int main(int argc, char** argv) {
    try {
        auto const s = parse(argc, argv);
        r1_zero::conclude(s, run(s));
        std::cout << what_it_shows;
        return 0;
    } catch (std::exception const& e) {
        std::cerr << "r1_zero: " << e.what() << '\n';
        return 1;
    }
}
