// SPDX-License-Identifier: Apache-2.0
#include "grove/text/llama2c_tokenizer.hpp"

#include <doctest/doctest.h>

using namespace grove;

namespace {

using ids = std::vector<std::int32_t>;

std::filesystem::path const path =
    std::filesystem::path(GROVE_SOURCE_DIRECTORY) / "tests/data/stories260K/tok512.bin";

}  // namespace

TEST_CASE("llama2c_tokenizer: encodes as an independent program does, and decodes") {
    auto const tokens = llama2c_tokenizer::load(path);
    static_assert(tokenizer<llama2c_tokenizer>);
    CHECK(tokens.vocabulary_size() == 512);
    CHECK(tokens.encode("") == ids{1});
    CHECK(tokens.encode("Once upon a time") == ids{1, 403, 407, 261, 378});
    CHECK(tokens.encode("Héllo, 世界!") ==
          ids{1, 320, 485, 306, 414, 432, 410, 231, 187, 153, 234, 152, 143, 443});
    CHECK(tokens.encode("Lily  was\nhappy") == ids{1, 317, 410, 286, 13, 415, 412, 339, 422});
    for (std::string const text :
         {"", " two  spaces ", "Héllo, 世界!", "\xff\x80 stray bytes\xc3", "\n\t~"})
        CHECK(tokens.decode(tokens.encode(text)) == text);
}

TEST_CASE("llama2c_tokenizer: bad ids and damaged files") {
    std::string const whole = read_file(path);
    llama2c_tokenizer const tokens(whole);
    CHECK_THROWS_AS(tokens.decode(ids{512}), value_error);
    CHECK_THROWS_AS(tokens.decode(ids{-1}), value_error);
    CHECK_THROWS_AS(llama2c_tokenizer(""), io_error);
    CHECK_THROWS_AS(llama2c_tokenizer(whole.substr(0, 1000)), io_error);
    CHECK_THROWS_AS(llama2c_tokenizer(whole.substr(0, whole.size() - 1)), io_error);
    std::string longer = whole;
    longer[9] = '\x7f';  // the first token's length
    CHECK_THROWS_AS(llama2c_tokenizer{longer}, io_error);
}
