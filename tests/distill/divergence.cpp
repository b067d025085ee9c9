// SPDX-License-Identifier: Apache-2.0
// Golden values and gradients: Python with mpmath, 50 digits, from the formulas.
#include "grove/distill/divergence.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "grove/distill/evaluate.hpp"
#include "grove/distill/sparse.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
constexpr double infinity = std::numeric_limits<double>::infinity();

numbers const student{0.89, 2.03, -1.93, 0.93, -0.41};
numbers const teacher{1.4, -0.35, 0.2, 1.95, -2.6};

void check_near(numbers const& actual, numbers const& expected) {
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(actual[i] - expected[i]) < 1e-13);
    }
}
template <class Law>
void check(Law const& law, double value, numbers const& gradient,
           distill::comparison const& how = {}, numbers const& q = student,
           numbers const& p = teacher) {
    numbers actual(q.size(), -1.0);
    CHECK(distill::divergence<double>(law, q, p, actual, how) ==
          doctest::Approx(value).epsilon(1e-14));
    check_near(actual, gradient);
    CHECK(distill::divergence<double>(law, q, p, {}, how) == doctest::Approx(value).epsilon(1e-14));
}

/// What the header shows.
struct brier {
    template <class Number>
    GROVE_HD Number operator()(Number log_q, Number log_p) const {
        Number const d = math::exp(log_q) - math::exp(log_p);
        return Number(0.5) * d * d;
    }
};

/// Calls f(law) for every law.
template <class F>
void each_law(F&& f) {
    f(distill::forward_kl{});
    f(distill::reverse_kl{});
    for (double beta : {0.0, 1e-3, 0.3, 0.5, 0.9, 1.0}) f(distill::generalized_jsd{beta});
    for (double alpha : {0.0, 0.1, 0.5}) {
        f(distill::skew_kl{alpha});
        f(distill::skew_reverse_kl{alpha});
    }
    f(distill::total_variation{});
    f(brier{});
}

}  // namespace

TEST_CASE("divergences: golden values and gradients") {
    check(distill::forward_kl{}, 0.78750245837747748,
          {-0.12810228644297253, 0.51467487717346848, -0.082511068326318098, -0.3479387455789845,
           0.043877223174806652});
    check(distill::reverse_kl{}, 1.1294931301597418,
          {-0.3023392683561198, 0.69771437039290731, -0.035578780412199154, -0.41119448088724097,
           0.051398159262652616});
    check(distill::generalized_jsd{0.5}, 0.20465163539163037,
          {-0.043466481366903705, 0.12118594270806197, -0.0094632518450987891,
           -0.078374254219365236, 0.010118044723305762});
    check(distill::generalized_jsd{0.3}, 0.16518278852820326,
          {-0.032623868252270238, 0.10040979471051578, -0.0095107034235778178,
           -0.066744989817191073, 0.0084697667825233448});
    check(distill::skew_kl{0.1}, 0.62853419121521615,
          {-0.11955927863103688, 0.38763741761198041, -0.039294169198225004, -0.2616109481290511,
           0.032826978346332575});
    check(distill::skew_kl{0.4}, 0.31066954825204589,
          {-0.072238141306775997, 0.17708367910304993, -0.0095042561439520616, -0.10991767157551582,
           0.014576389923193949});
    check(distill::skew_reverse_kl{0.1}, 0.74114834473657781,
          {-0.17159813998014089, 0.42909982099372752, -0.026715119064366657, -0.26598088213771365,
           0.035194320188493672});
    check(distill::total_variation{}, 0.55855210034827513,
          {-0.11238512920654497, 0.21713033889980696, -0.0066988215728220666, -0.11697165333717565,
           0.018925265216735733});
}

