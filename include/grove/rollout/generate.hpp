// SPDX-License-Identifier: Apache-2.0
/// @file
/// Batched generation in which finished sequences make room for waiting ones.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "grove/core/trace.hpp"
#include "grove/rollout/decode_passes.hpp"
#include "grove/rollout/generation_options.hpp"

namespace grove::inline GROVE_ISA {

/// Generates with one model. A completion depends on the weights, its request and the sampling
/// options alone: not on the batch, the other requests or the number of threads.
/// @code
/// grove::generator engine(model, options);
/// std::vector<grove::completion> completions = engine(requests);
/// @endcode
template <class B, class T>
class generator {
public:
    generator(decoder<B, T> const& model, generation_options options)
        : model_(&model), options_(std::move(options)), sampler_(options_.sampling) {
        options_.validate();
    }

    /// Completions in the order of the requests. Throws value_error for an empty prompt,
    /// shape_error for one without room for a new token.
    std::vector<completion> operator()(std::vector<generation_request> const& requests);
    /// Calls on_token(request, completion so far) after every token, while the device may be at the
    /// next one already: a token that ends a sequence may have been fed once more, for nothing.
    template <class OnToken>
    std::vector<completion> operator()(std::vector<generation_request> const& requests,
                                       OnToken on_token) {
        prepare(requests);
        std::vector<completion> results(requests.size());
        std::size_t next = 0;
        for (;;) {
            next = admit(requests, next);
            if (active_.empty()) break;
            if (can_decode())
                decode(requests, results, on_token, next < requests.size());
            else
                step(requests, results, on_token);
        }
        return results;
    }

    /// How the passes of the last call were run.
    generation_report const& report() const { return report_; }

private:
    struct sequence {
        std::size_t request;
        index_t slot;
        index_t length = 0;                 // tokens in the cache
        std::vector<std::int32_t> pending;  // tokens to feed next
        bool is_over = false;
    };
    struct no_passes {
        struct pass {};
    };
    using passes = std::conditional_t<records_passes<B, T>, decode_passes<B, T>, no_passes>;
    /// A pass under way, and which active sequence each of its rows is.
    struct decode_pass {
        std::vector<std::size_t> rows;
        typename passes::pass queued;
    };

