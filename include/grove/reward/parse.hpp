// SPDX-License-Identifier: Apache-2.0
/// @file
/// Reading `<think>…</think><answer>…</answer>`. Completions are hostile input: every function here
/// is linear in the length of the text, never throws, and returns views into it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

/// `text` without ASCII white space at its ends.
inline std::string_view trimmed(std::string_view text) {
    constexpr std::string_view white_space = " \t\n\v\f\r";
    auto const first = text.find_first_not_of(white_space);
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(white_space) - first + 1);
}

/// The two parts of a well-formed completion, trimmed. `think` may be empty, `answer` is not.
struct think_answer {
    std::string_view think;
    std::string_view answer;
};

namespace detail {

/// Position of the only occurrence of `tag`; none where it is missing or there twice.
inline std::optional<std::size_t> only_position(std::string_view text, std::string_view tag) {
    auto const position = text.find(tag);
    if (position == text.npos || text.find(tag, position + 1) != text.npos) return std::nullopt;
    return position;
}

/// A text cut at the only `<name>` and the only `</name>`.
struct element {
    std::string_view before;
    std::string_view content;
    std::string_view after;
};
inline std::optional<element> only_element(std::string_view text, std::string_view opening,
                                           std::string_view closing) {
    auto const open = only_position(text, opening), close = only_position(text, closing);
    if (!open || !close || *close < *open) return std::nullopt;
    auto const start = *open + opening.size();
    return element{text.substr(0, *open), text.substr(start, *close - start),
                   text.substr(*close + closing.size())};
}

}  // namespace detail

/// The content of the answer tags, trimmed, whatever stands around them; none unless `<answer>` and
/// `</answer>` each appear exactly once, in this order, with something between them.
inline std::optional<std::string_view> parse_answer(std::string_view completion) {
    auto const element = detail::only_element(completion, "<answer>", "</answer>");
    auto const answer = element ? trimmed(element->content) : std::string_view{};
    return answer.empty() ? std::nullopt : std::optional(answer);
}

/// The parts of `<think>…</think><answer>…</answer>`; none unless each tag appears exactly once, in
/// this order, nothing but white space stands outside the two blocks, and the answer is not empty.
inline std::optional<think_answer> parse_think_answer(std::string_view completion) {
    auto const answer = detail::only_element(completion, "<answer>", "</answer>");
    if (!answer || !trimmed(answer->after).empty()) return std::nullopt;
    auto const think = detail::only_element(answer->before, "<think>", "</think>");
    if (!think || !trimmed(think->before).empty() || !trimmed(think->after).empty()) {
        return std::nullopt;
    }
    think_answer const parts{trimmed(think->content), trimmed(answer->content)};
    bool const is_nested = parts.answer.find("<think>") != parts.answer.npos ||
                           parts.answer.find("</think>") != parts.answer.npos;
    return parts.answer.empty() || is_nested ? std::nullopt : std::optional(parts);
}

}  // namespace grove::inline GROVE_ISA
