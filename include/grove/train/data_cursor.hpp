// SPDX-License-Identifier: Apache-2.0
/// @file
/// Where a run is in its problems.
#pragma once

#include <cstdint>
#include <string>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A problem to draw completions from, and how often that was done before: what random_key wants to
/// know.
struct problem_visit {
    index_t problem = 0;
    index_t visit = 0;

    friend bool operator==(problem_visit const&, problem_visit const&) = default;
};

/// Walks through problems 0, 1, 2, … and, where their number is known, begins again behind the
/// last. Its position alone says which problem comes next and how often each was visited.
class data_cursor {
public:
    /// `problem_count` problems; 0: endless. Throws configuration_error where negative.
    explicit data_cursor(index_t problem_count = 0) : count_(problem_count) {
        require<configuration_error>(count_ >= 0, "data_cursor", "expected problem_count ≥ 0, got ",
                                     count_);
    }

    /// Problems drawn so far.
    index_t position() const { return position_; }
    /// How often `problem` was drawn so far. Throws value_error where there is no such problem.
    index_t visits(index_t problem) const {
        require<value_error>(problem >= 0 && (count_ == 0 || problem < count_),
                             "data_cursor::visits", "expected one of ", count_, " problems, got ",
                             problem);
        if (count_ == 0) return problem < position_ ? 1 : 0;
        return position_ / count_ + (problem < position_ % count_ ? 1 : 0);
    }
    /// The next problem.
    problem_visit next() {
        index_t const at = position_++;
        return count_ == 0 ? problem_visit{at, 0} : problem_visit{at % count_, at / count_};
    }

    /// Writes the cursor's sections under `prefix`.
    template <class Writer>
    void save(Writer& file, std::string const& prefix) const {
        file.template put_value<index_t>(prefix + "position", position_);
        file.template put_value<index_t>(prefix + "problem_count", count_);
    }
    /// Reads what save wrote. Throws io_error where that is missing, configuration_error where it
    /// was over another number of problems, whose visits mean something else; this cursor is then
    /// unchanged.
    template <class Reader>
    void load(Reader const& file, std::string const& prefix) {
        auto const position = file.template get_value<index_t>(prefix + "position");
        auto const count = file.template get_value<index_t>(prefix + "problem_count");
        require<configuration_error>(count == count_, "data_cursor",
                                     "expected a run over problem_count ", count_,
                                     ", got one over ", count);
        require<io_error>(position >= 0, "data_cursor", "expected a position ≥ 0, got ", position);
        position_ = position;
    }

private:
    index_t count_;
    index_t position_ = 0;
};

}  // namespace grove::inline GROVE_ISA
