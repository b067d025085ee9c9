// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a distillation is told, and what a step of it did.
#pragma once

#include "grove/io/metric_record.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/train/data_cursor.hpp"
#include "grove/train/supervised.hpp"

namespace grove::inline GROVE_ISA {

/// Settings of a distillation.
struct distillation_options {
    std::uint64_t seed = 0;
    index_t prompts_per_step = 64;
    index_t problem_count = 0;  ///< examples are visited again after so many; 0: endless
    /// λ in [0, 1] (Agarwal et al. 2023, GKD): on this share of the prompts, example by example,
    /// the student's own answer is learned from in place of the demonstration. 0 is off policy, 1
    /// wholly on policy.
    double student_share = 0.5;
    double temperature = 1.0;       ///< of both distributions in the divergence; > 0
    double supervised = 0.0;        ///< weight of the demonstrations' −log p beside it; ≥ 0
    bool pad_vocabulary = false;    ///< see head_options
    generation_options generation;  ///< of the student's answers
    learning_options learning;

    /// Throws configuration_error for values out of range.
    void validate() const {
        generation.validate();
        auto need = [](bool holds, auto const&... parts) {
            require<configuration_error>(holds, "distillation_options", parts...);
        };
        need(prompts_per_step > 0 && problem_count >= 0,
             "expected prompts_per_step > 0 and problem_count ≥ 0, got ", prompts_per_step, " and ",
             problem_count);
        need(student_share >= 0 && student_share <= 1, "expected 0 ≤ student_share ≤ 1, got ",
             student_share);
        need(temperature > 0 && supervised >= 0,
             "expected temperature > 0 and supervised ≥ 0, got ", temperature, " and ", supervised);
    }
};

/// What one step of distillation did.
struct distillation_report {
    index_t step = 0;
    metric_record metrics;
    index_t sampled_tokens = 0;  ///< of the student's own answers
};

/// The answers of one step, response by response.
struct distillation_batch {
    std::vector<response> responses;
    std::vector<std::uint8_t> sampled;                ///< 1: by the student, 0: a demonstration
    std::vector<std::vector<float>> log_probability;  ///< the sampler's; empty for demonstrations

    index_t tokens(bool of_student_alone = false) const {
        index_t sum = 0;
        for (std::size_t i = 0; i < responses.size(); ++i)
            if (!of_student_alone || sampled[i]) sum += std::ssize(responses[i].tokens);
        return sum;
    }
};

/// The next examples, `data(i)` → response, and the student's answers in the place of its share of
/// them. What is drawn depends on the seed, the example and how often it was visited. Throws what
/// the generator throws.
template <class B, class T, class Data>
distillation_batch draw_responses(generator<B, T>& student, distillation_options const& options,
                                  Data const& data, data_cursor& cursor) {
    distillation_batch batch;
    std::vector<generation_request> requests;
    std::vector<std::size_t> places;
    for (index_t p = 0; p < options.prompts_per_step; ++p) {
        auto const [index, visit] = cursor.next();
        random_key const key{options.seed, random_stream::rollout,
                             static_cast<std::uint32_t>(visit), static_cast<std::uint32_t>(index),
                             0};
        random_key coin = key;
        coin.stream = random_stream::shuffle;
        batch.responses.push_back(data(index));
        batch.sampled.push_back(coin.template uniform<double>(0) < options.student_share);
        if (!batch.sampled.back()) continue;
        places.push_back(batch.responses.size() - 1);
        requests.push_back({batch.responses.back().prompt, key});
    }
    batch.log_probability.resize(batch.responses.size());
    if (requests.empty()) return batch;
    auto results = student(requests);
    for (std::size_t i = 0; i < results.size(); ++i) {
        auto& r = results[i];
        batch.responses[places[i]] = {requests[i].prompt, std::move(r.tokens), std::move(r.kept),
                                      std::move(r.experts)};
        batch.log_probability[places[i]] = std::move(r.log_probability);
    }
    return batch;
}

}  // namespace grove::inline GROVE_ISA
