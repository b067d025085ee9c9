// SPDX-License-Identifier: Apache-2.0
/// @file
/// Drawing a token from a row of logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "grove/backend/sampling_options.hpp"
#include "grove/core/number.hpp"
#include "grove/core/random.hpp"

namespace grove::inline GROVE_ISA {

/// Draws from rows of logits; keeps its work space between calls.
class sampler {
public:
    explicit sampler(sampling_options options) : options_(options) { options.validate(); }

    sampling_options const& options() const { return options_; }
    /// One token from softmax(logits / temperature), truncated and renormalised, by inverse
    /// transform of `uniform` in [0, 1). Throws value_error where one logit is NaN or the largest
    /// is not finite.
    template <class T>
    std::int32_t operator()(std::span<T const> logits, double uniform) {
        kept_.clear();
        weigh(logits);
        if (options_.temperature == 0.0) return best_;
        if (!options_.truncates()) return draw(uniform);
        truncate();
        return draw_kept(uniform);
    }
    /// Tokens that the last draw kept, ascending; empty where it kept all.
    std::span<std::int32_t const> kept() const { return kept_; }

private:
    /// weights_ = e^((z − max z) / temperature).
    template <class T>
    void weigh(std::span<T const> logits) {
        auto const size = static_cast<std::ptrdiff_t>(logits.size());
        best_ = -1;
        for (std::ptrdiff_t i = 0; i < size; ++i) {
            T const z = logits[static_cast<std::size_t>(i)];
            require<value_error>(z == z, "sampler", "expected logits without NaN, got one at ", i);
            if (best_ < 0 || z > logits[static_cast<std::size_t>(best_)])
                best_ = static_cast<std::int32_t>(i);
        }
        require<value_error>(best_ >= 0, "sampler", "expected at least one logit, got none");
        T const top = logits[static_cast<std::size_t>(best_)];
        require<value_error>(std::isfinite(top), "sampler", "expected a finite largest logit, got ",
                             top);
        if (options_.temperature == 0.0) return;
        weights_.resize(logits.size());
        T const inverse = static_cast<T>(1.0 / options_.temperature);
        for_each_pack<T>(size, [&](std::ptrdiff_t i, int count) {
            pack<T> const z = load_pack(logits.data() + i, count, top);
            alignas(64) T lanes[pack<T>::size];
            math::exp((z - pack<T>(top)) * pack<T>(inverse)).store(lanes);
            for (int lane = 0; lane < count; ++lane)
                weights_[static_cast<std::size_t>(i + lane)] = static_cast<double>(lanes[lane]);
        });
    }
    std::int32_t draw(double uniform) const {
        double const target = uniform * std::accumulate(weights_.begin(), weights_.end(), 0.0);
        double sum = 0;
        for (std::size_t i = 0; i < weights_.size(); ++i) {
            sum += weights_[i];
            if (sum > target) return static_cast<std::int32_t>(i);
        }
        return best_;  // only by rounding of the last sum
    }
    std::int32_t draw_kept(double uniform) const {
        double total = 0, sum = 0;
        for (auto token : kept_) total += weights_[static_cast<std::size_t>(token)];
        for (auto token : kept_) {
            sum += weights_[static_cast<std::size_t>(token)];
            if (sum > uniform * total) return token;
        }
        return best_;
    }
    void truncate() {
        double const total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
        kept_.resize(weights_.size());
        std::iota(kept_.begin(), kept_.end(), 0);
        auto const weight = [&](std::int32_t token) {
            return weights_[static_cast<std::size_t>(token)];
        };
        auto const before = [&](auto a, auto b) {
            return weight(a) > weight(b) || (weight(a) == weight(b) && a < b);
        };
        if (options_.top_k > 0 && options_.top_k < static_cast<std::int64_t>(kept_.size())) {
            std::nth_element(kept_.begin(), kept_.begin() + (options_.top_k - 1), kept_.end(),
                             before);
            kept_.resize(static_cast<std::size_t>(options_.top_k));
        }
        std::sort(kept_.begin(), kept_.end(), before);
        if (options_.top_p < 1.0) {
            double allowed = options_.top_k > 0 ? 0.0 : total;
            if (options_.top_k > 0)
                for (auto token : kept_) allowed += weight(token);
            double sum = 0;
            std::size_t count = 0;
            while (count < kept_.size() && sum < options_.top_p * allowed)
                sum += weight(kept_[count++]);
            kept_.resize(std::max<std::size_t>(count, 1));
        }
        std::size_t count = kept_.size();
        while (count > 1 && weight(kept_[count - 1]) < options_.min_p * weight(kept_.front()))
            --count;
        kept_.resize(count);
        std::sort(kept_.begin(), kept_.end());
    }

    sampling_options options_;
    std::vector<double> weights_;
    std::vector<std::int32_t> kept_;
    std::int32_t best_ = -1;
};

}  // namespace grove::inline GROVE_ISA
