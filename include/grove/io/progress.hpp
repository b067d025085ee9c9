// SPDX-License-Identifier: Apache-2.0
/// @file
/// How far a run is, as one line of text.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/metric_record.hpp"
#include "grove/io/terminal.hpp"

namespace grove::inline GROVE_ISA {

/// "1:32", "2:07:05", "3 d 04:05:06" for a number of seconds; "–" for what is not a time.
inline std::string format_duration(double seconds) {
    constexpr double longest = 1e12;
    if (!(seconds >= 0 && seconds <= longest)) return "–";
    auto const total = static_cast<std::int64_t>(std::llround(seconds));
    auto const two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    std::int64_t const days = total / 86400, hours = total / 3600 % 24, minutes = total / 60 % 60;
    std::string const tail = ':' + two(total % 60);
    if (days > 0) return std::to_string(days) + " d " + two(hours) + ':' + two(minutes) + tail;
    if (hours > 0) return std::to_string(hours) + ':' + two(minutes) + tail;
    return std::to_string(minutes) + tail;
}

/// Renders "step 37/120 ▕███░░░░░░░▏ 31 %  reward 0.71  1.2 s/step  ETA 1:32". Speed and remaining
/// time are those of the steps since `first_step`, where the run started or was resumed.
class progress {
public:
    /// Throws value_error unless 0 ≤ first_step ≤ steps and bar_width ≥ 1 (characters).
    explicit progress(index_t steps, index_t first_step = 0, int bar_width = 10)
        : steps_(steps), first_step_(first_step), bar_width_(bar_width) {
        require<value_error>(first_step >= 0 && first_step <= steps, "progress",
                             "expected 0 ≤ first_step ≤ steps, got ", first_step, " of ", steps);
        require<value_error>(bar_width >= 1, "progress", "expected bar_width ≥ 1, got ", bar_width);
    }

    /// The line after `record.step` steps, `seconds` after the first.
    std::string line(metric_record const& record, double seconds) const {
        index_t const step = std::clamp<index_t>(record.step, 0, steps_);
        double const done =
            steps_ == 0 ? 1.0 : static_cast<double>(step) / static_cast<double>(steps_);
        std::string text = "step " + std::to_string(record.step) + '/' + std::to_string(steps_);
        text += ' ' + bar(done) + ' ' + std::to_string(static_cast<int>(done * 100)) + " %";
        for (auto const& [name, value] : record.values)
            text += "  " + printable(name) + ' ' + format_number(value);
        if (step > first_step_) {
            double const pace = seconds / static_cast<double>(step - first_step_);
            text += "  " + format_number(pace, 2) + " s/step";
            text += "  ETA " + format_duration(pace * static_cast<double>(steps_ - step));
        }
        return text;
    }
    index_t steps() const { return steps_; }

private:
    std::string bar(double done) const {
        int const full = static_cast<int>(done * bar_width_);
        std::string text = "▕";
        for (int i = 0; i < bar_width_; ++i) text += i < full ? "█" : "░";
        return text + "▏";
    }

    index_t steps_;
    index_t first_step_;
    int bar_width_;
};

/// How a progress_line writes: over itself on a terminal, or line after line into a log.
struct progress_style {
    /// Whether the stream is a terminal, as isatty() of its descriptor says.
    bool terminal = false;
    /// Columns of the terminal; longer lines are cut.
    int columns = 100;
    /// Where the stream is no terminal: a line for every so many steps, and for the last.
    index_t every = 10;
};

/// A metric_sink that writes the progress of a run to a stream you pass in. `Clock` is a
/// std::chrono clock; time starts with the construction.
/// ```
/// progress_line line(std::cerr, progress(steps, resumed_step), {.terminal = isatty(2) == 1});
/// line.write({step, {{"reward", 0.71}}});
/// ```
template <class Clock = std::chrono::steady_clock>
class progress_line {
public:
    /// Throws value_error unless style.every ≥ 1. `out` must outlive this.
    progress_line(std::ostream& out, progress run, progress_style style = {})
        : out_(&out), run_(run), style_(style), start_(Clock::now()) {
        require<value_error>(style.every >= 1, "progress_line", "expected every ≥ 1, got ",
                             style.every);
    }
    progress_line(progress_line const&) = delete;
    progress_line& operator=(progress_line const&) = delete;
    /// Ends the line of a run that stopped before its last step.
    ~progress_line() {
        if (unfinished_) *out_ << '\n' << std::flush;
    }

    void write(metric_record const& record) {
        bool const last = record.step >= run_.steps();
        if (!style_.terminal && !last && record.step % style_.every != 0) return;
        double const seconds = std::chrono::duration<double>(Clock::now() - start_).count();
        std::string const line = run_.line(record, seconds);
        if (style_.terminal) {
            constexpr char const* erase_to_end = "\x1b[K";
            *out_ << '\r' << fit(line, style_.columns) << erase_to_end << (last ? "\n" : "");
            unfinished_ = !last;
        } else {
            *out_ << line << '\n';
        }
        out_->flush();
    }

private:
    std::ostream* out_;
    progress run_;
    progress_style style_;
    typename Clock::time_point start_;
    bool unfinished_ = false;
};

}  // namespace grove::inline GROVE_ISA
