// SPDX-License-Identifier: Apache-2.0
/// @file
/// Text to token ids and back: the concept, and a closed vocabulary for generated tasks.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grove/core/config.hpp"
#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// What rollouts and data loaders ask of a tokenizer: `encode` and `decode`, the size of the
/// vocabulary, and the id that ends a completion.
template <class Tokenizer>
concept tokenizer =
    requires(Tokenizer const& t, std::string_view text, std::span<std::int32_t const> ids) {
        { t.encode(text) } -> std::same_as<std::vector<std::int32_t>>;
        { t.decode(ids) } -> std::convertible_to<std::string>;
        { t.vocabulary_size() } -> std::convertible_to<std::int32_t>;
        { t.end_id() } -> std::convertible_to<std::int32_t>;
    };

/// Which special tokens `symbol_tokenizer::decode` writes out: all of them; the tags, without
/// begin, end and padding (what a reward reads); or none.
enum class shown_specials { all, tags, none };

/// A closed vocabulary in which a tag such as `<think>` is one token and every other symbol is one
/// ASCII character. Ids are numbered: `<padding>` 0, `<begin>` 1, `<end>` 2, the tags in their
/// order, the alphabet in its order. Specials spelled out in a text are recognised, so a text from
/// strangers must not hold them. `decode(encode(text)) == text` for every text of the vocabulary,
/// and `encode(decode(ids)) == ids` where the alphabet cannot spell a special.
/// @code
/// symbol_tokenizer const tokens("0123456789+=;,");
/// auto const ids = tokens.encode("<begin>345+678=");   // 9 ids, the first is tokens.begin_id()
/// @endcode
class symbol_tokenizer {
public:
    /// Throws value_error for an alphabet that is empty, not ASCII or holds a character twice, and
    /// for a tag that is shorter than two characters or there already.
    explicit symbol_tokenizer(std::string_view alphabet,
                              std::vector<std::string> const& tags = {"<think>", "</think>",
                                                                      "<answer>", "</answer>"}) {
        characters_.fill(unknown);
        for (auto const* control : {"<padding>", "<begin>", "<end>"}) add_special(control);
        for (auto const& tag : tags) add_special(tag);
        require<value_error>(!alphabet.empty(), operation, "expected an alphabet, got none");
        for (char const character : alphabet) add_character(character);
        std::ranges::stable_sort(specials_, std::ranges::greater{},
                                 [this](std::int32_t special) { return symbol(special).size(); });
    }

    /// Ids of a text, the longest special first. Throws value_error for a character outside the
    /// alphabet, naming it and its position.
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> ids;
        ids.reserve(text.size());
        for (std::size_t position = 0; position < text.size();) {
            std::int32_t const next = match(text.substr(position));
            require<value_error>(next != unknown, "symbol_tokenizer::encode",
                                 "expected a symbol of the vocabulary, got ",
                                 quoted(text[position]), " at position ", position);
            ids.push_back(next);
            position += symbol(next).size();
        }
        return ids;
    }
    /// Text of the ids. Throws value_error for an id outside the vocabulary.
    std::string decode(std::span<std::int32_t const> ids,
                       shown_specials shown = shown_specials::all) const {
        std::string text;
        for (std::int32_t const next : ids) {
            auto const spelling = symbol(next);
            if (is_shown(next, shown)) text += spelling;
        }
        return text;
    }

    /// Id of a special or of a one-character symbol; throws value_error for any other text.
    std::int32_t id(std::string_view spelling) const {
        auto const found = std::ranges::find(symbols_, spelling);
        require<value_error>(found != symbols_.end(), "symbol_tokenizer::id",
                             "expected a symbol of the vocabulary, got \"", spelling, '"');
        return static_cast<std::int32_t>(found - symbols_.begin());
    }
    /// Spelling of an id; throws value_error outside [0, vocabulary_size).
    std::string_view symbol(std::int32_t id) const {
        require<value_error>(id >= 0 && id < vocabulary_size(), "symbol_tokenizer::symbol",
                             "expected an id in [0, ", vocabulary_size(), "), got ", id);
        return symbols_[static_cast<std::size_t>(id)];
    }
    std::int32_t vocabulary_size() const { return static_cast<std::int32_t>(symbols_.size()); }
    std::int32_t padding_id() const { return 0; }
    std::int32_t begin_id() const { return 1; }
    std::int32_t end_id() const { return 2; }

private:
    static constexpr std::string_view operation = "symbol_tokenizer";
    static constexpr std::int32_t unknown = -1;
    static constexpr std::int32_t control_count = 3;

    void add_special(std::string_view special) {
        require<value_error>(special.size() >= 2, operation,
                             "expected a tag of at least two characters, got \"", special, '"');
        require<value_error>(std::ranges::find(symbols_, special) == symbols_.end(), operation,
                             "expected distinct tags, got ", special, " twice");
        specials_.push_back(vocabulary_size());
        symbols_.emplace_back(special);
    }
    void add_character(char character) {
        auto const code = static_cast<unsigned char>(character);
        require<value_error>(code < characters_.size(), operation,
                             "expected ASCII characters, got ", quoted(character));
        require<value_error>(characters_[code] == unknown, operation,
                             "expected distinct characters, got ", quoted(character), " twice");
        characters_[code] = vocabulary_size();
        symbols_.emplace_back(1, character);
    }
    std::int32_t match(std::string_view rest) const {
        for (std::int32_t const special : specials_) {
            if (rest.starts_with(symbol(special))) return special;
        }
        auto const code = static_cast<unsigned char>(rest.front());
        return code < characters_.size() ? characters_[code] : unknown;
    }
    bool is_shown(std::int32_t id, shown_specials shown) const {
        if (id < control_count) return shown == shown_specials::all;
        bool const is_special = id < static_cast<std::int32_t>(specials_.size());
        return !is_special || shown != shown_specials::none;
    }
    static std::string quoted(char character) {
        if (character >= ' ' && character <= '~') return {'\'', character, '\''};
        return "byte " + std::to_string(static_cast<unsigned char>(character));
    }

    std::vector<std::string> symbols_;          // by id
    std::vector<std::int32_t> specials_;        // longest first
    std::array<std::int32_t, 128> characters_;  // id by ASCII code
};

}  // namespace grove::inline GROVE_ISA
