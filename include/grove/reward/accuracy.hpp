// SPDX-License-Identifier: Apache-2.0
/// @file
/// The rule that pays for right answers, and the verifiers that say what is right.
#pragma once

#include <algorithm>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>

#include "grove/core/config.hpp"
#include "grove/reward/parse.hpp"

namespace grove::inline GROVE_ISA {

/// A predicate (answer, reference), in this order: what the model wrote, then what is known. It
/// must return false on any text that a model may write, in bounded time.
template <class Verifier>
concept verifier = std::predicate<Verifier const&, std::string_view, std::string_view>;

/// One spelling for equal answers: white space at the ends goes, and so do a whole number's `+`
/// sign and leading zeros (`+007` → `7`, `-0` → `0`). Every other text keeps its characters.
inline std::string normalized_answer(std::string_view text) {
    text = trimmed(text);
    bool const is_signed = text.starts_with('+') || text.starts_with('-');
    auto digits = text.substr(is_signed ? 1 : 0);
    bool const is_number = !digits.empty() && std::ranges::all_of(digits, [](char character) {
        return character >= '0' && character <= '9';
    });
    if (!is_number) return std::string(text);
    digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
    bool const is_negative = text.front() == '-' && digits != "0";
    return (is_negative ? "-" : "") + std::string(digits);
}

/// Right where both texts have the same `normalized_answer`.
struct exact_answer {
    bool operator()(std::string_view answer, std::string_view reference) const {
        return normalized_answer(answer) == normalized_answer(reference);
    }
};

/// 1 where the verifier accepts the content of the answer tags (`parse_answer`), else 0; 0 without
/// an answer; none without a reference. What stands outside the answer tags is `format_reward`'s
/// affair.
/// @code
/// accuracy_reward const accuracy;
/// accuracy("2+2=", "<answer>4</answer>", "4");   // 1
/// @endcode
template <verifier Verifier = exact_answer>
struct accuracy_reward {
    Verifier verify{};

    std::optional<float> operator()(std::string_view /*prompt*/, std::string_view completion,
                                    std::string_view reference) const {
        if (trimmed(reference).empty()) return std::nullopt;
        auto const answer = parse_answer(completion);
        return answer && verify(*answer, reference) ? 1.0F : 0.0F;
    }
};
template <verifier Verifier>
accuracy_reward(Verifier) -> accuracy_reward<Verifier>;

}  // namespace grove::inline GROVE_ISA
