// SPDX-License-Identifier: Apache-2.0
#include "grove/io/table.hpp"

#include <doctest/doctest.h>

using namespace grove;

TEST_CASE("table: columns fit the widest cell in any script, numbers stand right") {
    table results({"method", "reward", "note"});
    results.row({"grpo", 0.71, "grün"}).row({"推理推理", 12, ""}).row({"ppo", "–", "a\nb"});
    CHECK(results.text() ==
          "method    reward  note\n"
          "────────  ──────  ────\n"
          "grpo        0.71  grün\n"
          "推理推理      12\n"
          "ppo       –       a␊b\n");
}

TEST_CASE("table: digits, no rows, and rows that do not fit") {
    table results({"x", std::string("y")});
    CHECK(results.text() == "x  y\n─  ─\n");
    results.row({table_cell(1.23456, 2), -5});
    CHECK(results.text() == "  x   y\n───  ──\n1.2  -5\n");
    CHECK_THROWS_AS(results.row({"one"}), shape_error);
    CHECK_THROWS_AS(table(std::vector<table_cell>{}), value_error);
}
