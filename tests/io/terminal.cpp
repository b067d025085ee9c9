// SPDX-License-Identifier: Apache-2.0
#include "grove/io/terminal.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace grove;

TEST_CASE("is_utf8: well-formed text only") {
    CHECK(is_utf8("a é 数 🌳 \x7f"));
    CHECK(is_utf8("\xf4\x8f\xbf\xbf"));
    for (char const* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                            "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff", "\xe6\x95z"})
        CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("printable: no control sequence survives") {
    CHECK(printable("plain é 数 🌳") == "plain é 数 🌳");
    CHECK(printable("a\nb\x1b[2J") == "a␊b␛[2J");
    CHECK(printable(std::string_view("\0\x7f\xc2\x9b", 4)) == "␀\uFFFD\uFFFD");
    CHECK(printable("\u202egnp") == "\uFFFDgnp");
    CHECK(printable("\xff\xe6\x95z") == "\uFFFD\uFFFD\uFFFDz");
}

TEST_CASE("display_width: columns, not bytes") {
    CHECK(display_width("") == 0);
    CHECK(display_width("grün") == 4);
    CHECK(display_width("e\u0301") == 1);
    CHECK(display_width("推理") == 4);
    CHECK(display_width("🌳") == 2);
    CHECK(display_width("▕█░▏") == 4);
}

TEST_CASE("fit: cuts by columns and says so") {
    CHECK(fit("grove", 5) == "grove");
    CHECK(fit("grove", 4) == "gro…");
    CHECK(fit("推理模型", 5) == "推理…");
    CHECK(fit("推理模型", 4) == "推…");
    CHECK(fit("grove", 1) == "…");
    CHECK(fit("grove", 0).empty());
}

TEST_CASE("format_number: significant digits without trailing zeros") {
    CHECK(format_number(0.71) == "0.71");
    CHECK(format_number(123.456) == "123.5");
    CHECK(format_number(1234567) == "1.235e+06");
    CHECK(format_number(-0.00002) == "-2e-05");
    CHECK(format_number(0.1, 17) == "0.10000000000000001");
    CHECK(format_number(std::numeric_limits<double>::quiet_NaN()) == "nan");
}
