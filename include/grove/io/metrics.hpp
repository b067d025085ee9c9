// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a run measures step by step, and its plainest record: a JSON Lines file.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/file.hpp"
#include "grove/io/json.hpp"
#include "grove/io/metric_record.hpp"
#include "grove/io/terminal.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// Throws value_error for a negative step and for a name that is empty, repeated or not UTF-8.
inline void check_record(metric_record const& record) {
    require<value_error>(record.step >= 0, "metric_record", "expected a step ≥ 0, got ",
                         record.step);
    for (auto m = record.values.begin(); m != record.values.end(); ++m) {
        require<value_error>(
            !m->name.empty() && m->name != "step" && is_utf8(m->name), "metric_record",
            "expected names in UTF-8 other than '' and 'step', got '", printable(m->name), "'");
        bool const repeated = std::any_of(record.values.begin(), m, [&](metric const& earlier) {
            return earlier.name == m->name;
        });
        require<value_error>(!repeated, "metric_record", "expected each name once, got '", m->name,
                             "' twice");
    }
}

/// {"step":3,"reward":0.5}
inline std::string format_metric_line(metric_record const& record) {
    check_record(record);
    ordered_json line{{"step", record.step}};
    for (auto const& [name, value] : record.values) line[name] = value;
    return format_json(line);
}

inline metric_record parse_metric_line(std::string_view line, std::string const& source) {
    auto const object = parse_json<ordered_json>(line, source);
    auto const step = object.is_object() ? object.find("step") : object.end();
    require<io_error>(step != object.end() && step->is_number_integer(), "read_metrics",
                      "expected ", source,
                      " to be an object with an integer step, got another value");
    metric_record record{step->get<index_t>(), {}};
    for (auto const& [name, value] : object.items()) {
        if (name == "step") continue;
        require<io_error>(value.is_number() || value.is_null(), "read_metrics", "expected '", name,
                          "' in ", source, " to be a number or null, got another value");
        double const nothing = std::numeric_limits<double>::quiet_NaN();
        record.values.push_back({name, value.is_null() ? nothing : value.get<double>()});
    }
    return record;
}

}  // namespace detail

/// The records of a JSON Lines file, in its order; null becomes NaN. A last line without its line
/// end, cut off by the death of the writer, is left out. Throws io_error naming the line for
/// anything else.
inline std::vector<metric_record> read_metrics(std::filesystem::path const& path) {
    std::string const content = read_file(path);
    std::vector<metric_record> records;
    std::string_view rest = content;
    for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
        std::string const source = path.string() + ':' + std::to_string(records.size() + 1);
        records.push_back(detail::parse_metric_line(rest.substr(0, end), source));
        rest.remove_prefix(end + 1);
    }
    return records;
}

/// A metric_sink that appends one line per record, `{"step":3,"reward":0.5}`, to a JSON Lines file
/// and hands it to the system at once. NaN and infinities become null.
/// ```
/// jsonl_writer log("runs/countdown/metrics.jsonl", resumed_step);
/// log.write({step, {{"reward", 0.71}, {"kl", 0.002}}});
/// ```
class jsonl_writer {
public:
    /// Keeps the records of steps ≤ `resumed_step`, so that a run killed after its checkpoint and
    /// resumed from it holds every step once; −1, a fresh run, keeps none. Throws io_error.
    explicit jsonl_writer(std::filesystem::path path, index_t resumed_step = -1)
        : file_(keep_until(resumed_step, std::move(path)), output_file::mode::append) {}

    /// Throws value_error for a negative step and for a name that is empty, repeated, "step" or not
    /// UTF-8; io_error where the file cannot be written.
    void write(metric_record const& record) {
        file_.write(detail::format_metric_line(record) + '\n');
        file_.flush();
    }

private:
    /// Returns `path` once its file holds the records of steps ≤ `last_step` alone.
    static std::filesystem::path keep_until(index_t last_step, std::filesystem::path path) {
        std::string kept;
        std::error_code unreadable;
        if (last_step >= 0 && std::filesystem::exists(path, unreadable))
            for (auto const& record : read_metrics(path))
                if (record.step <= last_step) kept += detail::format_metric_line(record) + '\n';
        create_folder(path.parent_path());
        atomic_write(path, [&](output_file& file) { file.write(kept); });
        return path;
    }

    output_file file_;
};

}  // namespace grove::inline GROVE_ISA
