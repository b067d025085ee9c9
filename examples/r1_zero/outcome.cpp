// SPDX-License-Identifier: Apache-2.0
#include "outcome.hpp"

#include <iostream>
#include <numeric>

#include "grove/io/file.hpp"
#include "grove/io/metrics.hpp"
#include "grove/io/plot.hpp"
#include "grove/io/table.hpp"

namespace r1_zero {
namespace {

double mean_of_last(std::vector<double> const& y, std::size_t count) {
    std::size_t const n = std::min(count, y.size());
    return std::accumulate(y.end() - static_cast<std::ptrdiff_t>(n), y.end(), 0.0) /
           static_cast<double>(n);
}

// The figures that others compare.
grove::json summary(settings const& s, grove::json const& notes,
                    std::vector<grove::metric_record> const& records) {
    auto const length = grove::series_of(records, "length").y;
    auto const& base = notes.at("base");
    auto const& last = notes.at("final");
    grove::json figures{{"setting", s.setting},
                        {"backend", s.backend},
                        {"seed", s.seed},
                        {"base_pass1", base.at("pass1")},
                        {"final_pass1", last.at("pass1")},
                        {"base_cons16", base.at("cons")},
                        {"cons16", last.at("cons")},
                        {"format_rate", last.at("format_rate")},
                        {"base_worked_accuracy", base.at("worked_accuracy")},
                        {"worked_accuracy", last.at("worked_accuracy")},
                        {"base_worked_rate", base.at("worked_rate")},
                        {"worked_rate", last.at("worked_rate")},
                        {"length_first", length.front()},
                        {"length_last", mean_of_last(length, 10)},
                        {"train_seconds", notes.at("train_seconds")},
                        {"sampled_tokens", notes.at("sampled_tokens")},
                        {"weights_crc32c", notes.at("weights_crc32c")},
                        {"logprob_max_abs_diff", notes.at("logprob_max_abs_diff")}};
    for (std::string const kind : {"sums", "countdowns"})
        if (base.contains(kind)) {
            figures["base_pass1_" + kind] = base.at(kind).at("pass1");
            figures["final_pass1_" + kind] = last.at(kind).at("pass1");
        }
    return figures;
}

std::string result_table(grove::json const& notes, index_t samples) {
    auto const percent = [&](char const* phase, char const* name) {
        return 100.0 * notes.at(phase).at(name).get<double>();
    };
    grove::table t({"on held-out problems", "base model", "after RL"});
    auto const row = [&](std::string const& title, char const* name) {
        t.row({title, percent("base", name), percent("final", name)});
    };
    row("pass@1, %", "pass1");
    row("cons@" + std::to_string(samples) + ", %", "cons");
    row("well-formed, %", "format_rate");
    row("with written steps, %", "worked_rate");
    row("right among those, %", "worked_accuracy");
    for (auto const* kind : {"sums", "countdowns"})
        if (notes.at("base").contains(kind))
            t.row({std::string(kind) + " alone: pass@1, %",
                   100.0 * notes["base"][kind]["pass1"].get<double>(),
                   100.0 * notes["final"][kind]["pass1"].get<double>()});
    t.row({"response length, tokens", notes.at("base").at("length").get<double>(),
           notes.at("final").at("length").get<double>()});
    return t.text();
}

void draw(settings const& s, std::vector<grove::metric_record> const& records) {
    auto const panel = [&](std::string title, std::string y_label,
                           std::vector<std::pair<std::string, std::string>> const& names) {
        grove::plot_panel p;
        p.title = std::move(title);
        p.x_label = "step of reinforcement learning";
        p.y_label = std::move(y_label);
        for (auto const& [name, shown] : names) {
            p.curves.push_back(grove::series_of(records, name));
            p.curves.back().name = shown;
        }
        p.average_over = 5;
        return p;
    };
    std::vector<std::pair<std::string, std::string>> rewarded{{"accuracy", "right"},
                                                              {"format", "well-formed"}};
    if (s.countdown > 0)
        rewarded = {{"accuracy/sums", "sums right"},
                    {"accuracy/countdowns", "countdowns right"},
                    {"format", "well-formed"}};
    grove::plot const picture{
        "R1-Zero, " + s.setting + ", seed " + std::to_string(s.seed),
        {panel("What is rewarded", "share of sampled completions", rewarded),
         panel("What is not: response length", "tokens", {{"length", ""}}),
         panel("Choosing to reason", "share of sampled completions", {{"worked", ""}}),
         panel("Entropy", "nats per token", {{"entropy", ""}})}};
    grove::write_png(picture, s.out / "curves.png");
}

}  // namespace

void conclude(settings const& s, grove::json const& notes) {
    auto const records = grove::read_metrics(s.out / "metrics.jsonl");
    grove::json const figures = summary(s, notes, records);
    grove::atomic_write(s.out / "summary.json",
                        [&](grove::output_file& file) { file.write(figures.dump(2) + "\n"); });
    std::string const samples = "Base model:\n" + notes.at("samples_before").get<std::string>() +
                                "After reinforcement learning:\n" +
                                notes.at("samples_after").get<std::string>();
    grove::atomic_write(s.out / "samples.txt",
                        [&](grove::output_file& file) { file.write(samples); });
    draw(s, records);
    std::cout << '\n'
              << samples << '\n'
              << result_table(notes, s.samples) << '\n'
              << "Response length at temperature 1: " << figures.at("length_first").get<double>()
              << " → " << figures.at("length_last").get<double>()
              << " tokens, without a reward on length.\n"
              << "Largest difference between the sampler's and the trainer's log-probabilities: "
              << figures.at("logprob_max_abs_diff").get<double>() << '\n';
}

}  // namespace r1_zero