    /// Makes a cache that fits the longest request and forgets what an interrupted call left.
    void prepare(std::vector<generation_request> const& requests) {
        index_t const positions = model_->config().max_position_embeddings;
        index_t longest = 0;
        for (auto const& request : requests) {
            auto const n = static_cast<index_t>(request.prompt.size());
            require<value_error>(n > 0, "generate",
                                 "expected a prompt of at least one token, got none");
            require<shape_error>(n < positions, "generate", "expected prompts shorter than ",
                                 positions, " tokens, got ", n);
            longest = std::max(longest, std::min(n + options_.max_new_tokens, positions));
        }
        index_t const slots = std::min(options_.max_batch, static_cast<index_t>(requests.size()));
        if (!cache_ || cache_->capacity() < longest || slots_ < slots) {
            cache_.emplace(model_->backend(), model_->config(), std::max(slots, slots_) + 1,
                           std::max(longest, cache_ ? cache_->capacity() : 0),
                           options_.expand_latents);
            slots_ = std::max(slots, slots_);
            if constexpr (records_passes<B, T>)
                passes_.emplace(*model_, *cache_, slots_, options_.sampling,
                                options_.expand_latents);
        }
        report_ = {0, 0, without_graphs()};
        forget_moved();
        active_.clear();
        free_.clear();
        for (index_t slot = slots; slot-- > 0;) free_.push_back(slot);
    }
    /// Drops the recorded passes where weights or cache are no longer where they were.
    void forget_moved() {
        if constexpr (records_passes<B, T>) {
            std::vector<std::shared_ptr<void const>> places{cache_->keys(0).buffer().place()};
            model_->visit([&](auto const& p) { places.push_back(p.value.buffer().place()); });
            model_->visit_routers(
                [&](auto const& r) { places.push_back(r.score_correction_bias.buffer().place()); });
            auto const stays = [](auto const& old, auto const& now) { return old.lock() == now; };
            if (std::ranges::equal(places_, places, stays)) return;
            passes_->forget();
            places_.assign(places.begin(), places.end());
        }
    }
    /// Gives free slots to waiting requests; returns the first that still waits.
    std::size_t admit(std::vector<generation_request> const& requests, std::size_t next) {
        index_t budget = options_.prefill_tokens;
        while (next < requests.size() && !free_.empty()) {
            auto const n = static_cast<index_t>(requests[next].prompt.size());
            if (n > budget && budget < options_.prefill_tokens) break;
            budget -= n;
            active_.push_back({next, free_.back(), 0, requests[next].prompt});
            free_.pop_back();
            ++next;
        }
        return next;
    }
    /// One pass over all active sequences and one new token for each.
    template <class OnToken>
    void step(std::vector<generation_request> const& requests, std::vector<completion>& results,
              OnToken& on_token) {
        trace_range const range("grove: generate one token");
        ++report_.passes;
        std::vector<double> uniforms;
        for (auto const& s : active_)
            uniforms.push_back(uniform(requests[s.request], results[s.request].tokens.size()));
        draws<T> const drawn = draw(next_logits(results), uniforms);
        for (std::size_t i = 0; i < active_.size(); ++i)
            take(active_[i], drawn, i, requests, results, on_token);
        leave();
    }
    /// Adds what a row drew to its sequence.
    template <class OnToken>
    void take(sequence& s, draws<T> const& drawn, std::size_t row,
              std::vector<generation_request> const& requests, std::vector<completion>& results,
              OnToken& on_token) {
        auto& result = results[s.request];
        append(result, drawn, row);
        s.pending.assign(1, drawn.tokens[row]);
        s.is_over = finished(result, requests[s.request]);
        on_token(s.request, static_cast<completion const&>(result));
        if (s.is_over) free_.push_back(s.slot);
    }
    /// Those that are over are active no more.
    void leave() {
        std::erase_if(active_, [](sequence const& s) { return s.is_over; });
    }
    /// Draws where the logits are, if the backend can: tokens and kept sets alone come back.
    draws<T> draw(tensor<B, T> const& logits, std::vector<double> const& uniforms) {
        if constexpr (draws_tokens<B, T>) {
            B& b = logits.backend();
            return draw_placed(logits, b.upload(std::span<double const>(uniforms)),
                               options_.sampling, b.template allocate<std::int32_t>(logits.rows()))
                .on_host(b, logits.rows());
        } else {
            return draw_on_host(logits, uniforms, sampler_);
        }
    }
    /// Why this generator records no passes; empty where it does.
    std::string_view without_graphs() const {
        if constexpr (records_passes<B, T>) {
            if (!options_.graphs) return "the options say so";
            if (options_.record_routing) return "experts are recorded on the host";
            if (!model_->backend().can_capture()) return "a default stream cannot be captured";
            return {};
        } else {
            return "the backend has no graphs";
        }
    }
    /// Whether the next pass is of one token each, and recorded.
    bool can_decode() const {
        return report_.without_graphs.empty() &&
               std::all_of(active_.begin(), active_.end(),
                           [](auto const& s) { return s.pending.size() == 1; });
    }
    /// Passes of one token for each active sequence, each queued before the draws of the one before
    /// are read: the device need not wait for the host. A sequence that draws its end is thus fed
    /// once more, and what that draws is dropped. Returns when all have ended, and where a waiting
    /// request can join.
    template <class OnToken>
    void decode(std::vector<generation_request> const& requests, std::vector<completion>& results,
                OnToken& on_token, bool others_wait) {
        if constexpr (records_passes<B, T>) {
            auto const is_active = [&](std::size_t which) { return !active_[which].is_over; };
            auto const goes_on = [&](std::size_t which) {
                auto const request = active_[which].request;
                return is_active(which) &&
                       !is_full(requests[request], results[request].tokens.size() + 1);
            };
            auto pass = queue(requests, results, nullptr, is_active);
            while (std::ranges::any_of(pass.rows, is_active)) {
                trace_range const range("grove: generate one token");
                bool const some_join =
                    others_wait && !(free_.empty() && std::ranges::all_of(pass.rows, goes_on));
                auto following = passes_->runs_ahead() && !some_join
                                     ? queue(requests, results, &pass, goes_on)
                                     : decode_pass{};
                draws<T> const drawn = passes_->take(pass.queued);
                for (std::size_t i = 0; i < pass.rows.size(); ++i)
                    if (is_active(pass.rows[i]))
                        take(active_[pass.rows[i]], drawn, i, requests, results, on_token);
                pass = std::move(following);
            }
            if (!pass.rows.empty()) passes_->take(pass.queued);  // nothing is left under way
            leave();
        }
    }
    /// Queues a pass over the active sequences that are fed: their pending tokens, or those that
    /// the pass `before` draws for them.
    template <class IsFed>
    decode_pass queue(std::vector<generation_request> const& requests,
                      std::vector<completion> const& results, decode_pass const* before,
                      IsFed const& is_fed) {
        decode_pass y;
        std::vector<decode_entry> entries;
        std::size_t const rows = before == nullptr ? active_.size() : before->rows.size();
        for (std::size_t row = 0; row < rows; ++row) {
            std::size_t const which = before == nullptr ? row : before->rows[row];
            if (!is_fed(which)) continue;
            auto& s = active_[which];
            auto const drawn = results[s.request].tokens.size() + (before == nullptr ? 0 : 1);
            y.rows.push_back(which);
            entries.push_back({.token = s.pending[0],
                               .source = before == nullptr ? -1 : static_cast<std::int32_t>(row),
                               .position = static_cast<std::int32_t>(s.length++),
                               .slot = static_cast<std::int32_t>(s.slot),
                               .uniform = uniform(requests[s.request], drawn)});
        }
        if (entries.empty()) return y;
        y.queued = passes_->queue(entries);
        ++report_.passes;
        report_.graph_launches += y.queued.is_recorded;
        return y;
    }
    /// Feeds the pending tokens; logits [active, vocabulary] of each sequence's last one.
    tensor<B, T> next_logits(std::vector<completion>& results);
    /// Adds the experts of the tokens just fed to their completions.
    void record(std::vector<routing<B, T>> const& routings, std::vector<completion>& results) {
        for (std::size_t layer = 0; layer < routings.size(); ++layer) {
            auto const chosen = to_host(routings[layer].experts);
            auto from = chosen.begin();
            for (auto const& s : active_) {
                auto& experts = results[s.request].experts;
                experts.resize(routings.size());
                auto const to = from + static_cast<std::ptrdiff_t>(s.pending.size()) *
                                           routings[layer].experts.columns();
                experts[layer].insert(experts[layer].end(), from, to);
                from = to;
            }
        }
    }
    static void append(completion& result, draws<T> const& drawn, std::size_t row) {
        result.tokens.push_back(drawn.tokens[row]);
        result.log_probability.push_back(static_cast<float>(drawn.log_probability[row]));
        auto const& kept = drawn.kept;
        if (kept.all()) return;
        if (result.kept.all()) result.kept.offsets = {0};
        result.kept.tokens.insert(result.kept.tokens.end(), kept.tokens.begin() + kept.offsets[row],
                                  kept.tokens.begin() + kept.offsets[row + 1]);
        result.kept.offsets.push_back(static_cast<std::int32_t>(result.kept.tokens.size()));
    }
    bool finished(completion& result, generation_request const& request) const {
        auto const& ends = options_.end_tokens;
        if (std::find(ends.begin(), ends.end(), result.tokens.back()) != ends.end()) {
            result.reason = finish_reason::end;
            return true;
        }
        for (auto const& stop : options_.stop_sequences)
            if (result.tokens.size() >= stop.size() &&
                std::equal(stop.rbegin(), stop.rend(), result.tokens.rbegin())) {
                result.reason = finish_reason::stop;
                return true;
            }
        result.reason = finish_reason::length;
        return is_full(request, result.tokens.size());
    }
    /// Whether no more may be drawn than so many tokens.
    bool is_full(generation_request const& request, std::size_t tokens) const {
        return static_cast<index_t>(tokens) >= options_.max_new_tokens ||
               static_cast<index_t>(request.prompt.size() + tokens) >=
                   model_->config().max_position_embeddings;
    }
    /// The number that draws the token behind so many others.
    static double uniform(generation_request const& request, std::size_t tokens) {
        return request.key.template uniform<double>(static_cast<std::uint32_t>(tokens));
    }

