// SPDX-License-Identifier: Apache-2.0
// doctest's own code, and a main that runs the cases of whichever folder links it.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

int main(int argc, char** argv) { return doctest::Context(argc, argv).run(); }
