// SPDX-License-Identifier: Apache-2.0
#include "grove/reward/format.hpp"

#include <doctest/doctest.h>

#include "grove/reward/reward.hpp"

using namespace grove;

static_assert(reward<format_reward>);

TEST_CASE("format_reward: 1 for the full structure, 0 for anything else") {
    format_reward const format;
    CHECK(format("q", "<think>1</think>\n<answer>2</answer>", "9") == 1.0F);
    CHECK(format("q", "<think></think><answer>2</answer>", "") == 1.0F);
    CHECK(format("q", "<answer>2</answer>", "2") == 0.0F);
    CHECK(format("q", "", "2") == 0.0F);
    CHECK(format("<think>1</think><answer>2</answer>", "2", "2") == 0.0F);
}
