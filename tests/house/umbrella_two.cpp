// SPDX-License-Identifier: Apache-2.0
#include "grove/grove.hpp"

#include <doctest/doctest.h>

using philox_function = std::array<std::uint32_t, 4> (*)(std::array<std::uint32_t, 4>,
                                                         std::array<std::uint32_t, 2>);

philox_function philox_of_unit_one();

TEST_CASE("two units that include the umbrella header share its functions") {
    CHECK((philox_of_unit_one() == &grove::philox));
}

TEST_CASE("version: the three parts and the number to compare with agree") {
    CHECK(GROVE_VERSION / 10000 == GROVE_VERSION_MAJOR);
    CHECK(GROVE_VERSION / 100 % 100 == GROVE_VERSION_MINOR);
    CHECK(GROVE_VERSION % 100 == GROVE_VERSION_PATCH);
}
