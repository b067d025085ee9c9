// SPDX-License-Identifier: Apache-2.0
#include "grove/version.hpp"

#include <doctest/doctest.h>

TEST_CASE("version: the three parts and the number to compare with agree") {
    CHECK(GROVE_VERSION / 10000 == GROVE_VERSION_MAJOR);
    CHECK(GROVE_VERSION / 100 % 100 == GROVE_VERSION_MINOR);
    CHECK(GROVE_VERSION % 100 == GROVE_VERSION_PATCH);
}
