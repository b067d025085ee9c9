// SPDX-License-Identifier: Apache-2.0
// A program outside the project: it knows grove by its targets and its umbrella header alone.
#include <grove/grove.hpp>

int main() {
    grove::random_key const key{.seed = 7};
    double const draw = key.uniform<double>(0);
    return draw >= 0 && draw < 1 ? 0 : 1;
}
