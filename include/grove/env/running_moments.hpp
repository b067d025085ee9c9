// SPDX-License-Identifier: Apache-2.0
/// @file
/// Observations of mean 0 and variance 1, and rewards of a size that a critic can learn, by what
/// was seen so far.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/env/vector_environment.hpp"

namespace grove::inline GROVE_ISA {

/// Mean and variance of each column of all rows seen so far, merged block by block in double (Chan,
/// Golub & LeVeque 1979), so that they do not lose digits as the count grows.
class running_moments {
public:
    explicit running_moments(index_t columns)
        : mean_(static_cast<std::size_t>(columns)), squares_(mean_.size()) {}

    index_t columns() const { return static_cast<index_t>(mean_.size()); }
    /// Rows seen.
    index_t count() const { return count_; }
    double mean(index_t column) const { return mean_[static_cast<std::size_t>(column)]; }
    /// Biased variance; 1 before anything was seen.
    double variance(index_t column) const {
        return count_ == 0
                   ? 1.0
                   : squares_[static_cast<std::size_t>(column)] / static_cast<double>(count_);
    }

    /// Takes `rows` [n, columns]. Throws shape_error for another width, value_error for numbers
    /// that are not finite; nothing is then taken.
    template <class T>
    void add(std::span<T const> rows) {
        auto const width = mean_.size(), n = rows.size() / width;
        require<shape_error>(n * width == rows.size(), "running_moments", "expected rows of ",
                             width, " columns, got ", rows.size(), " numbers");
        for (T const x : rows)
            require<value_error>(std::isfinite(x), "running_moments",
                                 "expected finite numbers, got ", x);
        if (n == 0) return;
        double const block = static_cast<double>(n), before = static_cast<double>(count_);
        for (std::size_t j = 0; j < width; ++j) {
            double mean = 0, squares = 0;
            for (std::size_t i = 0; i < n; ++i) mean += static_cast<double>(rows[i * width + j]);
            mean /= block;
            for (std::size_t i = 0; i < n; ++i) {
                double const d = static_cast<double>(rows[i * width + j]) - mean;
                squares += d * d;
            }
            double const apart = mean - mean_[j];
            mean_[j] += apart * block / (before + block);
            squares_[j] += squares + apart * apart * before * block / (before + block);
        }
        count_ += static_cast<index_t>(n);
    }
    /// rows [n, columns] → (x − mean) / √(variance + 10⁻⁸), limited to ±limit, in place.
    void normalize(std::span<float> rows, double limit = 10.0) const {
        auto const width = mean_.size();
        std::vector<double> scale(width);
        for (std::size_t j = 0; j < width; ++j)
            scale[j] = 1 / std::sqrt(variance(static_cast<index_t>(j)) + 1e-8);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            std::size_t const j = i % width;
            double const x = (static_cast<double>(rows[i]) - mean_[j]) * scale[j];
            rows[i] = static_cast<float>(std::clamp(x, -limit, limit));
        }
    }

    template <class Writer>
    void save(Writer& file, std::string const& prefix) const {
        file.put(prefix + "mean", mean_);
        file.put(prefix + "squares", squares_);
        file.template put_value<index_t>(prefix + "count", count_);
    }
    /// Throws io_error where what save wrote is missing or has another width.
    template <class Reader>
    void load(Reader const& file, std::string const& prefix) {
        running_moments read(columns());
        file.get_into(prefix + "mean", read.mean_, {columns()});
        file.get_into(prefix + "squares", read.squares_, {columns()});
        read.count_ = file.template get_value<index_t>(prefix + "count");
        *this = std::move(read);
    }

private:
    std::vector<double> mean_, squares_;
    index_t count_ = 0;
};

/// Divides rewards by the standard deviation of the discounted return that runs along each of
/// several environments (as Gymnasium's NormalizeReward): their sign and their zero stay.
class reward_scale {
public:
    reward_scale(index_t environments, double discount)
        : running_(static_cast<std::size_t>(environments)), discount_(discount), moments_(1) {}

    /// Takes what a step brought: [environments].
    void add(std::span<double const> rewards, std::span<episode_state const> ends) {
        for (std::size_t i = 0; i < running_.size(); ++i)
            running_[i] = discount_ * running_[i] + rewards[i];
        moments_.add(std::span<double const>(running_));
        for (std::size_t i = 0; i < running_.size(); ++i)
            if (ends[i] != episode_state::running) running_[i] = 0;
    }
    /// What rewards are multiplied with.
    double factor() const { return 1 / std::sqrt(moments_.variance(0) + 1e-8); }

    template <class Writer>
    void save(Writer& file, std::string const& prefix) const {
        file.put(prefix + "running", running_);
        moments_.save(file, prefix);
    }
    /// Throws io_error where what save wrote is missing or is of other environments.
    template <class Reader>
    void load(Reader const& file, std::string const& prefix) {
        std::vector<double> running(running_.size());
        file.get_into(prefix + "running", running, {static_cast<index_t>(running.size())});
        moments_.load(file, prefix);
        running_ = std::move(running);
    }

private:
    std::vector<double> running_;
    double discount_;
    running_moments moments_;
};

}  // namespace grove::inline GROVE_ISA
