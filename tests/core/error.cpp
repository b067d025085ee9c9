// SPDX-License-Identifier: Apache-2.0
#include "grove/core/error.hpp"

#include <doctest/doctest.h>

using namespace grove;

TEST_CASE_TEMPLATE("error: each exception is a grove::error and a std::runtime_error", Error,
                   shape_error, value_error, configuration_error, io_error) {
    CHECK_THROWS_AS(fail<Error>("operation", "anything"), error);
    CHECK_THROWS_AS(fail<Error>("operation", "anything"), std::runtime_error);
    CHECK_THROWS_AS(require<Error>(false, "operation", "anything"), Error);
}

TEST_CASE("error: a message names the operation and prints its parts") {
    CHECK_THROWS_WITH_AS(fail<value_error>("clip", "expected ε > 0, got ", -0.5, " at ", 3),
                         "[clip] expected ε > 0, got -0.5 at 3", value_error);
}

TEST_CASE("error: require throws only where its condition fails") {
    CHECK_NOTHROW(require<value_error>(true, "operation", "never said"));
    CHECK_THROWS_WITH_AS(require<shape_error>(1 > 2, "operation", "said"), "[operation] said",
                         shape_error);
}
