// SPDX-License-Identifier: Apache-2.0
// PPO balances a pole on a cart. usage: 05_ppo_cart_pole [seeds]
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/env/cart_pole.hpp"
#include "grove/eval/estimate.hpp"
#include "grove/io/progress.hpp"
#include "grove/io/table.hpp"
#include "grove/train/ppo_control.hpp"

int main(int argc, char** argv) {
    int const seeds = argc > 1 ? std::atoi(argv[1]) : 5;
    constexpr grove::index_t iterations = 40;
    grove::control_options options;
    options.environments = 16;  // stepped together …
    options.steps = 128;        // … so far, and then learned from:
    options.mini_batch = 256;
    options.epochs = 8;

    grove::table results({"seed", "mean return", "worst", "steps", "seconds", "steps/s"});
    int solved = 0;
    for (int seed = 0; seed < seeds; ++seed) {
        options.seed = static_cast<std::uint64_t>(seed);
        grove::eigen_backend backend(/*threads*/ 1);
        using model = grove::control_model<grove::cart_pole, grove::eigen_backend>;
        model actor_critic(backend, grove::config_for<grove::cart_pole>({.hidden = {64, 64}}),
                           options.seed);
        grove::rl::ppo const objective{.advantage = {.discount = 0.99, .lambda = 0.95}};
        grove::control_trainer trainer(
            actor_critic, grove::cart_pole{}, objective, options,
            grove::linear_schedule{2.5e-3, iterations * options.updates_per_step()});

        grove::stopwatch const clock;
        grove::progress_line line(std::cout, grove::progress(iterations),
                                  {.terminal = ::isatty(1) == 1, .every = 20});
        double latest = 0;  // mean return of the latest episodes to end
        trainer.run(iterations, [&](grove::control_report const& report) {
            if (!report.episodes.empty()) latest = report.metrics.values.front().value;
            line.write({report.step + 1, {{"return", latest}}});
        });
        double const seconds = clock.seconds();
        auto const returns = trainer.evaluate(100);
        double const mean = grove::mean_estimate(returns).value;
        auto const steps = iterations * options.rows();
        results.row({seed, mean, *std::ranges::min_element(returns), steps, seconds,
                     static_cast<double>(steps) / seconds});
        solved += mean >= 475;
    }
    std::cout << results.text() << solved << " of " << seeds << " seeds reach 475 of 500.\n";
    return solved == seeds ? 0 : 1;
}
