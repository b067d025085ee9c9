// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <type_traits>

#include "grove/core/number.hpp"
#include "grove/rl/aggregation.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/ratio.hpp"
#include "grove/rl/surrogate.hpp"

using namespace grove;
using doctest::Approx;

namespace {

auto const exactly = [](double x) { return Approx(x).epsilon(1e-14); };

/// ∂law/∂x at (x, y), by dual numbers.
template <class Law>
double slope(Law const& law, double x, double y) {
    using number = dual<double, 1>;
    return law(number::variable(x, 0), number(y)).derivative[0];
}

}  // namespace

TEST_CASE("clipped is the pessimistic minimum") {
    rl::clipped const law;
    CHECK(law(1.0, 2.0) == 2.0);
    CHECK(law(1.1, 2.0) == exactly(2.2));
    CHECK(law(1.5, 2.0) == exactly(2.4));
    CHECK(law(0.5, 2.0) == exactly(1.0));
    CHECK(law(1.5, -2.0) == exactly(-3.0));
    CHECK(law(0.5, -2.0) == exactly(-1.6));
    CHECK(law(0.7, 0.0) == 0.0);
}

TEST_CASE("clipped has a gradient where and only where leaving the interval would pay") {
    rl::clipped const law;
    CHECK(slope(law, 1.0, 2.0) == 2.0);
    CHECK(slope(law, 1.5, 2.0) == 0.0);
    CHECK(slope(law, 0.5, 2.0) == 2.0);
    CHECK(slope(law, 1.5, -2.0) == -2.0);
    CHECK(slope(law, 0.5, -2.0) == 0.0);
}

TEST_CASE("the bounds of clipped are independent") {
    rl::clipped const law{.low = 0.1, .high = 0.5};
    CHECK(law(1.4, 1.0) == exactly(1.4));
    CHECK(law(1.6, 1.0) == exactly(1.5));
    CHECK(law(0.8, -1.0) == exactly(-0.9));
    rl::clipped const r1{.low = 10, .high = 10};
    CHECK(r1(1e-9, -1.0) == exactly(-1e-9));
    CHECK(r1(12.0, 1.0) == exactly(11.0));
}

TEST_CASE("unclipped is the ratio times the advantage") {
    CHECK(rl::unclipped{}(1.5, -2.0) == -3.0);
    CHECK(slope(rl::unclipped{}, 7.0, -2.0) == -2.0);
}

TEST_CASE("divergence laws agree with numpy") {
    CHECK(rl::k1{}(-1.0, -2.3) == exactly(1.3));
    CHECK(rl::k1{}(-1.0, -0.6) == exactly(-0.4));
    CHECK(rl::k2{}(-1.0, -2.3) == exactly(0.845));
    CHECK(rl::k3{}(-1.0, -2.3) == exactly(0.5725317930340126));
    CHECK(rl::k3{}(-1.0, -0.6) == exactly(0.09182469764127044));
    CHECK(rl::k3{}(-1.0, -1.0) == 0.0);
    CHECK(rl::no_kl{}(-1.0, -2.3) == 0.0);
    CHECK(rl::sequence_kl<rl::k3>{}(-1.0, -2.3) == rl::k3{}(-1.0, -2.3));
    CHECK(slope(rl::k1{}, -1.0, -2.3) == 1.0);
    CHECK(slope(rl::k2{}, -1.0, -2.3) == exactly(1.3));
    CHECK(slope(rl::k3{}, -1.0, -2.3) == exactly(1.0 - 0.2725317930340126));
}

TEST_CASE("ratios are exponentials of log-ratios, and exactly 1 at 0") {
    CHECK(rl::token_ratio{}(0.5, 1.0) == exactly(1.6487212707001282));
    CHECK(rl::sequence_ratio{}(-0.5, 9.0) == exactly(0.6065306597126334));
    CHECK(rl::token_ratio{}(0.0f, 1.0f) == 1.0f);
    float lanes[pack<float>::size];
    rl::token_ratio{}(pack<float>(0.0f), pack<float>(1.0f)).store(lanes);
    for (float r : lanes) CHECK(r == 1.0f);
}

TEST_CASE_TEMPLATE("laws mean the same for packs", T, float, double) {
    T lanes[pack<T>::size];
    for (double r : {0.3, 0.9, 1.1, 1.9}) {
        for (double a : {-1.5, 0.0, 0.7}) {
            auto const x = static_cast<T>(r), y = static_cast<T>(a);
            rl::clipped{}(pack<T>(x), pack<T>(y)).store(lanes);
            CHECK(lanes[pack<T>::size - 1] == rl::clipped{}(x, y));
            rl::k3{}(pack<T>(x), pack<T>(y)).store(lanes);
            CHECK(lanes[0] == Approx(rl::k3{}(x, y)).epsilon(sizeof(T) == 4 ? 1e-5 : 1e-13));
        }
    }
}

TEST_CASE("aggregation weights") {
    rl::totals const all{.sequences = 4, .tokens = 50};
    CHECK(rl::sequence_mean{}(10, all) == exactly(1.0 / 40));
    CHECK(rl::sequence_sum{}(10, all) == exactly(1.0 / 4));
    CHECK(rl::token_mean{}(10, all) == exactly(1.0 / 50));
    rl::totals sum = all;
    sum += {.sequences = 1, .tokens = 2};
    CHECK(sum == rl::totals{.sequences = 5, .tokens = 52});
}
