// SPDX-License-Identifier: Apache-2.0
/// @file
/// What is measured at a step, and who takes it.
#pragma once

#include <string>
#include <vector>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// One measured number: {"reward/mean", 0.71}.
struct metric {
    std::string name;
    double value = 0;

    friend bool operator==(metric const&, metric const&) = default;
};

/// Everything measured at one step ≥ 0, in the order in which it is to be shown.
struct metric_record {
    index_t step = 0;
    std::vector<metric> values;

    friend bool operator==(metric_record const&, metric_record const&) = default;
};

/// Anything that takes records: a file, a progress line, your own dashboard.
template <class Sink>
concept metric_sink = requires(Sink& sink, metric_record const& record) { sink.write(record); };

}  // namespace grove::inline GROVE_ISA