    decoder<B, T> const* model_;
    generation_options options_;
    sampler sampler_;
    std::optional<kv_cache<B, T>> cache_;
    index_t slots_ = 0;  // behind them one that nobody reads
    std::optional<passes> passes_;
    std::vector<std::weak_ptr<void const>> places_;  // of what they read
    generation_report report_;
    std::vector<sequence> active_;
    std::vector<index_t> free_;
};

template <class B, class T>
std::vector<completion> generator<B, T>::operator()(
    std::vector<generation_request> const& requests) {
    return (*this)(requests, [](std::size_t, completion const&) {});
}

template <class B, class T>
tensor<B, T> generator<B, T>::next_logits(std::vector<completion>& results) {
    packed_tokens batch;
    cached_keys<B, T> keys(*cache_);
    std::vector<std::int32_t> last;
    for (auto& s : active_) {
        auto const n = static_cast<index_t>(s.pending.size());
        keys.add(s.slot, s.length, n);
        for (index_t i = 0; i < n; ++i) {
            batch.tokens.push_back(s.pending[static_cast<std::size_t>(i)]);
            batch.positions.push_back(static_cast<std::int32_t>(s.length + i));
        }
        s.length += n;
        last.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
    }
    batch.layout = keys.layout();
    B& b = model_->backend();
    auto const output =
        model_->forward(b, batch, keys, {.expand_latents = options_.expand_latents});
    if (options_.record_routing) record(output.routings, results);
    return model_->logits(gather_rows(output.hidden, indices_from(b, last)));
}

}  // namespace grove::inline GROVE_ISA
