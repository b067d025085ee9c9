// SPDX-License-Identifier: Apache-2.0
/// @file
/// Curves of a run as a PNG picture. Needs the program gnuplot (package gnuplot-nox) when it draws.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/file.hpp"
#include "grove/io/gnuplot.hpp"
#include "grove/io/metric_record.hpp"
#include "grove/io/terminal.hpp"

namespace grove::inline GROVE_ISA {

/// One curve: points (x[i], y[i]); where either is not finite the curve has a gap.
struct plot_series {
    /// Shown in the legend; empty for none.
    std::string name;
    std::vector<double> x;
    std::vector<double> y;
};

/// One diagram.
struct plot_panel {
    std::string title;
    std::string x_label;
    std::string y_label;
    std::vector<plot_series> curves;
    /// Above 1, each curve is drawn as its moving average over so many points, with the points
    /// themselves pale behind it.
    index_t average_over = 1;
    /// A logarithmic y axis; values ≤ 0 are gaps.
    bool logarithmic = false;
};

/// A picture of panels, row by row.
struct plot {
    std::string title;
    std::vector<plot_panel> panels;
    /// Panels side by side.
    index_t columns = 2;
    /// Size of a panel in pixels.
    index_t panel_width = 720;
    index_t panel_height = 440;
};

/// Mean of the finite values among the last `window` ≥ 1 ones up to each; NaN where there are none.
inline std::vector<double> moving_average(std::span<double const> values, index_t window) {
    require<value_error>(window >= 1, "moving_average", "expected a window ≥ 1, got ", window);
    std::vector<double> averages;
    for (index_t i = 0; i < std::ssize(values); ++i) {
        index_t const first = std::max<index_t>(0, i - window + 1);
        double sum = 0;
        index_t count = 0;
        for (index_t j = first; j <= i; ++j) {
            double const value = values[static_cast<std::size_t>(j)];
            if (!std::isfinite(value)) continue;
            sum += value;
            ++count;
        }
        averages.push_back(sum / static_cast<double>(count));
    }
    return averages;
}

/// The curve of one metric over the steps; records that lack it are skipped.
inline plot_series series_of(std::span<metric_record const> records, std::string const& name) {
    plot_series series{name, {}, {}};
    for (auto const& record : records)
        for (auto const& [metric_name, value] : record.values)
            if (metric_name == name) {
                series.x.push_back(static_cast<double>(record.step));
                series.y.push_back(value);
            }
    return series;
}

namespace detail {

/// A colour of the curves, and the same mixed with white for the points behind an average.
struct plot_colour {
    char const* strong;
    char const* pale;
};
/// Distinguishable in this order also with the common colour deficiencies (after Tol 2021,
/// "bright").
inline constexpr std::array<plot_colour, 7> plot_colours{{{"#3a6fb0", "#c4d4e7"},
                                                          {"#dd6b4d", "#f5d3ca"},
                                                          {"#2e9a63", "#c0e1d0"},
                                                          {"#c9a227", "#efe3be"},
                                                          {"#8a5aa8", "#dccde5"},
                                                          {"#3ba7b8", "#c4e5ea"},
                                                          {"#6b7280", "#d3d5d9"}}};

inline bool is_drawn(double x, double y, bool logarithmic) {
    return std::isfinite(x) && std::isfinite(y) && (!logarithmic || y > 0);
}

inline void check_panel(plot_panel const& panel) {
    bool something = false;
    for (auto const& [name, x, y] : panel.curves) {
        require<shape_error>(x.size() == y.size(), "plot", "expected as many x as y in '",
                             printable(name), "', got ", x.size(), " and ", y.size());
        for (std::size_t i = 0; i < x.size(); ++i)
            something = something || is_drawn(x[i], y[i], panel.logarithmic);
    }
    require<value_error>(something, "plot", "expected a point to draw in panel '",
                         printable(panel.title), "', got none");
    require<value_error>(panel.average_over >= 1, "plot", "expected average_over ≥ 1, got ",
                         panel.average_over);
}

/// `$name << end … end`: the points of a curve, an empty line for a gap.
inline std::string data_block(std::string const& name, std::span<double const> x,
                              std::span<double const> y, bool logarithmic) {
    constexpr int exact = 17;
    std::string block = name + " << end\n";
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (is_drawn(x[i], y[i], logarithmic))
            block += format_number(x[i], exact) + ' ' + format_number(y[i], exact);
        block += '\n';
    }
    return block + "end\n";
}

/// The data blocks and the plot command of one panel.
inline std::string curves_script(plot_panel const& panel) {
    constexpr std::size_t few = 24;
    std::string data, points, lines;
    for (std::size_t i = 0; i < panel.curves.size(); ++i) {
        auto const& [name, x, y] = panel.curves[i];
        auto const& [strong, pale] = plot_colours[i % plot_colours.size()];
        std::string const block = "$curve" + std::to_string(i);
        auto const drawn = moving_average(y, panel.average_over);
        data += data_block(block, x, drawn, panel.logarithmic);
        lines += (lines.empty() ? "" : ", ") + block;
        lines += x.size() <= few ? " with linespoints pt 7 ps 0.7" : " with lines";
        lines += std::string(" lw 2 lc rgb '") + strong + "' ";
        lines += name.empty() ? "notitle" : "title " + quote_for_gnuplot(name);
        if (panel.average_over == 1) continue;
        data += data_block(block + "_points", x, y, panel.logarithmic);
        points += block + "_points with lines lw 1.2 lc rgb '" + pale + "' notitle, ";
    }
    return data + "plot " + points + lines + '\n';
}

/// Where things go, in pixels counted from the lower left corner of the picture.
struct plot_layout {
    static constexpr index_t left_margin = 84, right_margin = 28, bottom_margin = 58;
    static constexpr index_t top_margin = 22, title_height = 24, legend_line = 20;
    static constexpr index_t headline_height = 44;

