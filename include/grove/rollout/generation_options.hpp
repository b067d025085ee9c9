// SPDX-License-Identifier: Apache-2.0
/// @file
/// What generation is asked for, told, and gives.
#pragma once

#include <string_view>
#include <vector>

#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"
#include "grove/nn/moe.hpp"
#include "grove/ops/token_statistics.hpp"
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
    /// Record passes without prompts as graphs, on backends that can; the numbers are the same.
    bool graphs = true;

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

/// How the passes of a call were run.
struct generation_report {
    index_t passes = 0;          ///< of all kinds
    index_t graph_launches = 0;  ///< passes that were one launch
    /// Why passes without prompts were not recorded; empty where they were.
    std::string_view without_graphs{};
};

}  // namespace grove::inline GROVE_ISA
