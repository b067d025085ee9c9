// SPDX-License-Identifier: Apache-2.0
/// @file
/// The first half of every step: completions of the next problems, and their rewards.
#pragma once

#include <string>

#include "grove/reward/reward.hpp"
#include "grove/text/tokenizer.hpp"
#include "grove/train/data_cursor.hpp"
#include "grove/train/scored_rollout.hpp"

namespace grove::inline GROVE_ISA {

/// A question as the policy sees it, and what its answers are judged by.
struct rollout_problem {
    std::string prompt;
    std::string reference;
};

/// `group_size` completions, not yet scored, of each of the next `prompts` problems; `problems(i)`
/// is rollout_problem i. Throws what the generator throws.
template <class B, class T, class Problems, class Tokenizer>
scored_rollout<T> sample_rollout(generator<B, T>& engine, std::uint64_t seed, index_t prompts,
                                 index_t group_size, Problems const& problems,
                                 Tokenizer const& tokens, data_cursor& cursor) {
    scored_rollout<T> rollout;
    std::vector<generation_request> requests;
    for (index_t p = 0; p < prompts; ++p) {
        auto const [index, visit] = cursor.next();
        random_key key{seed, random_stream::rollout, static_cast<std::uint32_t>(visit),
                       static_cast<std::uint32_t>(index), 0};
        rollout_problem const problem = problems(index);
        auto const prompt = tokens.encode(problem.prompt);
        for (index_t s = 0; s < group_size; ++s) {
            key.sample = static_cast<std::uint32_t>(s);
            requests.push_back({prompt, key});
            rollout.completions.push_back({problem.prompt, {}, problem.reference});
        }
    }
    auto results = engine(requests);
    for (std::size_t i = 0; i < results.size(); ++i) {
        auto& c = rollout.completions[i];
        c.text = tokens.decode(results[i].tokens, shown_specials::tags);
        c.reason = results[i].reason;
        c.length = std::ssize(results[i].tokens);
        rollout.log_probability.push_back(std::move(results[i].log_probability));
        rollout.responses.push_back({requests[i].prompt, std::move(results[i].tokens),
                                     std::move(results[i].kept), std::move(results[i].experts)});
    }
    return rollout;
}

/// Gives every completion its reward.
template <class T, reward Reward>
void score_completions(scored_rollout<T>& rollout, Reward const& rule) {
    for (auto& c : rollout.completions) {
        std::optional<float> const value = rule(c.prompt, c.text, c.reference);
        c.scored = value.has_value();
        c.reward = value.value_or(0.0f);
    }
}

}  // namespace grove::inline GROVE_ISA
