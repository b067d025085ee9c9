// SPDX-License-Identifier: Apache-2.0
/// @file
/// A table for a terminal or a log, as a string.
#pragma once

#include <algorithm>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/io/terminal.hpp"

namespace grove::inline GROVE_ISA {

/// A field of a table: text, or a number formatted with four significant digits.
class table_cell {
public:
    table_cell(std::string_view text) : text_(printable(text)) {}
    table_cell(std::string const& text) : table_cell(std::string_view(text)) {}
    table_cell(char const* text) : table_cell(std::string_view(text)) {}
    template <std::floating_point T>
    table_cell(T value, int digits = 4)
        : text_(format_number(static_cast<double>(value), digits)), number_(true) {}
    template <std::integral T>
    table_cell(T value) : text_(std::to_string(value)), number_(true) {}

    std::string const& text() const { return text_; }
    bool is_number() const { return number_; }

private:
    std::string text_;
    bool number_ = false;
};

/// Rows under a heading. A column is as wide as its widest cell, whatever the script; numbers are
/// aligned right, and so is the heading of a column of numbers.
/// ```
/// table results({"method", "reward", "kl"});
/// results.row({"grpo", 0.71, 0.002}).row({"ppo", 0.64, 0.011});
/// out << results.text();
/// // method  reward     kl
/// // ──────  ──────  ─────
/// // grpo      0.71  0.002
/// // ppo       0.64  0.011
/// ```
class table {
public:
    /// Throws value_error for a heading without columns.
    explicit table(std::vector<table_cell> heading) : heading_(std::move(heading)) {
        require<value_error>(!heading_.empty(), "table", "expected at least one column, got none");
    }

    /// Adds a row; throws shape_error unless it has one cell per column.
    table& row(std::vector<table_cell> cells) {
        require<shape_error>(cells.size() == heading_.size(), "table::row", "expected ",
                             heading_.size(), " cells, got ", cells.size());
        rows_.push_back(std::move(cells));
        return *this;
    }

    /// The whole table; every line ends with a line end and has no blanks before it.
    std::string text() const {
        std::vector<column> const columns = layout();
        std::string result = line(columns, heading_, true);
        for (auto const& [width, numeric] : columns) {
            for (int i = 0; i < width; ++i) result += "─";
            result += "  ";
        }
        end_line(result);
        for (auto const& cells : rows_) result += line(columns, cells, false);
        return result;
    }

private:
    struct column {
        int width = 0;
        bool numeric = false;
    };

    std::vector<column> layout() const {
        std::vector<column> columns(heading_.size());
        for (std::size_t i = 0; i < columns.size(); ++i) {
            columns[i].width = display_width(heading_[i].text());
            for (auto const& cells : rows_) {
                columns[i].width = std::max(columns[i].width, display_width(cells[i].text()));
                columns[i].numeric = columns[i].numeric || cells[i].is_number();
            }
        }
        return columns;
    }
    static std::string line(std::vector<column> const& columns,
                            std::vector<table_cell> const& cells, bool heading) {
        std::string result;
        for (std::size_t i = 0; i < columns.size(); ++i) {
            std::string const& text = cells[i].text();
            std::string const space(
                static_cast<std::size_t>(columns[i].width - display_width(text)), ' ');
            bool const right = heading ? columns[i].numeric : cells[i].is_number();
            result += (right ? space + text : text + space) + "  ";
        }
        end_line(result);
        return result;
    }
    static void end_line(std::string& text) {
        text.erase(text.find_last_not_of(' ') + 1);
        text += '\n';
    }

    std::vector<table_cell> heading_;
    std::vector<std::vector<table_cell>> rows_;
};

}  // namespace grove::inline GROVE_ISA