TEST_CASE("divergences: the temperature divides both sides, without a factor") {
    check(distill::forward_kl{}, 1.4802179702614962,
          {-0.26374821863258078, 1.2306431893986338, -0.059392170618958474, -0.92843319385497639,
           0.020930393707881821},
          {.temperature = 0.6});
    check(distill::reverse_kl{}, 2.7025691553805871,
          {-0.67205959744409718, 1.5519526888003476, -0.010722446490447898, -0.88895253573260264,
           0.019781890866800138},
          {.temperature = 0.6});
    check(distill::generalized_jsd{0.3}, 0.29725215178115472,
          {-0.06196903838194812, 0.20073994523204354, -0.0030555587536434409, -0.13910858198178613,
           0.0033932338853341452},
          {.temperature = 0.6});
}

TEST_CASE("generalized_jsd: the ends are the two KLs, and D/β and D/(1 − β) tend to them") {
    numbers gradient(5), other(5);
    auto const value = [&](auto const& law, numbers& g) {
        return distill::divergence<double>(law, student, teacher, g);
    };
    CHECK(value(distill::generalized_jsd{0}, gradient) == value(distill::forward_kl{}, other));
    CHECK(gradient == other);
    CHECK(value(distill::generalized_jsd{1}, gradient) == value(distill::reverse_kl{}, other));
    CHECK(gradient == other);
    double const forward = value(distill::forward_kl{}, other);
    CHECK(value(distill::generalized_jsd{1e-5}, gradient) / 1e-5 ==
          doctest::Approx(forward).epsilon(1e-4));
    check(distill::generalized_jsd{0.01}, 0.0077827767662269844,
          {-0.0012802155396520121, 0.0050670507175600145, -0.0007882390057206324,
           -0.003430432225284338, 0.00043183605309696792});
}

TEST_CASE("divergences: other sizes are refused, or padded with impossible tokens") {
    numbers const few(teacher.begin(), teacher.begin() + 3);
    CHECK_THROWS_WITH_AS(
        distill::divergence<double>(distill::forward_kl{}, student, few),
        "[divergence] expected student and teacher to share a vocabulary, got 5 and 3 tokens; pad "
        "them where ids mean the same",
        shape_error);
    distill::comparison const padded{.sizes = distill::vocabularies::padded};
    check(distill::forward_kl{}, 1.3063840229030794,
          {-0.4961531972173448, 0.45071721901767788, -0.19336587234057337, 0.18924806455048567,
           0.049553785989754612},
          padded, student, few);
    check(distill::generalized_jsd{}, 0.292541392903308,
          {-0.10288740844147204, 0.066410698977993542, -0.013904216858754638, 0.039926377350817851,
           0.010454548971415285},
          padded, student, few);
    check(distill::total_variation{}, 0.68951906955791817,
          {-0.14679563957419093, 0.10953664365234134, -0.0087498924823813354, 0.036461581277205228,
           0.0095473071270256996},
          padded, student, few);
    numbers const small(student.begin(), student.begin() + 3);
    check(distill::reverse_kl{}, 1.8750257456902728,
          {-0.5100956722974821, 0.56356609934224083, -0.053470427044758727}, padded, small);
    check(distill::skew_kl{}, 1.3195260637805721,
          {-0.18051054337468457, 0.22913060254014363, -0.048620059165459056}, padded, small);
    CHECK_THROWS_AS(distill::divergence<double>(distill::reverse_kl{}, student, few, {}, padded),
                    value_error);
    CHECK_THROWS_AS(distill::divergence<double>(distill::forward_kl{}, small, teacher, {}, padded),
                    value_error);
}

TEST_CASE("divergences: 0 for equal distributions, positive otherwise, shifts change nothing") {
    each_law([](auto const& law) {
        numbers shifted = student, gradient(5);
        for (double& x : shifted) x += 4;
        CHECK(std::abs(distill::divergence<double>(law, student, shifted)) < 1e-14);
        CHECK(std::abs(distill::divergence<double>(law, student, student, gradient)) < 1e-14);
        for (double g : gradient) CHECK(std::abs(g) < 1e-14);
        CHECK(distill::divergence<double>(law, student, teacher) > 1e-5);
    });
}

