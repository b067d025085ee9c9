// SPDX-License-Identifier: Apache-2.0
/// @file
/// Passes of one token for each sequence, of which the next may be queued before the last is read.
#pragma once

#include <array>
#include <bit>
#include <map>

#include "grove/rollout/decode_step.hpp"

namespace grove::inline GROVE_ISA {

/// Recorded passes for any number of sequences, each one for the next power of two.
template <class B, class T>
class decode_passes {
public:
    /// A pass whose draws were not taken yet.
    struct pass {
        placed_draws<B, T> const* drawn = nullptr;
        arriving_draws<B, T> const* arriving = nullptr;  // null where none may run ahead
        index_t rows = 0;
        bool is_recorded = false;
    };

    /// For at most `slots` sequences; the cache has one more slot, behind theirs.
    decode_passes(decoder<B, T> const& model, kv_cache<B, T>& cache, index_t slots,
                  sampling_options const& sampling, bool expand_latents)
        : model_(&model),
          cache_(&cache),
          slots_(slots),
          sampling_(sampling),
          expand_latents_(expand_latents),
          inputs_(model.backend(),
                  static_cast<index_t>(std::bit_ceil(static_cast<std::size_t>(slots)))) {}
    decode_passes(decode_passes const&) = delete;
    decode_passes& operator=(decode_passes const&) = delete;

    /// Drops what was recorded, as it must be where weights or cache have moved.
    void forget() { steps_.clear(); }
    /// Whether one pass may be queued before the draws of the one before are taken. Not where
    /// sampling truncates: the kept tokens stay in memory that the next pass writes to.
    bool runs_ahead() const { return !sampling_.truncates() || sampling_.temperature == 0; }
    /// Queues a pass, at most one ahead of those that were taken.
    pass queue(std::vector<decode_entry> const& entries) {
        auto const rows = static_cast<index_t>(std::bit_ceil(entries.size()));
        auto& step = steps_
                         .try_emplace(rows, *model_, *cache_, inputs_, rows, slots_, sampling_,
                                      expand_latents_)
                         .first->second;
        auto const& drawn = step(entries);
        pass y{&drawn, nullptr, static_cast<index_t>(entries.size()), step.recorded()};
        if (runs_ahead()) {
            auto& arriving = arriving_[turn_ = 1 - turn_];
            arriving.fetch(model_->backend(), drawn, y.rows);
            y.arriving = &arriving;
        }
        return y;
    }
    /// Waits for what the pass drew.
    draws<T> take(pass const& queued) {
        B& b = model_->backend();
        return queued.arriving != nullptr ? queued.arriving->on_host(b)
                                          : queued.drawn->on_host(b, queued.rows);
    }

private:
    decoder<B, T> const* model_;
    kv_cache<B, T>* cache_;
    index_t slots_;
    sampling_options sampling_;
    bool expand_latents_;
    decode_inputs<B> inputs_;
    std::map<index_t, decode_step<B, T>> steps_;    // by their rows
    std::array<arriving_draws<B, T>, 2> arriving_;  // in turn: of a pass, and of one ahead
    std::size_t turn_ = 0;
};

}  // namespace grove::inline GROVE_ISA
