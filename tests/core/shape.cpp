// SPDX-License-Identifier: Apache-2.0
#include "grove/core/shape.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace grove;

TEST_CASE("shape: sizes, rows and columns") {
    shape const s{2, 3, 5};
    CHECK(s.rank() == 3);
    CHECK(s.size() == 30);
    CHECK(s.rows() == 6);
    CHECK(s.columns() == 5);
    CHECK(s[0] == 2);
    CHECK(s[-1] == 5);
    CHECK(s[-3] == 2);
}

TEST_CASE("shape: rank 0 is one number, an extent of 0 is none") {
    CHECK(shape{}.rank() == 0);
    CHECK(shape{}.size() == 1);
    CHECK(shape{}.rows() == 1);
    CHECK(shape{}.columns() == 1);
    CHECK(shape{4, 0}.size() == 0);
    CHECK(shape{4, 0}.rows() == 4);
    CHECK(shape{7}.rows() == 1);
}

TEST_CASE("shape: other columns, fewer axes, equality") {
    CHECK(shape{2, 3}.with_columns(7) == shape{2, 7});
    CHECK(shape{2, 3}.without_columns() == shape{2});
    CHECK(shape{3}.without_columns() == shape{});
    CHECK(shape{2, 3} != shape{3, 2});
    CHECK(shape{2, 3} != shape{2, 3, 1});
}

TEST_CASE("shape: prints as a list") {
    std::ostringstream out;
    out << shape{2, 3, 5} << shape{} << shape{0};
    CHECK(out.str() == "[2, 3, 5][][0]");
}

TEST_CASE("shape: errors say what was expected") {
    CHECK_THROWS_WITH_AS((shape{1, 1, 1, 1, 1, 1, 1}), "[shape] expected at most 6 extents, got 7",
                         shape_error);
    CHECK_THROWS_WITH_AS((shape{2, -1}), "[shape] expected extents ≥ 0, got -1", shape_error);
    CHECK_THROWS_WITH_AS((shape{2, 3}[2]), "[shape] expected an axis of a rank-2 shape, got 2",
                         shape_error);
    CHECK_THROWS_AS((shape{2, 3}[-3]), shape_error);
    CHECK_THROWS_AS(shape{}.with_columns(1), shape_error);
    CHECK_THROWS_AS(shape{}.without_columns(), shape_error);
}
