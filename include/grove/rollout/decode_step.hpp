// SPDX-License-Identifier: Apache-2.0
/// @file
/// A pass of one token for each sequence, recorded once and launched as a whole.
#pragma once

#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "grove/nn/decoder.hpp"
#include "grove/rollout/draw.hpp"
#include "grove/rollout/kv_cache.hpp"

namespace grove::inline GROVE_ISA {

/// A backend on which a pass from tokens to tokens can be recorded: nothing in it needs the host.
template <class B, class T>
concept records_passes = has_graphs<B> && has_attention<B, T> && draws_tokens<B, T>;

/// A token to feed: itself, or the row of the pass before that draws it; where it stands in its
/// sequence, the slot of the cache that holds the sequence, and the number by which the next one is
/// drawn.
struct decode_entry {
    std::int32_t token = 0;    ///< where no row draws it
    std::int32_t source = -1;  ///< that row, or −1
    std::int32_t position = 0, slot = 0;
    double uniform = 0;
};

/// What passes of at most `rows` tokens read, on the backend, and where they leave the tokens that
/// they draw for the next one. All passes share it: each is done before the next begins.
template <class B>
class decode_inputs {
public:
    using indices = typename B::template buffer<std::int32_t>;
    /// Per row of a pass; `offsets`, the last, is one longer.
    enum part : int { tokens, sources, positions, cache_rows, first_keys, key_counts, offsets };

    decode_inputs(B& b, index_t rows)
        : backend_(&b),
          rows_(rows),
          indices_(b.template allocate<std::int32_t>(rows + size(rows))),
          uniforms_(b.template allocate<double>(rows)) {}

    /// For the next pass, of `rows` rows. Those behind the entries write to `spare_slot`, of a
    /// cache with slots of `capacity` tokens.
    void fill(std::vector<decode_entry> const& entries, index_t rows, std::int32_t capacity,
              std::int32_t spare_slot) {
        auto const count = static_cast<std::size_t>(rows);
        std::vector<std::int32_t> all(static_cast<std::size_t>(size(rows)));
        std::vector<double> uniforms(count);
        for (std::size_t i = 0; i < count; ++i) {
            decode_entry const e =
                i < entries.size() ? entries[i] : decode_entry{.slot = spare_slot};
            std::int32_t const itself = static_cast<std::int32_t>(rows_) + static_cast<int>(i);
            std::int32_t const first = e.slot * capacity;
            std::int32_t const numbers[] = {e.token,    e.source < 0 ? itself : e.source,
                                            e.position, first + e.position,
                                            first,      e.position + 1};
            for (std::size_t k = 0; k < offsets; ++k) all[k * count + i] = numbers[k];
            uniforms[i] = e.uniform;
        }
        std::iota(all.end() - static_cast<std::ptrdiff_t>(count + 1), all.end(), 0);
        auto target = backend_->slice(indices_, rows_, size(rows));
        backend_->assign(target, std::span<std::int32_t const>(all));
        backend_->assign(uniforms_, std::span<double const>(uniforms));
    }
    indices of(part which, index_t rows) const {
        return backend_->slice(indices_, rows_ + which * rows, rows + (which == offsets ? 1 : 0));
    }
    /// What the sources count: tokens drawn by the pass before, and behind them those given.
    indices known_tokens(index_t rows) const { return backend_->slice(indices_, 0, rows_ + rows); }
    /// Where tokens go that are drawn.
    indices drawn(index_t rows) const { return backend_->slice(indices_, 0, rows); }
    typename B::template buffer<double> uniforms(index_t rows) const {
        return backend_->slice(uniforms_, 0, rows);
    }

private:
    static index_t size(index_t rows) { return (offsets + 1) * rows + 1; }

    B* backend_;
    index_t rows_;
    indices indices_;
    typename B::template buffer<double> uniforms_;
};

/// Feeds one token to each of at most `rows` sequences and draws the next. The first call runs
/// eagerly, the second records a graph, all but the first launch it: the numbers are the same. The
/// weights must stay where they are. `spare_slot` takes what the rows without a sequence write.
template <class B, class T>
class decode_step {
public:
    decode_step(decoder<B, T> const& model, kv_cache<B, T>& cache, decode_inputs<B>& inputs,
                index_t rows, index_t spare_slot, sampling_options const& sampling,
                bool expand_latents)
        : model_(&model),
          cache_(&cache),
          inputs_(&inputs),
          rows_(rows),
          spare_slot_(static_cast<std::int32_t>(spare_slot)),
          sampling_(sampling),
          expand_latents_(expand_latents) {}

    /// What is drawn for the entries is in the first rows, until the next call.
    placed_draws<B, T> const& operator()(std::vector<decode_entry> const& entries) {
        inputs_->fill(entries, rows_, static_cast<std::int32_t>(cache_->capacity()), spare_slot_);
        if (graph_) {
            graph_->launch();
        } else if (!ran_) {
            run();
            ran_ = true;
        } else {
            graph_.emplace(model_->backend().capture([this] { run(); }));
            graph_->launch();
        }
        return drawn_;
    }
    bool recorded() const { return graph_.has_value(); }

private:
    typename B::template buffer<std::int32_t> part(typename decode_inputs<B>::part which) const {
        return inputs_->of(which, rows_);
    }
    void run() {
        using in = decode_inputs<B>;
        B& b = model_->backend();
        placed_keys<B, T> keys(*cache_,
                               {part(in::offsets), part(in::first_keys), part(in::key_counts)},
                               part(in::cache_rows));
        auto const tokens = b.gather(inputs_->known_tokens(rows_), 1, part(in::sources));
        auto const hidden = model_->forward(index_tensor<B>{b, tokens, {rows_}},
                                            index_tensor<B>{b, part(in::positions), {rows_}}, keys,
                                            {.expand_latents = expand_latents_});
        drawn_ = draw_placed(model_->logits(hidden), inputs_->uniforms(rows_), sampling_,
                             inputs_->drawn(rows_));
    }

    decoder<B, T> const* model_;
    kv_cache<B, T>* cache_;
    decode_inputs<B>* inputs_;
    index_t rows_;
    std::int32_t spare_slot_;
    sampling_options sampling_;
    bool expand_latents_;
    placed_draws<B, T> drawn_;
    std::optional<typename B::graph> graph_;
    bool ran_ = false;
};

}  // namespace grove::inline GROVE_ISA
