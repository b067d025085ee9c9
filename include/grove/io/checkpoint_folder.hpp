// SPDX-License-Identifier: Apache-2.0
/// @file
/// The folder in which a run keeps its checkpoints: step-000100.grove, step-000200.grove, …
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/checkpoint.hpp"
#include "grove/io/file.hpp"

namespace grove::inline GROVE_ISA {

/// Where a run can go on.
struct resume_point {
    index_t step = 0;
    std::filesystem::path path;
    /// Why newer checkpoints were passed over, one sentence each; report them.
    std::vector<std::string> damaged;
};

/// Checkpoints named by step. A folder belongs to one run at a time, which saves one checkpoint at
/// a time.
/// ```
/// checkpoint_folder checkpoints("runs/countdown");
/// if (auto point = checkpoints.latest()) load(checkpoint_reader(point->path));
/// checkpoints.save(step, [&](checkpoint_writer& file) { … });
/// checkpoints.keep_last(3);
/// ```
class checkpoint_folder {
public:
    explicit checkpoint_folder(std::filesystem::path folder) : folder_(std::move(folder)) {}

    std::filesystem::path path_of(index_t step) const {
        require<value_error>(step >= 0, "checkpoint_folder", "expected a step ≥ 0, got ", step);
        std::string const digits = std::to_string(step);
        std::string const zeros(digits.size() < 6 ? 6 - digits.size() : 0, '0');
        return folder_ / ("step-" + zeros + digits + ".grove");
    }

    /// The steps that have a file, ascending; none where the folder does not exist. Throws io_error
    /// where the folder cannot be read.
    std::vector<index_t> steps() const {
        std::vector<index_t> steps;
        for (auto const& path : entries()) {
            auto const step = step_of(path.filename().string());
            if (step && path == path_of(*step)) steps.push_back(*step);
        }
        std::ranges::sort(steps);
        return steps;
    }

    /// The newest checkpoint that verifies to the last byte; none where the folder holds none at
    /// all. Throws io_error where it holds some and all are damaged: a run must not quietly start
    /// afresh.
    std::optional<resume_point> latest() const {
        std::vector<index_t> const present = steps();
        resume_point point;
        for (auto step = present.rbegin(); step != present.rend(); ++step) {
            point.step = *step;
            point.path = path_of(*step);
            try {
                checkpoint_reader(point.path).verify();
                return point;
            } catch (io_error const& e) {
                point.damaged.emplace_back(e.what());
            }
        }
        require<io_error>(present.empty(), "checkpoint_folder", "expected an intact checkpoint in ",
                          folder_, ", got ", present.size(), " damaged ones, the oldest: ",
                          point.damaged.empty() ? "" : point.damaged.back());
        return std::nullopt;
    }

    /// Writes the checkpoint of `step` (see write_checkpoint); creates the folder where missing,
    /// and first frees the space of temporaries that killed runs left. Throws io_error; the
    /// checkpoints that were there stay.
    template <class Writer>
    void save(index_t step, Writer&& writer) const {
        create_folder(folder_);
        remove_temporaries();
        write_checkpoint(path_of(step), writer);
    }

    /// Removes all but the newest `count` ≥ 1 checkpoints.
    void keep_last(index_t count) const {
        require<value_error>(count >= 1, "checkpoint_folder::keep_last", "expected count ≥ 1, got ",
                             count);
        std::vector<index_t> const present = steps();
        for (std::ptrdiff_t i = 0; i + count < std::ssize(present); ++i)
            remove(path_of(present[static_cast<std::size_t>(i)]));
    }

private:
    std::vector<std::filesystem::path> entries() const {
        std::vector<std::filesystem::path> paths;
        std::error_code reason;
        if (!std::filesystem::exists(folder_, reason) && !reason) return paths;
        std::filesystem::directory_iterator entry(folder_, reason);
        for (; !reason && entry != std::filesystem::directory_iterator(); entry.increment(reason))
            paths.push_back(entry->path());
        require<io_error>(!reason, "checkpoint_folder", "expected to list ", folder_,
                          ", got: ", reason.message());
        return paths;
    }
    void remove_temporaries() const {
        for (auto const& path : entries()) {
            std::string const name = path.filename().string();
            if (name.starts_with(".step-") && name.ends_with(".tmp")) remove(path);
        }
    }
    static std::optional<index_t> step_of(std::string_view name) {
        if (!name.starts_with("step-") || !name.ends_with(".grove")) return std::nullopt;
        name = name.substr(5, name.size() - 11);
        index_t step = -1;
        auto const [end, reason] = std::from_chars(name.data(), name.data() + name.size(), step);
        bool const whole = reason == std::errc() && end == name.data() + name.size() && step >= 0;
        return whole ? std::optional(step) : std::nullopt;
    }
    static void remove(std::filesystem::path const& path) {
        std::error_code reason;
        std::filesystem::remove(path, reason);
        require<io_error>(!reason, "checkpoint_folder", "expected to remove ", path,
                          ", got: ", reason.message());
    }

    std::filesystem::path folder_;
};

}  // namespace grove::inline GROVE_ISA