    index_t columns, rows, panel_width, panel_height, width, height;

    explicit plot_layout(plot const& picture)
        : columns(std::min(picture.columns, std::ssize(picture.panels))),
          rows((std::ssize(picture.panels) + columns - 1) / columns),
          panel_width(picture.panel_width),
          panel_height(picture.panel_height),
          width(columns * panel_width),
          height(rows * panel_height + (picture.title.empty() ? 0 : headline_height)) {}

    /// The first `x` pixels of the picture's width, or `y` of its height, as gnuplot says it.
    std::string across(index_t x) const { return fraction(x, width); }
    std::string up(index_t y) const { return fraction(y, height); }

    /// A panel's legend: names side by side, and lines of them.
    std::pair<index_t, index_t> legend_size(plot_panel const& panel) const {
        constexpr index_t character = 12, sample = 40;  // as gnuplot counts them at font size 12
        index_t widest = 0, names = 0;
        for (auto const& series : panel.curves) {
            if (series.name.empty()) continue;
            widest = std::max<index_t>(widest, display_width(printable(series.name)));
            ++names;
        }
        index_t const room = panel_width - left_margin - right_margin;
        index_t const beside = std::max<index_t>(1, room / (character * widest + sample));
        return {beside, (names + beside - 1) / beside};
    }

private:
    static std::string fraction(index_t pixels, index_t size) {
        return "screen " +
               format_number(static_cast<double>(pixels) / static_cast<double>(size), 6);
    }
};

/// Everything of panel number `index`.
inline std::string panel_script(plot_panel const& panel, plot_layout const& layout, index_t index) {
    index_t const corner = index % layout.columns * layout.panel_width;
    index_t const left = corner + plot_layout::left_margin;
    index_t const right = corner + layout.panel_width - plot_layout::right_margin;
    index_t const floor = (layout.rows - 1 - index / layout.columns) * layout.panel_height;
    index_t const title = floor + layout.panel_height - plot_layout::top_margin;
    index_t const legend = title - plot_layout::title_height / 2 - 4;
    auto const [beside, lines] = layout.legend_size(panel);
    index_t const top = legend - lines * plot_layout::legend_line - 8;
    index_t const bottom = floor + plot_layout::bottom_margin;
    require<value_error>(top > bottom, "plot", "expected a panel_height above ",
                         layout.panel_height + bottom - top, " for the legend of '",
                         printable(panel.title), "', got ", layout.panel_height);
    std::string script;
    auto const set = [&](auto const&... parts) {
        script += (std::string("set ") + ... + parts) + '\n';
    };
    set("lmargin at ", layout.across(left));
    set("rmargin at ", layout.across(right));
    set("bmargin at ", layout.up(bottom));
    set("tmargin at ", layout.up(top));
    set("label 1 ", quote_for_gnuplot(panel.title), " at ", layout.across(left), ", ",
        layout.up(title), " left font ',14' textcolor rgb '#111827'");
    set("key at ", layout.across(left), ", ", layout.up(legend), " maxcols ",
        std::to_string(beside));
    set("xlabel ", quote_for_gnuplot(panel.x_label));
    set("ylabel ", quote_for_gnuplot(panel.y_label));
    script += panel.logarithmic ? "set logscale y\n" : "unset logscale\n";
    return script + curves_script(panel);
}

/// The whole picture.
inline std::string plot_script(plot const& picture) {
    plot_layout const layout(picture);
    std::string script =
        "set encoding utf8\nset terminal pngcairo noenhanced font 'Sans,12' size " +
        std::to_string(layout.width) + ',' + std::to_string(layout.height) +
        " background '#ffffff'\n"
        "set border 3 lw 1 lc rgb '#9aa1ab'\n"
        "set tics nomirror out scale 0.5 textcolor rgb '#4b5563' font ',11'\n"
        "set format '%g'\n"
        "set grid back lt 1 lw 1 lc rgb '#e8ebf0'\n"
        "set xlabel offset 0, 0.6 textcolor rgb '#4b5563'\n"
        "set ylabel textcolor rgb '#4b5563'\n"
        "set key horizontal left top Left reverse samplen 1.8 textcolor rgb '#374151'\n"
        "set autoscale fix\n"
        "set offsets 0, 0, graph 0.05, graph 0.05\n"
        "set multiplot\n";
    if (!picture.title.empty())
        script += "set label 2 " + quote_for_gnuplot(picture.title) + " at " +
                  layout.across(plot_layout::left_margin) + ", " +
                  layout.up(layout.height - plot_layout::headline_height / 2 - 4) +
                  " left font ',17' textcolor rgb '#111827'\n";
    for (index_t i = 0; i < std::ssize(picture.panels); ++i)
        script += panel_script(picture.panels[static_cast<std::size_t>(i)], layout, i) +
                  "unset label 2\n";
    return script + "unset multiplot\n";
}

}  // namespace detail

