// SPDX-License-Identifier: Apache-2.0
// PPO swings up a pendulum, with the settings and the 307,200 steps of RLtools' example.
// usage: 06_ppo_pendulum [seeds]
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/env/pendulum.hpp"
#include "grove/eval/estimate.hpp"
#include "grove/io/progress.hpp"
#include "grove/io/table.hpp"
#include "grove/train/ppo_control.hpp"

int main(int argc, char** argv) {
    int const seeds = argc > 1 ? std::atoi(argv[1]) : 10;
    constexpr grove::index_t iterations = 75;
    grove::control_options options;
    options.environments = 4;
    options.steps = 1024;
    options.mini_batch = 256;
    options.epochs = 2;
    options.value_loss.coefficient = 1.0;
    options.optimizer.max_gradient_norm = 0;  // no clipping

    grove::table results({"seed", "mean return", "seconds", "steps/s"});
    std::vector<double> means, times;
    for (int seed = 0; seed < seeds; ++seed) {
        options.seed = static_cast<std::uint64_t>(seed);
        grove::eigen_backend backend(/*threads*/ 1);
        using model = grove::control_model<grove::pendulum, grove::eigen_backend, grove::law::relu>;
        model actor_critic(
            backend,
            grove::config_for<grove::pendulum>(
                {.hidden = {64, 64}, .log_deviation = std::log(2.0), .gain = std::sqrt(2.0)}),
            options.seed);
        grove::rl::ppo const objective{.advantage = {.discount = 0.9, .lambda = 0.95}};
        grove::control_trainer trainer(actor_critic, grove::pendulum{.torque_per_action = 2.0},
                                       objective, options, grove::constant_schedule{1e-3});

        grove::stopwatch const clock;
        grove::progress_line line(std::cout, grove::progress(iterations),
                                  {.terminal = ::isatty(1) == 1, .every = 25});
        trainer.run(iterations, [&](grove::control_report const& report) {
            line.write({report.step + 1, {report.metrics.values.front()}});
        });
        times.push_back(clock.seconds());
        means.push_back(grove::mean_estimate(trainer.evaluate(1000)).value);
        auto const steps = static_cast<double>(iterations * options.rows());
        results.row({seed, means.back(), times.back(), steps / times.back()});
    }
    double const mean = grove::mean_estimate(means).value;
    std::ranges::sort(means);
    std::ranges::sort(times);
    std::cout << results.text() << "mean of the seeds " << mean << ", median "
              << means[means.size() / 2] << ", median time " << times[times.size() / 2] << " s\n";
    return mean > -250 ? 0 : 1;
}
