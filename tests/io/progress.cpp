// SPDX-License-Identifier: Apache-2.0
#include "grove/io/progress.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace grove;

namespace {

/// A clock that a test sets.
struct hand_clock {
    using duration = std::chrono::duration<double>;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<hand_clock, duration>;
    static inline double seconds = 0;
    static time_point now() { return time_point(duration(seconds)); }
};

std::string written(progress_style style, std::vector<index_t> const& steps, index_t all) {
    std::ostringstream out;
    hand_clock::seconds = 100;
    {
        progress_line<hand_clock> line(out, progress(all, 0, 4), style);
        for (index_t step : steps) {
            hand_clock::seconds = 100 + 2.0 * static_cast<double>(step);
            line.write({step, {{"reward", 0.5}}});
        }
    }
    return out.str();
}

}  // namespace

static_assert(metric_sink<progress_line<>>);

TEST_CASE("format_duration: minutes, hours, days") {
    CHECK(format_duration(0) == "0:00");
    CHECK(format_duration(92.4) == "1:32");
    CHECK(format_duration(3599.6) == "1:00:00");
    CHECK(format_duration(7625) == "2:07:05");
    CHECK(format_duration(3 * 86400 + 4 * 3600 + 306) == "3 d 04:05:06");
    CHECK(format_duration(-1) == "–");
    CHECK(format_duration(std::nan("")) == "–");
    CHECK(format_duration(HUGE_VAL) == "–");
}

TEST_CASE("progress: the line of a running, a fresh, a resumed and a finished run") {
    progress const run(120);
    CHECK(run.line({37, {{"reward", 0.71}, {"kl", 0.00123456}}}, 44.4) ==
          "step 37/120 ▕███░░░░░░░▏ 30 %  reward 0.71  kl 0.001235  1.2 s/step  ETA 1:40");
    CHECK(run.line({0, {}}, 3) == "step 0/120 ▕░░░░░░░░░░▏ 0 %");
    CHECK(run.line({120, {}}, 240) == "step 120/120 ▕██████████▏ 100 %  2 s/step  ETA 0:00");
    CHECK(progress(100, 90, 5).line({95, {}}, 10) ==
          "step 95/100 ▕████░▏ 95 %  2 s/step  ETA 0:10");
    CHECK(progress(0).line({0, {}}, 1) == "step 0/0 ▕██████████▏ 100 %");
    CHECK(progress(4).line({9, {{"a\x1b", 1}}}, 4) ==
          "step 9/4 ▕██████████▏ 100 %  a␛ 1  1 s/step  ETA 0:00");
}

TEST_CASE("progress: bounds") {
    CHECK_THROWS_AS(progress(-1), value_error);
    CHECK_THROWS_AS(progress(5, 6), value_error);
    CHECK_THROWS_AS(progress(5, -1), value_error);
    CHECK_THROWS_AS(progress(5, 0, 0), value_error);
}

TEST_CASE("progress_line: a line every n steps and for the last one in a log") {
    CHECK(written({.every = 2}, {1, 2, 3, 4, 5}, 5) ==
          "step 2/5 ▕█░░░▏ 40 %  reward 0.5  2 s/step  ETA 0:06\n"
          "step 4/5 ▕███░▏ 80 %  reward 0.5  2 s/step  ETA 0:02\n"
          "step 5/5 ▕████▏ 100 %  reward 0.5  2 s/step  ETA 0:00\n");
    std::ostringstream out;
    CHECK_THROWS_AS(progress_line<>(out, progress(1), {.every = 0}), value_error);
}

TEST_CASE("progress_line: overwrites itself on a terminal, within its width, and ends its line") {
    progress_style const narrow{.terminal = true, .columns = 12};
    CHECK(written(narrow, {1, 2}, 2) == "\rstep 1/2 ▕█…\x1b[K\rstep 2/2 ▕█…\x1b[K\n");
    CHECK(written(narrow, {1}, 2) == "\rstep 1/2 ▕█…\x1b[K\n");
    CHECK(written(narrow, {}, 2).empty());
}
