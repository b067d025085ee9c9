// SPDX-License-Identifier: Apache-2.0
#include "grove/io/crc32c.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace grove;

namespace {

std::string counting(int size) {
    std::string bytes;
    for (int i = 0; i < size; ++i) bytes += static_cast<char>(i);
    return bytes;
}

}  // namespace

TEST_CASE("crc32c: the vectors of RFC 3720, and lengths that are no multiple of eight") {
    CHECK(crc32c("") == 0);
    CHECK(crc32c("123456789") == 0xE3069283u);
    CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAu);
    CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
    CHECK(crc32c(counting(32)) == 0x46DD794Eu);
    CHECK(crc32c("a") == 0xC1D04330u);
    CHECK(crc32c(counting(100)) == 0xC1CAEBE5u);
}

TEST_CASE("crc32c: pieces chain to the whole wherever it is cut") {
    std::string const whole = counting(40);
    for (std::size_t cut = 0; cut <= whole.size(); ++cut)
        CHECK(crc32c(whole.substr(cut), crc32c(whole.substr(0, cut))) == crc32c(whole));
}

TEST_CASE("masked_crc32c: the form of record files") {
    CHECK(masked_crc32c(0xE3069283u) == 0xC78AB0E5u);
    CHECK(masked_crc32c(0xC1CAEBE5u) == 0x7A4E6E6Du);
}
