// SPDX-License-Identifier: Apache-2.0
#include "grove/rl/covariance.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "grove/rl/preset.hpp"
#include "recorded_batch.hpp"

using namespace grove;
using grove_test::varied_batch;

namespace {

using flags = std::vector<std::uint8_t>;

std::vector<std::size_t> chosen(flags const& selected) {
    std::vector<std::size_t> at;
    for (std::size_t t = 0; t < selected.size(); ++t)
        if (selected[t]) at.push_back(t);
    return at;
}

}  // namespace

// By Python, the covariances of the tokens that count are 0.053, −0.403, 0.433, 1.516, −0.269,
// 0.109, −, −0.605, −0.152, 0.078, 0.216; the clip holds tokens 0, 3 and 9.
TEST_CASE("the largest covariances") {
    auto const batch = varied_batch();
    CHECK(chosen(rl::largest_covariance{}(batch.view())) == std::vector<std::size_t>{3});
    CHECK(chosen(rl::largest_covariance{.share = 0.39}(batch.view())) ==
          std::vector<std::size_t>{2, 3, 10});
}

TEST_CASE("a band of covariances, without what the clip holds, drawn at random") {
    auto const batch = varied_batch();
    auto const band = [&](rl::covariance_band const& law, std::uint64_t seed) {
        return chosen(law(batch.view(), rl::covariance_clipped{}, {.seed = seed}));
    };
    CHECK(band({}, 1).empty());
    rl::covariance_band const wide{.low = 0.1, .high = 2, .share = 0.3};
    CHECK(band(wide, 1) == std::vector<std::size_t>{2, 5, 10});
    CHECK(band({.low = 0.1, .high = 0.4, .share = 0.3}, 1) == std::vector<std::size_t>{5, 10});
    rl::covariance_band const one{.low = 0.1, .high = 2};
    std::vector<int> times(13);
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        auto const at = band(one, seed);
        REQUIRE(at.size() == 1);
        CHECK(at == band(one, seed));
        ++times[at[0]];
    }
    CHECK(times[2] + times[5] + times[10] == 300);
    for (std::size_t t : {2u, 5u, 10u}) CHECK(times[t] > 60);
}

TEST_CASE("covariances of a batch in which nothing counts select nothing") {
    auto batch = varied_batch();
    batch.mask.assign(13, 0);
    CHECK(chosen(rl::largest_covariance{}(batch.view())).empty());
    CHECK(chosen(rl::covariance_band{}(batch.view(), rl::covariance_clipped{}, {})).empty());
}

TEST_CASE("kl-cov does not push a selected token that has not moved") {
    auto batch = varied_batch();
    batch.old_log_probability = batch.log_probability;
    std::vector<double> selected(13), without(13);
    rl::evaluate(rl::kl_cov{}, batch.view(), selected);
    batch.selected.assign(13, 0);
    rl::evaluate(rl::kl_cov{}, batch.view(), without);
    CHECK(selected == without);
}

TEST_CASE("covariance selection refuses what does not fit") {
    auto batch = varied_batch();
    CHECK_THROWS_AS(rl::largest_covariance{.share = 2}(batch.view()), configuration_error);
    batch.log_probability[2] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(rl::largest_covariance{}(batch.view()), value_error);
    batch = varied_batch();
    batch.advantage.pop_back();
    CHECK_THROWS_AS(rl::largest_covariance{}(batch.view()), shape_error);
    batch = varied_batch();
    batch.selected.clear();
    std::vector<double> gradient(13);
    CHECK_THROWS_AS(rl::evaluate(rl::clip_cov{}, batch.view(), gradient), shape_error);
    CHECK_NOTHROW(rl::evaluate(rl::dapo(), batch.view(), gradient));
}
