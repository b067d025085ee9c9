// SPDX-License-Identifier: Apache-2.0
#include "grove/text/tokenizer.hpp"

#include <doctest/doctest.h>

#include <set>

#include "grove/core/random.hpp"

using namespace grove;
using ids = std::vector<std::int32_t>;

static_assert(tokenizer<symbol_tokenizer>);
static_assert(!tokenizer<std::string>);

namespace {
symbol_tokenizer const digits("0123456789+=;,");
}

TEST_CASE("symbol_tokenizer: ids are numbered controls, tags, alphabet") {
    CHECK(digits.vocabulary_size() == 21);
    CHECK(digits.padding_id() == digits.id("<padding>"));
    CHECK(digits.begin_id() == digits.id("<begin>"));
    CHECK(digits.end_id() == digits.id("<end>"));
    CHECK(digits.id("<think>") == 3);
    CHECK(digits.id("</answer>") == 6);
    CHECK(digits.id("0") == 7);
    CHECK(digits.id(",") == 20);
    std::set<std::string_view> spellings;
    for (std::int32_t id = 0; id < digits.vocabulary_size(); ++id) {
        CHECK(digits.id(digits.symbol(id)) == id);
        spellings.insert(digits.symbol(id));
    }
    CHECK(spellings.size() == 21);
}

TEST_CASE("symbol_tokenizer: a tag is one token, every other symbol one character") {
    CHECK(digits.encode("<begin>345+678=") == ids{1, 10, 11, 12, 17, 13, 14, 15, 18});
    CHECK(digits.encode("<think></think><answer>7</answer><end><padding>") ==
          ids{3, 4, 5, 14, 6, 2, 0});
    CHECK(digits.encode("").empty());
    CHECK(digits.decode({}).empty());
}

TEST_CASE("symbol_tokenizer: the longest special comes first") {
    symbol_tokenizer const t("<ab>", {"<a", "<ab", "<ab>"});
    CHECK(t.encode("<a") == ids{3});
    CHECK(t.encode("<ab") == ids{4});
    CHECK(t.encode("<ab><b") == ids{5, t.id("<"), t.id("b")});
}

TEST_CASE("symbol_tokenizer: decode shows what it is asked to") {
    auto const text = std::string("<begin><think>1</think><end><padding>");
    auto const encoded = digits.encode(text);
    CHECK(digits.decode(encoded) == text);
    CHECK(digits.decode(encoded, shown_specials::tags) == "<think>1</think>");
    CHECK(digits.decode(encoded, shown_specials::none) == "1");
}

TEST_CASE("symbol_tokenizer: round trip of random ids") {
    random_sequence random({.seed = 3});
    for (int round = 0; round < 200; ++round) {
        ids sequence(static_cast<std::size_t>(random.integer(0, 40)));
        for (auto& id : sequence) {
            id = static_cast<std::int32_t>(random.integer(0, digits.vocabulary_size() - 1));
        }
        CHECK(digits.encode(digits.decode(sequence)) == sequence);
    }
}

TEST_CASE("symbol_tokenizer: what it refuses") {
    CHECK_THROWS_WITH_AS(
        digits.encode("12a"),
        "[symbol_tokenizer::encode] expected a symbol of the vocabulary, got 'a' at "
        "position 2",
        value_error);
    CHECK_THROWS_WITH_AS(
        digits.encode("<think>\n"),
        "[symbol_tokenizer::encode] expected a symbol of the vocabulary, got byte 10 "
        "at position 7",
        value_error);
    CHECK_THROWS_AS(digits.encode("<think"), value_error);
    CHECK_THROWS_AS(digits.encode("1\xC3\x97"), value_error);
    CHECK_THROWS_AS(digits.encode(std::string(1, '\0')), value_error);
    CHECK_THROWS_WITH_AS(digits.decode(ids{3, 21}),
                         "[symbol_tokenizer::symbol] expected an id in [0, 21), got 21",
                         value_error);
    CHECK_THROWS_AS(digits.decode(ids{-1}, shown_specials::none), value_error);
    CHECK_THROWS_AS(digits.id("<thinks>"), value_error);
    CHECK_THROWS_AS(digits.id(""), value_error);
}

TEST_CASE("symbol_tokenizer: vocabularies that make no sense") {
    CHECK_THROWS_AS(symbol_tokenizer(""), value_error);
    CHECK_THROWS_WITH_AS(symbol_tokenizer("010"),
                         "[symbol_tokenizer] expected distinct characters, got '0' twice",
                         value_error);
    CHECK_THROWS_AS(symbol_tokenizer("\xC3\x97"), value_error);
    CHECK_THROWS_AS(symbol_tokenizer("01", {"<a>", "<a>"}), value_error);
    CHECK_THROWS_AS(symbol_tokenizer("01", {"<end>"}), value_error);
    CHECK_THROWS_AS(symbol_tokenizer("01", {"x"}), value_error);
    CHECK_NOTHROW(symbol_tokenizer("01", {}));
}
