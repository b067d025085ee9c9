// SPDX-License-Identifier: Apache-2.0
/// @file
/// Completions that wait to be learned from, also in a checkpoint.
#pragma once

#include <functional>

#include "grove/rollout/generate.hpp"
#include "grove/train/language_policy.hpp"

namespace grove::inline GROVE_ISA {

/// A scored completion, as callbacks see it.
struct scored_completion {
    std::string prompt, text, reference;
    float reward = 0;
    bool scored = false;  ///< whether the reward rule judged it at all
    finish_reason reason = finish_reason::length;
    index_t length = 0;  ///< tokens
};

/// What one rollout left to be learned: all that the updates on it need besides the weights. The
/// four arrays are parallel, group by group.
template <class T>
struct scored_rollout {
    std::vector<response> responses;
    std::vector<std::vector<float>> log_probability;  ///< the sampler's, token by token
    std::vector<scored_completion> completions;
    std::vector<T> advantage;

    std::size_t size() const { return responses.size(); }
    /// Sampled tokens of all responses.
    index_t tokens() const {
        index_t sum = 0;
        for (auto const& r : responses) sum += static_cast<index_t>(r.tokens.size());
        return sum;
    }
    std::vector<T> rewards() const {
        return each<T>([](auto const& c) { return static_cast<T>(c.reward); });
    }
    std::vector<std::uint8_t> scored() const {
        return each<std::uint8_t>([](auto const& c) { return c.scored; });
    }
    template <class Value, class Field>
    std::vector<Value> each(Field field) const {
        std::vector<Value> values;
        for (auto const& c : completions) values.push_back(field(c));
        return values;
    }
};

namespace detail {

/// Type of the elements of rows in files: characters are bytes.
template <class Row>
using row_element =
    std::conditional_t<std::is_same_v<Row, std::string>, std::uint8_t, typename Row::value_type>;

/// Writes the rows field(item), of different lengths, as one array and its offsets.
template <class Writer, class Items, class Field>
void put_rows(Writer& file, std::string const& name, Items const& items, Field field) {
    using row = std::remove_cvref_t<decltype(std::invoke(field, items[0]))>;
    std::vector<row_element<row>> values;
    std::vector<index_t> offsets{0};
    for (auto const& item : items) {
        auto const& values_of_row = std::invoke(field, item);
        values.insert(values.end(), values_of_row.begin(), values_of_row.end());
        offsets.push_back(std::ssize(values));
    }
    file.put(name, values);
    file.put(name + ".offsets", offsets);
}
/// Reads what put_rows wrote; throws io_error unless it is `count` rows.
template <class Row, class Reader>
std::vector<Row> get_rows(Reader const& file, std::string const& name, std::size_t count) {
    auto const values = file.template get<row_element<Row>>(name);
    auto const offsets = file.template get<index_t>(name + ".offsets");
    require<io_error>(offsets.size() == count + 1 && offsets.front() == 0 &&
                          std::is_sorted(offsets.begin(), offsets.end()) &&
                          offsets.back() == std::ssize(values),
                      "load_rollout", "expected offsets of ", count, " rows with ", values.size(),
                      " values in '", name, "', got others");
    std::vector<Row> rows;
    for (std::size_t i = 0; i < count; ++i)
        rows.emplace_back(values.begin() + offsets[i], values.begin() + offsets[i + 1]);
    return rows;
}
/// Reads an array of `count` elements.
template <class Element, class Reader>
std::vector<Element> get_array(Reader const& file, std::string const& name, std::size_t count) {
    std::vector<Element> values(count);
    file.get_into(name, values, {static_cast<index_t>(count)});
    return values;
}

inline std::vector<std::int32_t> const& kept_offsets(response const& r) { return r.kept.offsets; }
inline std::vector<std::int32_t> const& kept_values(response const& r) { return r.kept.tokens; }

/// Writes the recorded experts of all responses, layer by layer; throws value_error where responses
/// differ in their layers.
template <class Writer>
void put_experts(Writer& file, std::string const& name, std::vector<response> const& responses) {
    std::size_t const layers = responses.empty() ? 0 : responses.front().experts.size();
    for (auto const& r : responses)
        require<value_error>(r.experts.size() == layers, "save_rollout",
                             "expected recorded experts of ", layers, " layers, got ",
                             r.experts.size());
    file.template put_value<index_t>(name + ".layers", static_cast<index_t>(layers));
    for (std::size_t layer = 0; layer < layers; ++layer)
        put_rows(file, name + '.' + std::to_string(layer), responses,
                 [layer](response const& r) -> auto const& { return r.experts[layer]; });
}
/// Gives `responses` the experts that put_experts wrote for as many.
template <class Reader>
void get_experts(Reader const& file, std::string const& name, std::vector<response>& responses) {
    auto const layers = file.template get_value<index_t>(name + ".layers");
    for (index_t layer = 0; layer < layers; ++layer) {
        auto rows = get_rows<std::vector<std::int32_t>>(file, name + '.' + std::to_string(layer),
                                                        responses.size());
        for (std::size_t i = 0; i < rows.size(); ++i)
            responses[i].experts.push_back(std::move(rows[i]));
    }
}

}  // namespace detail

/// Writes a rollout under `prefix`; throws value_error where some responses have recorded experts
/// and others none.
template <class Writer, class T>
void save_rollout(Writer& file, std::string const& prefix, scored_rollout<T> const& rollout) {
    auto const put = [&](char const* name, auto const& items, auto field) {
        detail::put_rows(file, prefix + name, items, field);
    };
    put("prompt", rollout.responses, &response::prompt);
    put("tokens", rollout.responses, &response::tokens);
    put("kept.offsets", rollout.responses, detail::kept_offsets);
    put("kept.tokens", rollout.responses, detail::kept_values);
    detail::put_experts(file, prefix + "experts", rollout.responses);
    put("log_probability", rollout.log_probability, std::identity{});
    put("text.prompt", rollout.completions, &scored_completion::prompt);
    put("text", rollout.completions, &scored_completion::text);
    put("text.reference", rollout.completions, &scored_completion::reference);
    file.put(prefix + "reward", rollout.template each<float>([](auto& c) { return c.reward; }));
    file.put(prefix + "scored", rollout.scored());
    file.put(prefix + "reason", rollout.template each<std::uint8_t>(
                                    [](auto& c) { return static_cast<std::uint8_t>(c.reason); }));
    file.put(prefix + "advantage", rollout.advantage);
}

/// Reads what save_rollout wrote for `count` responses. Throws io_error, naming the section, where
/// something is missing, damaged or does not fit the rest.
template <class T, class Reader>
scored_rollout<T> load_rollout(Reader const& file, std::string const& prefix, std::size_t count) {
    using token_row = std::vector<std::int32_t>;
    auto const tokens_of = [&](char const* name) {
        return detail::get_rows<token_row>(file, prefix + name, count);
    };
    auto const text_of = [&](char const* name) {
        return detail::get_rows<std::string>(file, prefix + name, count);
    };
    auto prompts = tokens_of("prompt"), tokens = tokens_of("tokens");
    auto kept_offsets = tokens_of("kept.offsets"), kept = tokens_of("kept.tokens");
    auto questions = text_of("text.prompt"), texts = text_of("text");
    auto references = text_of("text.reference");
    auto const rewards = detail::get_array<float>(file, prefix + "reward", count);
    auto const scored = detail::get_array<std::uint8_t>(file, prefix + "scored", count);
    auto const reasons = detail::get_array<std::uint8_t>(file, prefix + "reason", count);

    scored_rollout<T> rollout;
    rollout.advantage = detail::get_array<T>(file, prefix + "advantage", count);
    rollout.log_probability =
        detail::get_rows<std::vector<float>>(file, prefix + "log_probability", count);
    for (std::size_t i = 0; i < count; ++i) {
        require<io_error>(rollout.log_probability[i].size() == tokens[i].size() &&
                              reasons[i] <= static_cast<std::uint8_t>(finish_reason::length),
                          "load_rollout", "expected a log-probability per token and a reason in '",
                          prefix, "', got others for response ", i);
        rollout.completions.push_back(
            {std::move(questions[i]), std::move(texts[i]), std::move(references[i]), rewards[i],
             scored[i] != 0, static_cast<finish_reason>(reasons[i]), std::ssize(tokens[i])});
        rollout.responses.push_back({std::move(prompts[i]),
                                     std::move(tokens[i]),
                                     {std::move(kept_offsets[i]), std::move(kept[i])}});
    }
    detail::get_experts(file, prefix + "experts", rollout.responses);
    return rollout;
}

}  // namespace grove::inline GROVE_ISA
