// SPDX-License-Identifier: Apache-2.0
/// @file
/// Batched generation in which finished sequences make room for waiting ones.
#pragma once

#include <string_view>

#include "grove/nn/decoder.hpp"
#include "grove/ops/token_statistics.hpp"
#include "grove/rollout/kv_cache.hpp"
#include "grove/rollout/sampler.hpp"

namespace grove::inline GROVE_ISA {

/// Why a completion ended.
enum class finish_reason {
    end,     ///< an end token was drawn
    stop,    ///< a stop sequence was completed
    length,  ///< max_new_tokens or the model's positions were used up
};
inline std::string_view name(finish_reason reason) {
    return reason == finish_reason::end ? "end" : reason == finish_reason::stop ? "stop" : "length";
}

/// What to continue, and the address of its random numbers.
struct generation_request {
    std::vector<std::int32_t> prompt;
    random_key key;
};

/// A continuation. Log-probabilities are those of softmax(logits / temperature) over the kept
/// tokens, from the function that the trainer uses.
struct completion {
    std::vector<std::int32_t> tokens;    ///< with the end token, without the prompt
    std::vector<float> log_probability;  ///< [tokens]
    kept_tokens kept;                    ///< per token where sampling truncates, else empty
    finish_reason reason = finish_reason::length;
    /// Where record_routing asks for it: the experts of the prompt's tokens and of all but the last
    /// of these, which is not fed.
    chosen_experts experts{};
};

/// Settings of generation.
struct generation_options {
    sampling_options sampling{};
    index_t max_new_tokens = 64;
    std::vector<std::int32_t> end_tokens{};
    std::vector<std::vector<std::int32_t>> stop_sequences{};
    index_t max_batch = 256;        ///< sequences at a time
    index_t prefill_tokens = 8192;  ///< prompt tokens of one pass (at least one prompt is admitted)
    bool record_routing = false;    ///< keep the chosen experts, for a trainer to replay
    /// Latent attention keeps keys and values instead of latents: the association of
    /// pass_options::expand_latents, with which a learner has the same bits.
    bool expand_latents = false;

    void validate() const {
        sampling.validate();
        require<configuration_error>(max_new_tokens > 0 && max_batch > 0 && prefill_tokens > 0,
                                     "generation_options",
                                     "expected positive max_new_tokens, max_batch and "
                                     "prefill_tokens, got ",
                                     max_new_tokens, ", ", max_batch, ", ", prefill_tokens);
        for (auto const& stop : stop_sequences)
            require<configuration_error>(!stop.empty(), "generation_options",
                                         "expected stop sequences of at least one token, got none");
    }
};

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
    /// Calls on_token(request, completion so far) after every token.
    template <class OnToken>
    std::vector<completion> operator()(std::vector<generation_request> const& requests,
                                       OnToken on_token) {
        prepare(requests);
        std::vector<completion> results(requests.size());
        std::size_t next = 0;
        for (;;) {
            next = admit(requests, next);
            if (active_.empty()) break;
            step(requests, results, on_token);
        }
        return results;
    }

private:
    struct sequence {
        std::size_t request;
        index_t slot;
        index_t length = 0;                 // tokens in the cache
        std::vector<std::int32_t> pending;  // tokens to feed next
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
            cache_.emplace(model_->backend(), model_->config(), std::max(slots, slots_),
                           std::max(longest, cache_ ? cache_->capacity() : 0),
                           options_.expand_latents);
            slots_ = std::max(slots, slots_);
        }
        active_.clear();
        free_.clear();
        for (index_t slot = slots; slot-- > 0;) free_.push_back(slot);
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
        auto const logits = next_logits(results);
        std::vector<T> const host = to_host(logits);
        auto const vocabulary = static_cast<std::size_t>(logits.columns());
        std::vector<std::int32_t> tokens;
        kept_tokens kept;
        if (options_.sampling.truncates() && options_.sampling.temperature > 0) kept.offsets = {0};
        for (std::size_t i = 0; i < active_.size(); ++i) {
            auto const request = active_[i].request;
            auto const position = static_cast<std::uint32_t>(results[request].tokens.size());
            std::span<T const> const row(host.data() + i * vocabulary, vocabulary);
            tokens.push_back(
                sampler_(row, requests[request].key.template uniform<double>(position)));
            if (kept.all()) continue;
            auto const set = sampler_.kept();
            kept.tokens.insert(kept.tokens.end(), set.begin(), set.end());
            kept.offsets.push_back(static_cast<std::int32_t>(kept.tokens.size()));
        }
        auto const log_probability = to_host(
            token_statistics(logits, indices_from(model_->backend(), tokens),
                             static_cast<T>(options_.sampling.recorded_temperature()), kept)[0]);
        std::vector<sequence> going_on;
        for (std::size_t i = 0; i < active_.size(); ++i) {
            auto& s = active_[i];
            auto& result = results[s.request];
            append(result, tokens[i], static_cast<float>(log_probability[i]), kept, i);
            bool const done = finished(result, s);
            on_token(s.request, static_cast<completion const&>(result));
            if (done) {
                free_.push_back(s.slot);
            } else {
                s.pending.assign(1, tokens[i]);
                going_on.push_back(std::move(s));
            }
        }
        active_ = std::move(going_on);
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
    static void append(completion& result, std::int32_t token, float log_probability,
                       kept_tokens const& kept, std::size_t row) {
        result.tokens.push_back(token);
        result.log_probability.push_back(log_probability);
        if (kept.all()) return;
        if (result.kept.all()) result.kept.offsets = {0};
        result.kept.tokens.insert(result.kept.tokens.end(), kept.tokens.begin() + kept.offsets[row],
                                  kept.tokens.begin() + kept.offsets[row + 1]);
        result.kept.offsets.push_back(static_cast<std::int32_t>(result.kept.tokens.size()));
    }
    bool finished(completion& result, sequence const& s) const {
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
        return static_cast<index_t>(result.tokens.size()) >= options_.max_new_tokens ||
               s.length + 1 >= model_->config().max_position_embeddings;
    }

    decoder<B, T> const* model_;
    generation_options options_;
    sampler sampler_;
    std::optional<kv_cache<B, T>> cache_;
    index_t slots_ = 0;
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
