// SPDX-License-Identifier: Apache-2.0
/// @file
/// The text around a question.
#pragma once

#include <string>
#include <string_view>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

/// A prompt is `before`, the question, `after`.
struct prompt_template {
    std::string before;
    std::string after;

    std::string render(std::string_view question) const {
        std::string prompt;
        prompt.reserve(before.size() + question.size() + after.size());
        return prompt.append(before).append(question).append(after);
    }
};

/// The template of DeepSeek-R1-Zero, word for word (DeepSeek-R1, table 1); the question stands
/// where the paper has the word "prompt".
inline prompt_template r1_zero_paper() {
    return {
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it. The assistant first thinks about the reasoning process in the mind and then "
        "provides the user with the answer. The reasoning process and answer are enclosed within "
        "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning "
        "process here </think> <answer> answer here </answer>. User: ",
        ". Assistant:"};
}

/// `<begin>question=`: the shortest template, for models that were trained on nothing but the task.
inline prompt_template r1_zero_compact() { return {"<begin>", "="}; }

}  // namespace grove::inline GROVE_ISA
