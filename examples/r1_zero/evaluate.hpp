// SPDX-License-Identifier: Apache-2.0
// What a policy can do on problems that training never sees.
#pragma once

#include "grove/eval/report.hpp"
#include "grove/task/problem.hpp"
#include "grove/text/template.hpp"
#include "model.hpp"
#include "puzzle.hpp"

namespace r1_zero::inline GROVE_ISA {

using problems = grove::problem_set<puzzle>;

inline puzzle make_puzzle(settings const& s) {
    return {{.digits = s.digits},
            {.numbers = 3, .largest_number = 20, .largest_target = 99},
            s.countdown};
}

// The figures of a report.
inline grove::json to_json(grove::evaluation_report const& r) {
    return {
        {"pass1", r.pass_at(1).value},    {"pass1_standard_error", r.pass_at(1).standard_error},
        {"cons", r.consensus_accuracy()}, {"format_rate", r.format_rate()},
        {"worked_rate", r.worked_rate()}, {"worked_accuracy", r.worked_accuracy().value_or(0.0)},
        {"length", r.mean_length()}};
}

// Samples every held-out problem and grades the answers: figures over all of them and, where there
// are two kinds, of each.
template <class B>
grove::json evaluate(model<B> const& policy, settings const& s,
                     grove::symbol_tokenizer const& tokens) {
    problems const held_out(make_puzzle(s), s.seed, grove::problem_split::held_out);
    auto const prompt_of = grove::r1_zero_compact();
    std::vector<grove::generation_request> requests;
    for (index_t i = 0; i < s.held_out; ++i)
        for (index_t k = 0; k < s.samples; ++k)
            requests.push_back({tokens.encode(prompt_of.render(held_out[i].question)),
                                {s.seed, grove::random_stream::evaluation, 0,
                                 static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(k)}});
    grove::generator<B, float> engine(policy, generation(s, tokens, 0.6, 0.95));
    auto const completions = engine(requests);
    grove::evaluation_report all, of_kind[2];
    for (index_t i = 0; i < s.held_out; ++i) {
        std::vector<std::string> texts;
        std::vector<index_t> lengths;
        for (index_t k = 0; k < s.samples; ++k) {
            auto const& c = completions[static_cast<std::size_t>(i * s.samples + k)];
            texts.push_back(tokens.decode(c.tokens, grove::shown_specials::tags));
            lengths.push_back(static_cast<index_t>(c.tokens.size()));
        }
        auto const report = grove::grade(texts, lengths, held_out[i].answer, right_answer{});
        all.merge(report);
        of_kind[puzzle::is_countdown(held_out[i].question)].merge(report);
    }
    auto figures = to_json(all);
    if (s.countdown > 0) {
        figures["sums"] = to_json(of_kind[0]);
        figures["countdowns"] = to_json(of_kind[1]);
    }
    return figures;
}

// One sampled completion for each of the first held-out problems, as text.
template <class B>
std::string show_samples(model<B> const& policy, settings const& s,
                         grove::symbol_tokenizer const& tokens, index_t count) {
    problems const held_out(make_puzzle(s), s.seed, grove::problem_split::held_out);
    std::vector<grove::generation_request> requests;
    for (index_t i = 0; i < count; ++i)
        requests.push_back(
            {tokens.encode(grove::r1_zero_compact().render(held_out[i].question)),
             {s.seed, grove::random_stream::user, 0, static_cast<std::uint32_t>(i), 0}});
    grove::generator<B, float> engine(policy, generation(s, tokens, 0.6, 0.95));
    auto const completions = engine(requests);
    std::string text;
    for (std::size_t i = 0; i < completions.size(); ++i) {
        auto const problem = held_out[static_cast<index_t>(i)];
        text += "  " + problem.question + " → " +
                tokens.decode(completions[i].tokens, grove::shown_specials::tags) + "   (" +
                problem.answer + " is right)\n";
    }
    return text;
}

}  // namespace r1_zero::inline GROVE_ISA
