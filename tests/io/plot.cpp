// SPDX-License-Identifier: Apache-2.0
#include "grove/io/plot.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <cmath>
#include <limits>

#include "temporary_folder.hpp"

using namespace grove;
using values = std::vector<double>;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

plot one_panel(values const& y) {
    plot_series series{"reward", {}, y};
    for (std::size_t i = 0; i < y.size(); ++i) series.x.push_back(static_cast<double>(i));
    plot_panel const panel{
        .title = "Reward", .x_label = "step", .y_label = "mean", .curves = {series}};
    return {.title = "", .panels = {panel}};
}

/// Width and height from the head of a PNG file; {0, 0} for another file.
std::pair<unsigned, unsigned> png_size(std::string const& bytes) {
    if (!bytes.starts_with("\x89PNG\r\n\x1a\n") || bytes.size() < 24) return {0, 0};
    auto const number = [&](std::size_t at) {
        unsigned n = 0;
        for (std::size_t i = at; i < at + 4; ++i) n = n << 8 | static_cast<unsigned char>(bytes[i]);
        return n;
    };
    return {number(16), number(20)};
}

}  // namespace

TEST_CASE("moving_average: over the last values, skipping what is not finite") {
    CHECK(moving_average(values{1, 2, 6, 4}, 2) == values{1, 1.5, 4, 5});
    CHECK(moving_average(values{1, 2, 6}, 1) == values{1, 2, 6});
    CHECK(moving_average(values{1, 2, 6}, 100) == values{1, 1.5, 3});
    auto const gaps =
        moving_average(values{not_a_number, 2, HUGE_VAL, 4, not_a_number, not_a_number}, 2);
    CHECK(std::isnan(gaps[0]));
    CHECK(values(gaps.begin() + 1, gaps.begin() + 5) == values{2, 2, 4, 4});
    CHECK(std::isnan(gaps[5]));
    CHECK(moving_average(values{}, 3).empty());
    CHECK_THROWS_AS(moving_average(values{1}, 0), value_error);
}

TEST_CASE("series_of: one metric over the steps that have it") {
    std::vector<metric_record> const records{
        {1, {{"a", 5}}}, {2, {{"b", 6}}}, {4, {{"b", 1}, {"a", 7}}}};
    auto const series = series_of(records, "a");
    CHECK(series.name == "a");
    CHECK(series.x == values{1, 4});
    CHECK(series.y == values{5, 7});
}

TEST_CASE("write_png: a picture of the size asked for, whatever the values") {
    temporary_folder folder;
    for (auto const& y : {values{1}, values{2, 2, 2}, values{not_a_number, 1, not_a_number, 3},
                          values{-1e300, 1e300}}) {
        write_png(one_panel(y), folder / "p.png");
        CHECK(png_size(read_file(folder / "p.png")) == std::pair(720u, 440u));
    }
    plot picture = one_panel({1, 10, 0, 100});
    picture.panels[0].logarithmic = true;
    picture.panels[0].average_over = 2;
    picture.panels.resize(3, picture.panels[0]);
    picture.title = "Three";
    write_png(picture, folder / "p.png");
    CHECK(png_size(read_file(folder / "p.png")) == std::pair(1440u, 2 * 440u + 44u));
    CHECK(folder.size() == 1);
}

TEST_CASE("quote_for_gnuplot: letters as they are, the rest as octal escapes that end") {
    CHECK(detail::quote_for_gnuplot("it's é #3") == R"("it\047s é \043\063")");
    CHECK(detail::quote_for_gnuplot("a\n`b`\\") == R"("a␊\140b\140\134")");
}

TEST_CASE("write_png: text is never a command") {
    temporary_folder folder;
    std::string const touch = "touch " + (folder / "harm").string();
    for (std::string const& text :
         {"`" + touch + "`", "'; system('" + touch + "'); '", "x'\nsystem '" + touch + "'\n",
          "end\nsystem '" + touch + "'", "\" . system(\"" + touch + "\") . \"", std::string("\\'"),
          std::string("it's"), std::string("@harm $x {/Symbol a} _^ %")}) {
        plot picture = one_panel({1, 2, 3});
        picture.title = text;
        picture.panels[0].title = picture.panels[0].x_label = picture.panels[0].y_label = text;
        picture.panels[0].curves[0].name = text;
        write_png(picture, folder / "p.png");
        CHECK(png_size(read_file(folder / "p.png")).first == 720);
        CHECK(folder.size() == 1);
    }
}

TEST_CASE("write_png: pictures without sense are refused before anything is drawn") {
    temporary_folder folder;
    auto const drawn = [&](plot const& picture) { write_png(picture, folder / "p.png"); };
    CHECK_THROWS_AS(drawn({}), value_error);
    CHECK_THROWS_AS(drawn(one_panel({})), value_error);
    CHECK(contains(message_of<value_error>([&] { drawn(one_panel({not_a_number})); }),
                   "panel 'Reward'"));
    plot picture = one_panel({-1, 0});
    picture.panels[0].logarithmic = true;
    CHECK_THROWS_AS(drawn(picture), value_error);
    picture = one_panel({1, 2});
    picture.panels[0].curves[0].x.pop_back();
    CHECK_THROWS_AS(drawn(picture), shape_error);
    picture = one_panel({1, 2});
    picture.panels[0].average_over = 0;
    CHECK_THROWS_AS(drawn(picture), value_error);
    picture = one_panel({1, 2});
    picture.columns = 0;
    CHECK_THROWS_AS(drawn(picture), value_error);
    picture.columns = 1;
    picture.panel_width = 100;
    CHECK_THROWS_AS(drawn(picture), value_error);
    picture.panel_width = 300;
    picture.panels[0].curves.resize(40, picture.panels[0].curves[0]);
    CHECK(contains(message_of<value_error>([&] { drawn(picture); }), "legend of 'Reward'"));
    CHECK(folder.size() == 0);
}

TEST_CASE("write_png: a missing gnuplot and a folder that is missing are io_error") {
    temporary_folder folder;
    CHECK_THROWS_AS(write_png(one_panel({1}), folder / "absent/p.png"), io_error);
    std::string const path = ::getenv("PATH");
    ::setenv("PATH", folder.path().c_str(), 1);
    std::string const missing =
        message_of<io_error>([&] { write_png(one_panel({1}), folder / "p.png"); });
    write_file(folder / "gnuplot", "#!/bin/sh\necho no picture today >&2\nexit 3\n");
    std::filesystem::permissions(folder / "gnuplot", std::filesystem::perms::owner_all);
    std::string const failing =
        message_of<io_error>([&] { write_png(one_panel({1}), folder / "p.png"); });
    ::setenv("PATH", path.c_str(), 1);
    CHECK(contains(missing, "package gnuplot-nox"));
    CHECK(contains(failing, "no picture today"));
    CHECK(!std::filesystem::exists(folder / "p.png"));
}
