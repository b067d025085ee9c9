// SPDX-License-Identifier: Apache-2.0
// What a step's report says.
#pragma once

#include <doctest/doctest.h>

#include <string>

namespace grove_test {

template <class Report>
double metric_of(Report const& report, std::string const& name) {
    for (auto const& [key, value] : report.metrics.values)
        if (key == name) return value;
    FAIL("no metric ", name);
    return 0;
}

}  // namespace grove_test
