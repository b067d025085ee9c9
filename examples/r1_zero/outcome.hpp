// SPDX-License-Identifier: Apache-2.0
// What the run leaves behind: summary.json, curves.png, samples.txt and a table.
#pragma once

#include "settings.hpp"

namespace r1_zero {

// Writes the files and prints the table; `notes` is what the run measured on the way.
void conclude(settings const& s, grove::json const& notes);

}  // namespace r1_zero