TEST_CASE("divergences: gradients agree with finite differences, over more than a pack") {
    numbers q, p;
    for (int i = 0; i < 37; ++i) {
        q.push_back(std::sin(1.7 * i) * 3);
        p.push_back(std::cos(0.9 * i) * 2);
    }
    each_law([&](auto const& law) {
        distill::comparison const how{.temperature = 1.3};
        numbers gradient(q.size());
        distill::divergence<double>(law, q, p, gradient, how);
        for (std::size_t i : {0, 5, 16, 36}) {
            auto const at = [&](double x) {
                numbers moved = q;
                moved[i] += x;
                return distill::divergence<double>(law, moved, p, {}, how);
            };
            CHECK(gradient[i] == doctest::Approx((at(1e-6) - at(-1e-6)) / 2e-6).epsilon(1e-6));
        }
    });
}

TEST_CASE("divergences: tokens that are impossible for both add nothing") {
    numbers q = student, p = teacher;
    q.insert(q.begin() + 2, -infinity);
    p.insert(p.begin() + 2, -infinity);
    each_law([&](auto const& law) {
        numbers gradient(6);
        CHECK(distill::divergence<double>(law, q, p, gradient) ==
              doctest::Approx(distill::divergence<double>(law, student, teacher)));
        CHECK(gradient[2] == 0.0);
    });
}

TEST_CASE("divergences: extreme logits stay numbers in single precision") {
    std::vector<float> const q{200, 0, -200, 1}, p{-50, 60, 0, 59};
    auto const finite = [&](auto const& law) {
        std::vector<float> gradient(4);
        CHECK(std::isfinite(distill::divergence<float>(law, q, p, gradient)));
        for (float g : gradient) CHECK(std::isfinite(g));
    };
    each_law(finite);
    CHECK(distill::divergence<float>(distill::generalized_jsd{}, q, p) ==
          doctest::Approx(std::log(2.0)));
    CHECK(distill::divergence<float>(distill::total_variation{}, q, p) == doctest::Approx(1.0));
}

TEST_CASE("divergences: rows are independent") {
    numbers q = teacher, p = student, value(2), gradient(10), alone(5);
    q.insert(q.end(), student.begin(), student.end());
    p.insert(p.end(), teacher.begin(), teacher.end());
    distill::divergences<double>(distill::forward_kl{}, q, p, value, gradient);
    CHECK(value[1] == distill::divergence<double>(distill::forward_kl{}, student, teacher, alone));
    CHECK(std::equal(alone.begin(), alone.end(), gradient.begin() + 5));
    CHECK(value[0] == doctest::Approx(1.1294931301597418));
    CHECK_THROWS_AS(distill::divergences<double>(distill::forward_kl{}, student, p, value),
                    shape_error);
    CHECK_THROWS_AS(distill::divergences<double>(distill::forward_kl{}, q, p, value, alone),
                    shape_error);
}

TEST_CASE("divergences: bad input") {
    using distill::forward_kl;
    numbers bad = student, gradient(4);
    CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, student, teacher, gradient),
                    shape_error);
    for (double temperature : {0.0, -1.0, infinity, std::nan("")})
        CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, student, teacher, {},
                                                    {.temperature = temperature}),
                        value_error);
    for (double x : {std::nan(""), infinity}) {
        bad[1] = x;
        CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, bad, teacher), value_error);
        CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, student, bad), value_error);
    }
    numbers const nothing(5, -infinity);
    CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, nothing, teacher), value_error);
    CHECK_THROWS_AS(distill::divergence<double>(forward_kl{}, numbers{}, numbers{}), value_error);
}

namespace {

std::vector<std::int32_t> const listed{3, 0};
/// Of softmax(teacher / 0.6).
numbers const listed_log_p{-0.38941001438953116, -1.3060766810561978};

template <class Law>
void check_sparse(Law const& law, distill::tail rest, double value, numbers const& gradient) {
    numbers actual(5, -1.0);
    distill::sparse_teacher<double> const p{listed, listed_log_p};
    CHECK(distill::divergence<double>(law, student, p, actual, rest, 0.6) ==
          doctest::Approx(value).epsilon(1e-13));
    check_near(actual, gradient);
}

}  // namespace

