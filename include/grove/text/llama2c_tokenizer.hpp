// SPDX-License-Identifier: Apache-2.0
/// @file
/// The tokenizer of llama2.c: SentencePiece's byte-pair encoding by scores, with bytes to fall back
/// on.
#pragma once

#include <limits>
#include <optional>
#include <unordered_map>

#include "grove/io/bytes.hpp"
#include "grove/io/file.hpp"
#include "grove/text/tokenizer.hpp"

namespace grove::inline GROVE_ISA {

/// Reads llama2.c's tokenizer files: the longest token's length, then per token its score, its
/// length and its bytes. Ids 0, 1 and 2 are unknown, begin and end; 3 to 258 are the bytes.
/// Models `tokenizer`.
/// @code
/// auto const tokens = grove::llama2c_tokenizer::load("tok512.bin");
/// auto const ids = tokens.encode("Once upon a time");   // begins with tokens.begin_id()
/// @endcode
class llama2c_tokenizer {
public:
    /// Throws io_error where the file cannot be read or is not one of these.
    static llama2c_tokenizer load(std::filesystem::path const& path) {
        return llama2c_tokenizer(read_file(path));
    }
    /// The same from the file's bytes.
    explicit llama2c_tokenizer(std::string_view bytes) {
        byte_cursor file(bytes, operation);
        auto const longest = file.number<std::int32_t>();
        while (!file.empty()) {
            float const score = file.number<float>();
            auto const length = file.number<std::int32_t>();
            require<io_error>(length >= 0 && length <= longest && score == score, operation,
                              "expected a score and at most ", longest, " bytes, got ", score,
                              " and ", length);
            scores_.push_back(score);
            symbols_.emplace_back(file.text(static_cast<std::size_t>(length)));
            ids_.emplace(symbols_.back(), static_cast<std::int32_t>(symbols_.size()) - 1);
        }
        require<io_error>(vocabulary_size() >= first_byte + 256, operation, "expected at least ",
                          first_byte + 256, " tokens, got ", vocabulary_size());
    }

    /// Ids of a text, begin_id() first. Characters that are no token become their bytes; then the
    /// neighbours whose joint token scores best are merged until none are left.
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> ids{begin_id()};
        if (text.empty()) return ids;
        if (auto const space = find(" ")) ids.push_back(*space);  // as if a word went before
        while (!text.empty()) {
            std::string_view const character = text.substr(0, character_size(text));
            text.remove_prefix(character.size());
            if (auto const id = find(character)) {
                ids.push_back(*id);
            } else {
                for (char const byte : character)
                    ids.push_back(first_byte + static_cast<unsigned char>(byte));
            }
        }
        while (merge_best(ids)) {
        }
        return ids;
    }
    /// Text of the ids, without begin and end. Throws value_error for an id outside the vocabulary.
    std::string decode(std::span<std::int32_t const> ids) const {
        std::string text;
        std::int32_t previous = -1;
        for (std::int32_t const id : ids) {
            text += piece(previous, id);
            previous = id;
        }
        return text;
    }
    /// What `id` adds to a text behind `previous` (−1 where it is the first): for streaming.
    std::string piece(std::int32_t previous, std::int32_t id) const {
        require<value_error>(id >= 0 && id < vocabulary_size(), "llama2c_tokenizer::decode",
                             "expected an id in [0, ", vocabulary_size(), "), got ", id);
        if (id == begin_id() || id == end_id()) return {};
        if (id >= first_byte && id < first_byte + 256)
            return std::string(1, static_cast<char>(id - first_byte));
        std::string const& symbol = symbols_[static_cast<std::size_t>(id)];
        return previous == begin_id() && symbol.starts_with(' ') ? symbol.substr(1) : symbol;
    }
    std::int32_t vocabulary_size() const { return static_cast<std::int32_t>(symbols_.size()); }
    std::int32_t begin_id() const { return 1; }
    std::int32_t end_id() const { return 2; }

private:
    static constexpr std::string_view operation = "llama2c_tokenizer";
    static constexpr std::int32_t first_byte = 3;

    std::optional<std::int32_t> find(std::string_view symbol) const {
        auto const at = ids_.find(std::string(symbol));
        return at == ids_.end() ? std::nullopt : std::optional(at->second);
    }
    /// Bytes of the first character in UTF-8; stray continuation bytes count as one each.
    static std::size_t character_size(std::string_view text) {
        std::size_t size = 1;
        while (size < text.size() && size < 4 &&
               (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80)
            ++size;
        return size;
    }
    bool merge_best(std::vector<std::int32_t>& ids) const {
        float best = -std::numeric_limits<float>::infinity();
        std::size_t place = ids.size();
        std::int32_t joint = 0;
        for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
            auto const id = find(symbols_[static_cast<std::size_t>(ids[i])] +
                                 symbols_[static_cast<std::size_t>(ids[i + 1])]);
            if (!id || scores_[static_cast<std::size_t>(*id)] <= best) continue;
            best = scores_[static_cast<std::size_t>(*id)];
            place = i;
            joint = *id;
        }
        if (place == ids.size()) return false;
        ids[place] = joint;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
        return true;
    }

    std::vector<float> scores_;
    std::vector<std::string> symbols_;
    std::unordered_map<std::string, std::int32_t> ids_;
};

}  // namespace grove::inline GROVE_ISA
