// SPDX-License-Identifier: Apache-2.0
/// @file
/// Exact arithmetic on expressions that a model wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "grove/core/config.hpp"

namespace grove::inline GROVE_ISA {

/// A fraction in lowest terms with a positive denominator.
struct rational {
    std::int64_t numerator = 0;
    std::int64_t denominator = 1;

    friend bool operator==(rational const&, rational const&) = default;
};

/// What an expression is worth, and the numbers written in it, in their order.
struct evaluated_expression {
    rational value;
    std::vector<std::int64_t> numbers;
};

namespace detail {

/// Recursive descent over `sum := product (± product)*`, `product := factor (×÷ factor)*`,
/// `factor := number | ( sum )`. Every step either consumes a character or gives up with none.
class expression_parser {
public:
    expression_parser(std::string_view text, int depth) : rest_(text), depth_(depth) {}

    std::optional<evaluated_expression> parse() {
        auto const value = sum();
        next();
        if (!value || !rest_.empty()) return std::nullopt;
        return evaluated_expression{*value, std::move(numbers_)};
    }

private:
    using result = std::optional<rational>;

    /// The next character that is no blank; NUL, which no rule accepts, at the end.
    char next() {
        while (rest_.starts_with(' ')) rest_.remove_prefix(1);
        return rest_.empty() ? '\0' : rest_.front();
    }
    char take() {
        char const character = next();
        rest_.remove_prefix(1);
        return character;
    }
    result sum() {
        result left = product();
        while (left && (next() == '+' || next() == '-')) {
            std::int64_t const sign = take() == '+' ? 1 : -1;
            result const right = product();
            left = right ? add(*left, *right, sign) : std::nullopt;
        }
        return left;
    }
    result product() {
        result left = factor();
        while (left && (next() == '*' || next() == '/')) {
            bool const divides = take() == '/';
            result right = factor();
            if (right && divides) right = reduced(right->denominator, right->numerator);
            left = right ? multiply(*left, *right) : std::nullopt;
        }
        return left;
    }
    result factor() {
        if (next() != '(') return number();
        if (depth_ == 0) return std::nullopt;
        --depth_;
        take();
        result const inner = sum();
        if (!inner || next() != ')') return std::nullopt;
        take();
        ++depth_;
        return inner;
    }
    result number() {
        constexpr int most_digits = 9;
        std::int64_t value = 0;
        int digits = 0;
        next();
        while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') {
            if (++digits > most_digits) return std::nullopt;
            value = 10 * value + (take() - '0');
        }
        if (digits == 0) return std::nullopt;
        numbers_.push_back(value);
        return rational{value, 1};
    }

    static result add(rational a, rational b, std::int64_t sign) {
        std::int64_t left = 0, right = 0, numerator = 0, denominator = 0;
        bool const overflow = __builtin_mul_overflow(a.numerator, b.denominator, &left) ||
                              __builtin_mul_overflow(sign * b.numerator, a.denominator, &right) ||
                              __builtin_add_overflow(left, right, &numerator) ||
                              __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
        return overflow ? std::nullopt : reduced(numerator, denominator);
    }
    static result multiply(rational a, rational b) {
        std::int64_t numerator = 0, denominator = 0;
        bool const overflow = __builtin_mul_overflow(a.numerator, b.numerator, &numerator) ||
                              __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
        return overflow ? std::nullopt : reduced(numerator, denominator);
    }
    /// None for a denominator of zero, and for the one number that has no negative.
    static result reduced(std::int64_t numerator, std::int64_t denominator) {
        constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
        if (denominator == 0 || numerator == lowest || denominator == lowest) return std::nullopt;
        std::int64_t const divisor = std::gcd(numerator, denominator) * (denominator < 0 ? -1 : 1);
        return rational{numerator / divisor, denominator / divisor};
    }

    std::string_view rest_;
    int depth_;
    std::vector<std::int64_t> numbers_;
};

}  // namespace detail

/// Value of an expression of whole numbers, `+ - * /` and parentheses, exactly; blanks are ignored,
/// and there are no signed numbers. Safe for hostile text: none for anything malformed, a division
/// by zero, a number of more than 9 digits, an intermediate fraction beyond 64 bits, more than 256
/// characters, or parentheses nested deeper than 16.
inline std::optional<evaluated_expression> evaluate_expression(std::string_view text) {
    constexpr std::size_t most_characters = 256;
    constexpr int most_nested = 16;
    if (text.size() > most_characters) return std::nullopt;
    return detail::expression_parser(text, most_nested).parse();
}

}  // namespace grove::inline GROVE_ISA