TEST_CASE("sparse teacher: golden values and gradients") {
    using distill::tail;
    check_sparse(distill::forward_kl{}, tail::merged, 1.2686841860858233,
                 {-0.26374821863258078, 1.1705326727254056, 0.0015923552348811505,
                  -0.92843319385497639, 0.020056384527270464});
    check_sparse(distill::reverse_kl{}, tail::merged, 1.7622360710660449,
                 {-0.49554059267691685, 1.1740905199560264, 0.0015971952165361654,
                  -0.700264468629379, 0.020117346133733332});
    check_sparse(distill::generalized_jsd{}, tail::merged, 0.31143445132789104,
                 {-0.075985460027963529, 0.21994994149274214, 0.0002992128702672556,
                  -0.14803240639761291, 0.0037687120625670434});
    check_sparse(distill::total_variation{}, tail::merged, 0.7153088474925343,
                 {-0.14397566043336456, 0.29246774860389303, 0.0003978637772143286,
                  -0.15390121371300991, 0.0050112617652671132});
    check_sparse(distill::forward_kl{}, tail::renormalized, 0.081212523898539483,
                 {0.32950322153607412, 0, 0, -0.32950322153607412, 0});
    check_sparse(distill::reverse_kl{}, tail::renormalized, 0.08683411908485832,
                 {0.35377343945991923, 0, 0, -0.35377343945991923, 0});
    check_sparse(distill::forward_kl{}, tail::omitted, 1.408055583183351,
                 {-0.27344634702251788, 1.1902331538160212, 0.0016191551396811408,
                  -0.93879990254353773, 0.020393940610353246});
    check_sparse(distill::generalized_jsd{}, tail::omitted, 0.12408555873120014,
                 {-0.030780029696072135, 0.12812101433906206, 0.00017429173284507537,
                  -0.099710554123721477, 0.0021952777478864724});
}

TEST_CASE("sparse teacher: listing every token is the dense divergence, whatever the tail") {
    std::vector<std::int32_t> const all{4, 2, 0, 1, 3};
    double normalizer = 0;
    for (double x : teacher) normalizer += std::exp(x);
    numbers log_p;
    for (auto token : all)
        log_p.push_back(teacher[static_cast<std::size_t>(token)] - std::log(normalizer));
    for (auto rest : {distill::tail::merged, distill::tail::renormalized, distill::tail::omitted}) {
        numbers gradient(5), dense(5);
        distill::sparse_teacher<double> const p{all, log_p};
        CHECK(distill::divergence<double>(distill::forward_kl{}, student, p, gradient, rest) ==
              doctest::Approx(
                  distill::divergence<double>(distill::forward_kl{}, student, teacher, dense)));
        for (std::size_t i = 0; i < 5; ++i) CHECK(gradient[i] == doctest::Approx(dense[i]));
    }
}

TEST_CASE("sparse teacher: bad input") {
    numbers const log_p{-1.0, -2.0};
    auto const with = [&](std::vector<std::int32_t> const& tokens, numbers const& log) {
        return distill::divergence<double>(distill::forward_kl{}, student,
                                           distill::sparse_teacher<double>{tokens, log});
    };
    CHECK(std::isfinite(with({0, 1}, log_p)));
    CHECK_THROWS_AS(with({0}, log_p), shape_error);
    CHECK_THROWS_AS(with({}, {}), shape_error);
    CHECK_THROWS_AS(with({0, 5}, log_p), value_error);
    CHECK_THROWS_AS(with({0, -1}, log_p), value_error);
    CHECK_THROWS_AS(with({2, 2}, log_p), value_error);
    CHECK_THROWS_AS(with({0, 1}, {-0.1, -0.2}), value_error);
    CHECK_THROWS_AS(with({0, 1}, {-0.1, std::nan("")}), value_error);
    CHECK_THROWS_AS(with({0, 1}, {-infinity, -infinity}), value_error);
}
