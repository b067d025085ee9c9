// SPDX-License-Identifier: Apache-2.0
// Golden values: numpy, from the formulas of the papers and hand-derived gradients.
#include "grove/rl/preset.hpp"

#include <doctest/doctest.h>

#include "recorded_batch.hpp"

using namespace grove;
using doctest::Approx;
using grove_test::small_batch;

namespace {

template <class Objective>
rl::objective_statistics check_golden(Objective const& objective, double loss,
                                      std::vector<double> const& gradient) {
    auto const batch = small_batch();
    std::vector<double> actual(12, -1.0);
    auto const result = rl::evaluate(objective, batch.view(), actual);
    CHECK(result.loss == Approx(loss).epsilon(1e-13));
    for (std::size_t t = 0; t < actual.size(); ++t) {
        CAPTURE(t);
        CHECK(actual[t] == Approx(gradient[t]).epsilon(1e-12));
    }
    CHECK(actual[6] == 0.0);
    CHECK(actual[11] == 0.0);
    return result.statistics;
}

template <class Kl, class Aggregation>
using with = rl::objective<rl::group_normalized, rl::token_ratio, rl::clipped, Kl, Aggregation>;

}  // namespace

TEST_CASE("grpo") {
    auto const statistics = check_golden(
        rl::grpo{}, -0.30822835498276613,
        {1.510577057683485e-05, -0.09515209735070274, -0.10099708649325312, -2.629272951891193e-05,
         0.031726080751434516, 0.052268308606499336, 0.0, 0.033667501388881915,
         -0.11473144075876449, -6.408887047002987e-06, 0.0, 0.0});
    CHECK(statistics.sequences == 4);
    CHECK(statistics.tokens == 9);
    CHECK(statistics.ratio.value() == Approx(1.1055910123212875).epsilon(1e-13));
    CHECK(statistics.ratio_deviation == Approx(0.5683121854901689).epsilon(1e-13));
    CHECK(statistics.kl.value() == Approx(0.020467878600941767).epsilon(1e-12));
    CHECK(statistics.advantage.value() == Approx(0.38888888888888884).epsilon(1e-13));
    CHECK(statistics.clipped_low.value() == Approx(1.0 / 9));
    CHECK(statistics.clipped_high.value() == Approx(2.0 / 9));
}

TEST_CASE("r1_paper clips at 10") {
    auto const statistics =
        check_golden(rl::r1_paper(), -0.37055332690087095,
                     {-0.13497077498702348, -0.09515209735070274, -0.10099708649325312,
                      0.11727971532671794, 0.031726080751434516, 0.052268308606499336, 0.0,
                      0.033667501388881915, -0.11473144075876449, -0.15965150810378845, 0.0, 0.0});
    CHECK(statistics.clipped_low.value() == 0.0);
    CHECK(statistics.clipped_high.value() == 0.0);
}

TEST_CASE("r1_equation_1") {
    auto const statistics =
        check_golden(rl::r1_equation_1(), -0.44681422342065896,
                     {-0.38907902599973154, -0.38907902599973154, -0.38907902599973154,
                      0.11727971532671794, 0.1507144389524357, 0.1507144389524357, 0.0,
                      0.1507144389524357, -0.3256664603216777, -0.3256664603216777, 0.0, 0.0});
    CHECK(statistics.ratio.count == 4);
    CHECK(statistics.ratio.value() == Approx(1.2304506331193974).epsilon(1e-13));
    CHECK(statistics.kl.value() == Approx(0.0173043107982917).epsilon(1e-12));
}

TEST_CASE("r1_equation_1 with a narrow clip and a large coefficient") {
    auto const statistics = check_golden(
        rl::r1_equation_1({.clip = 0.2, .kl_coefficient = 0.04}), -0.33862604905678295,
        {0.0, 0.0, 0.0, -0.0010517091807564771, 0.15198819615729733, 0.15198819615729733, 0.0,
         0.15198819615729733, 0.0029531191028128656, 0.0029531191028128656, 0.0, 0.0});
    CHECK(statistics.clipped_low.value() == Approx(0.25));
    CHECK(statistics.clipped_high.value() == Approx(0.5));
}

TEST_CASE("token_mean with unequal clips") {
    check_golden(with<rl::k3, rl::token_mean>{.surrogate = {.low = 0.2, .high = 0.28},
                                              .kl_coefficient = 0.04},
                 -0.44227906319995325,
                 {0.0008056410974311919, -0.12838551796709965, -0.1342504108024933,
                  -0.00046742630255843426, 0.04325997094193661, 0.06923533749700464, 0.0,
                  0.04484645112781117, -0.10055488976283398, -0.00022787153944899506, 0.0, 0.0});
}

TEST_CASE("sequence_sum without a reference") {
    auto const statistics = check_golden(
        with<rl::no_kl, rl::sequence_sum>{}, -0.9549700012739795,
        {0.0, -0.2853688273502142, -0.3030150501252504, 0.0, 0.09512294245007141,
         0.1568312185490169, 0.0, 0.1010050167084168, -0.22954530150602007, 0.0, 0.0, 0.0});
    CHECK(statistics.kl.count == 0);
    CHECK(std::isnan(statistics.kl.value()));
}

TEST_CASE("presets refuse a negative clip") {
    CHECK_THROWS_AS(rl::r1_paper({.clip = -0.2}), configuration_error);
    CHECK_THROWS_AS(rl::r1_equation_1({.clip = -0.2}), configuration_error);
}