/// Draws `picture` to the PNG file `path`, atomically. Text appears as it is: no markup, no
/// commands. Throws value_error for a picture without panels, a panel without a point or too
/// small for its legend, and less than one column; shape_error for curves of unequal x and y,
/// io_error where gnuplot is missing or fails.
/// ```
/// auto records = read_metrics("metrics.jsonl");
/// write_png({.title = "Countdown", .panels = {{.title = "Reward", .x_label = "step",
///            .curves = {series_of(records, "reward")}, .average_over = 20}}}, "reward.png");
/// ```
inline void write_png(plot const& picture, std::filesystem::path const& path) {
    require<value_error>(!picture.panels.empty(), "plot", "expected at least one panel, got none");
    require<value_error>(picture.columns >= 1, "plot", "expected columns ≥ 1, got ",
                         picture.columns);
    require<value_error>(picture.panel_width >= 240 && picture.panel_height >= 180, "plot",
                         "expected panels of at least 240 × 180 pixels, got ", picture.panel_width,
                         " × ", picture.panel_height);
    for (auto const& panel : picture.panels) detail::check_panel(panel);
    std::string const script = detail::plot_script(picture);
    atomic_write(path, [&](output_file& file) { detail::run_gnuplot(script, file); });
}

}  // namespace grove::inline GROVE_ISA
