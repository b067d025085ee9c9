// SPDX-License-Identifier: Apache-2.0
/// @file
/// Drawing a token from each row of a tensor of logits, where the logits are if the backend can.
#pragma once

#include "grove/ops/token_statistics.hpp"
#include "grove/rollout/sampler.hpp"

namespace grove::inline GROVE_ISA {

/// What was drawn from each row, on the host.
template <class T>
struct draws {
    std::vector<std::int32_t> tokens;
    std::vector<T> log_probability;  ///< from the function that the trainer uses
    kept_tokens kept;                ///< where sampling truncates
};

/// A backend on which a token can be drawn without bringing the logits to the host.
template <class B, class T>
concept draws_tokens = has_token_sampling<B, T> && has_token_statistics<B, T>;

/// What was drawn from each row, still on the backend.
template <class B, class T>
struct placed_draws {
    using indices = typename B::template buffer<std::int32_t>;
    indices tokens;                                  ///< [rows]
    typename B::template buffer<T> log_probability;  ///< [rows]
    indices kept_offsets, kept;  ///< kept[offsets[i]] … of row i; empty where nothing truncates

    /// The first `rows` rows, on the host. Waits for the backend.
    draws<T> on_host(B& b, index_t rows) const {
        auto const read = [&b]<class X>(typename B::template buffer<X> const& x, index_t size,
                                        std::vector<X>& y) {
            y.resize(static_cast<std::size_t>(size));
            b.download(b.slice(x, 0, size), std::span<X>(y));
        };
        draws<T> y;
        read.template operator()<std::int32_t>(tokens, rows, y.tokens);
        read.template operator()<T>(log_probability, rows, y.log_probability);
        if (kept_offsets.size() == 0) return y;
        read.template operator()<std::int32_t>(kept_offsets, rows + 1, y.kept.offsets);
        read.template operator()<std::int32_t>(kept, y.kept.offsets.back(), y.kept.tokens);
        return y;
    }
};

/// Tokens on their way to the host, behind which more work may be queued. Not where sampling
/// truncates: how many tokens it kept, the device alone knows.
template <class B, class T>
class arriving_draws {
public:
    /// Of the first `rows` rows.
    void fetch(B& b, placed_draws<B, T> const& drawn, index_t rows) {
        b.fetch(b.slice(drawn.tokens, 0, rows), tokens_);
        b.fetch(b.slice(drawn.log_probability, 0, rows), log_probability_);
    }
    /// Waits for them alone.
    draws<T> on_host(B& b) const {
        auto const tokens = b.await(tokens_);
        auto const log_probability = b.await(log_probability_);
        return {
            {tokens.begin(), tokens.end()}, {log_probability.begin(), log_probability.end()}, {}};
    }

private:
    typename B::template arrival<std::int32_t> tokens_;
    typename B::template arrival<T> log_probability_;
};

/// A token from each row of logits [rows, vocabulary] by a uniform number each, written to `tokens`
/// [rows]; queued, not waited for.
template <class B, class T>
placed_draws<B, T> draw_placed(tensor<B, T> const& logits,
                               typename B::template buffer<double> const& uniforms,
                               sampling_options const& options,
                               typename B::template buffer<std::int32_t> const& tokens)
    requires draws_tokens<B, T>
{
    B& b = logits.backend();
    auto const [offsets, kept] =
        b.sample_tokens(logits.buffer(), logits.columns(), uniforms, options, tokens);
    auto statistics =
        b.token_statistics(logits.buffer(), logits.columns(), tokens,
                           T(1) / static_cast<T>(options.recorded_temperature()), offsets, kept);
    return {tokens, statistics[0], offsets, kept};
}

/// The same on the host, by `sampler`, on any backend.
template <class B, class T>
draws<T> draw_on_host(tensor<B, T> const& logits, std::vector<double> const& uniforms,
                      sampler& draw) {
    auto const& options = draw.options();
    draws<T> y;
    if (options.truncates() && options.temperature > 0) y.kept.offsets = {0};
    auto const host = to_host(logits);
    auto const columns = static_cast<std::size_t>(logits.columns());
    for (std::size_t i = 0; i < uniforms.size(); ++i) {
        y.tokens.push_back(
            draw(std::span<T const>(host.data() + i * columns, columns), uniforms[i]));
        if (y.kept.all()) continue;
        auto const set = draw.kept();
        y.kept.tokens.insert(y.kept.tokens.end(), set.begin(), set.end());
        y.kept.offsets.push_back(static_cast<std::int32_t>(y.kept.tokens.size()));
    }
    y.log_probability =
        to_host(token_statistics(logits, indices_from(logits.backend(), y.tokens),
                                 static_cast<T>(options.recorded_temperature()), y.kept)[0]);
    return y;
}

}  // namespace grove::inline GROVE_ISA
