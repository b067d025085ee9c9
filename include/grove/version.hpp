// SPDX-License-Identifier: Apache-2.0
/// @file
/// The version of these headers (semantic versioning); the build reads it from here.
#pragma once

#define GROVE_VERSION_MAJOR 0
#define GROVE_VERSION_MINOR 1
#define GROVE_VERSION_PATCH 0
/// One number to compare with in `#if`: 10000 · major + 100 · minor + patch.
#define GROVE_VERSION                                                                              \
    (10000 * GROVE_VERSION_MAJOR + 100 * GROVE_VERSION_MINOR + GROVE_VERSION_PATCH)
