// SPDX-License-Identifier: Apache-2.0
/// @file
/// A pass of one token for each sequence, recorded once and launched as a whole.
#pragma once

#include <numeric>

#include "grove/nn/decoder.hpp"
#include "grove/rollout/draw.hpp"
#include "grove/rollout/kv_cache.hpp"

namespace grove::inline GROVE_ISA {

/// A backend on which a pass from tokens to tokens can be recorded: nothing in it needs the host.
template <class B, class T>
concept records_passes = has_graphs<B> && has_attention<B, T> && draws_tokens<B, T>;

/// A token to feed: where it stands in its sequence, the slot of the cache that holds the sequence,
/// and the number by which the next one is drawn.
struct decode_entry {
    std::int32_t token = 0, position = 0, slot = 0;
    double uniform = 0;
};

/// Feeds one token to each of at most `rows` sequences and draws the next. The first call runs
/// eagerly, the second records a graph, all but the first launch it: the numbers are the same. The
/// weights must stay where they are. `spare_slot` takes what the rows without a sequence write.
template <class B, class T>
class decode_step {
public:
    decode_step(decoder<B, T> const& model, kv_cache<B, T>& cache, index_t rows, index_t spare_slot,
                sampling_options const& sampling, bool expand_latents)
        : model_(&model),
          cache_(&cache),
          rows_(rows),
          spare_slot_(static_cast<std::int32_t>(spare_slot)),
          sampling_(sampling),
          expand_latents_(expand_latents),
          indices_(model.backend().template allocate<std::int32_t>(6 * rows + 1)),
          uniforms_(model.backend().template allocate<double>(rows)) {}

    /// Waits for the backend.
    draws<T> operator()(std::vector<decode_entry> const& entries) {
        B& b = model_->backend();
        fill(entries);
        if (graph_) {
            graph_->launch();
        } else if (!ran_) {
            run();
            ran_ = true;
        } else {
            graph_.emplace(b.capture([this] { run(); }));
            graph_->launch();
        }
        return drawn_.on_host(b, std::ssize(entries));
    }
    bool recorded() const { return graph_.has_value(); }

private:
    /// Part i of the indices: tokens, positions, rows of the cache, first keys, counts of keys, and
    /// offsets, which are one longer.
    typename B::template buffer<std::int32_t> part(index_t i) const {
        return model_->backend().slice(indices_, i * rows_, rows_ + (i == 5 ? 1 : 0));
    }
    void fill(std::vector<decode_entry> const& entries) {
        auto const capacity = static_cast<std::int32_t>(cache_->capacity());
        auto const rows = static_cast<std::size_t>(rows_);
        std::vector<std::int32_t> all(6 * rows + 1);
        std::vector<double> uniforms(rows);
        for (std::size_t i = 0; i < rows; ++i) {
            decode_entry const e =
                i < entries.size() ? entries[i] : decode_entry{0, 0, spare_slot_};
            std::int32_t const first = e.slot * capacity;
            std::int32_t const numbers[] = {e.token, e.position, first + e.position, first,
                                            e.position + 1};
            for (std::size_t k = 0; k < 5; ++k) all[k * rows + i] = numbers[k];
            uniforms[i] = e.uniform;
        }
        std::iota(all.begin() + static_cast<std::ptrdiff_t>(5 * rows), all.end(), 0);
        B& b = model_->backend();
        b.assign(indices_, std::span<std::int32_t const>(all));
        b.assign(uniforms_, std::span<double const>(uniforms));
    }
    void run() {
        B& b = model_->backend();
        placed_keys<B, T> keys(*cache_, {part(5), part(3), part(4)}, part(2));
        auto const hidden = model_->forward(index_tensor<B>{b, part(0), {rows_}},
                                            index_tensor<B>{b, part(1), {rows_}}, keys,
                                            {.expand_latents = expand_latents_});
        drawn_ = draw_placed(model_->logits(hidden), uniforms_, sampling_);
    }

    decoder<B, T> const* model_;
    kv_cache<B, T>* cache_;
    index_t rows_;
    std::int32_t spare_slot_;
    sampling_options sampling_;
    bool expand_latents_;
    typename B::template buffer<std::int32_t> indices_;
    typename B::template buffer<double> uniforms_;
    placed_draws<B, T> drawn_;
    std::optional<typename B::graph> graph_;
    bool ran_ = false;
};

}  // namespace grove::inline GROVE_ISA
