// SPDX-License-Identifier: Apache-2.0
#include "grove/core/pack.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "grove/core/number.hpp"
#include "values.hpp"

using namespace grove;

namespace {

template <class T>
std::vector<T> lanes(pack<T> x) {
    std::vector<T> values(pack<T>::size);
    x.store(values.data());
    return values;
}
template <class T>
bool same_bits(T a, T b) {
    return std::memcmp(&a, &b, sizeof(T)) == 0;
}
/// |a − b| in units of the last place of b.
template <class T>
double ulps(T a, T b) {
    if (a == b) return 0;
    int exponent = 0;
    std::frexp(b, &exponent);
    return std::abs(double(a) - double(b)) /
           std::ldexp(1.0, exponent - std::numeric_limits<T>::digits);
}
template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

struct exp_of {
    template <class N>
    N operator()(N x) const {
        return math::exp(x);
    }
};
struct log_of {
    template <class N>
    N operator()(N x) const {
        return math::log(math::abs(x));
    }
};
struct sqrt_of {
    template <class N>
    N operator()(N x) const {
        return math::sqrt(math::abs(x));
    }
};
struct tanh_of {
    template <class N>
    N operator()(N x) const {
        return math::tanh(x);
    }
};
struct sigmoid_of {
    template <class N>
    N operator()(N x) const {
        return math::sigmoid(x);
    }
};

/// The largest distance of packs from the scalar function over [low, high], in ulps.
template <class T, class F>
double worst_ulps(F f, T low, T high) {
    constexpr int count = 4000;
    double worst = 0;
    for (int i = 0; i <= count; ++i) {
        T const x = low + (high - low) * static_cast<T>(i) / count;
        worst = std::max(worst, ulps(lanes(f(pack<T>(x)))[0], f(x)));
    }
    return worst;
}

}  // namespace

TEST_CASE_TEMPLATE("pack: tails load and store exactly their lanes", T, float, double) {
    constexpr int size = pack<T>::size;
    auto const source = random_values<T>(size, 1);
    for (int count = 0; count <= size; ++count) {
        CAPTURE(count);
        auto const loaded = lanes(load_pack(source.data(), count, T(9)));
        std::vector<T> stored(size, T(-7));
        store_pack(pack<T>::load(source.data()), stored.data(), count);
        for (int i = 0; i < size; ++i) {
            auto const at = static_cast<std::size_t>(i);
            CHECK(loaded[at] == (i < count ? source[at] : T(9)));
            CHECK(stored[at] == (i < count ? source[at] : T(-7)));
        }
    }
}

TEST_CASE_TEMPLATE("pack: loops cover a range once, in whole packs and a tail", T, float, double) {
    for (std::ptrdiff_t size : {0, 1, 7, 16, 33}) {
        std::ptrdiff_t next = 0;
        for_each_pack<T>(size, [&](std::ptrdiff_t i, int count) {
            CHECK(i == next);
            CHECK((count == pack<T>::size || i + count == size));
            next += count;
        });
        CHECK(next == size);
    }
}

TEST_CASE_TEMPLATE("pack: arithmetic is the scalar arithmetic, lane by lane", T, float, double) {
    constexpr int size = pack<T>::size;
    auto const x = random_values<T>(size, 2), y = random_values<T>(size, 3);
    auto const a = pack<T>::load(x.data()), b = pack<T>::load(y.data());
    pack<T> sum = a, difference = a, product = a;
    sum += b, difference -= b, product *= b;
    auto const fused = lanes(math::fma(a, b, a));
    for (std::size_t i = 0; i < size; ++i) {
        CHECK(same_bits(lanes(sum)[i], x[i] + y[i]));
        CHECK(same_bits(lanes(difference)[i], x[i] - y[i]));
        CHECK(same_bits(lanes(product)[i], x[i] * y[i]));
        CHECK(same_bits(lanes(a / b)[i], x[i] / y[i]));
        CHECK(same_bits(lanes(-a)[i], -x[i]));
        CHECK(same_bits(lanes(math::abs(a))[i], std::abs(x[i])));
        CHECK(same_bits(fused[i], math::fma(x[i], y[i], x[i])));
    }
}

TEST_CASE_TEMPLATE("pack: comparisons and selections", T, float, double) {
    constexpr int size = pack<T>::size;
    std::vector<T> x(size), y(size, T(1));
    for (std::size_t i = 0; i < size; ++i) x[i] = static_cast<T>(i % 3);  // below, equal, above
    x[size - 1] = not_a_number<T>;
    auto const a = pack<T>::load(x.data()), b = pack<T>::load(y.data());
    auto choose = [](pack_mask<T> mask) {
        return lanes(math::select(mask, pack<T>(T(1)), pack<T>(T(0))));
    };
    for (std::size_t i = 0; i < size; ++i) {
        CAPTURE(x[i]);
        CHECK(choose(a < b)[i] == T(x[i] < y[i]));
        CHECK(choose(a <= b)[i] == T(x[i] <= y[i]));
        CHECK(choose(a > b)[i] == T(x[i] > y[i]));
        CHECK(choose(a >= b)[i] == T(x[i] >= y[i]));
        CHECK(choose(a == b)[i] == T(x[i] == y[i]));
        CHECK(choose((a < b) | (a > b))[i] == T(x[i] < y[i] || x[i] > y[i]));
        CHECK(choose((a <= b) & (a >= b))[i] == T(x[i] == y[i]));
    }
    x[size - 1] = T(5);
    auto const c = pack<T>::load(x.data());
    for (std::size_t i = 0; i < size; ++i) {
        CHECK(lanes(math::min(c, b))[i] == std::min(x[i], T(1)));
        CHECK(lanes(math::max(c, b))[i] == std::max(x[i], T(1)));
        CHECK(lanes(math::clamp(c, T(0.5), T(1.5)))[i] == std::clamp(x[i], T(0.5), T(1.5)));
    }
}

TEST_CASE_TEMPLATE("pack: functions agree with the standard library's", T, float, double) {
    bool const single = sizeof(T) == 4;
    CHECK(worst_ulps<T>(exp_of{}, single ? -87 : -700, single ? 88 : 700) <= 4);
    CHECK(worst_ulps<T>(exp_of{}, T(-1e-3), T(1e-3)) <= 1);
    CHECK(worst_ulps<T>(log_of{}, T(1e-30), T(1e-3)) <= 2);
    CHECK(worst_ulps<T>(log_of{}, T(0.5), T(2)) <= 2);
    CHECK(worst_ulps<T>(log_of{}, T(2), T(1e30)) <= 2);
    CHECK(worst_ulps<T>(sqrt_of{}, T(1e-6), T(10)) <= 3);
    CHECK(worst_ulps<T>(tanh_of{}, T(-12), T(12)) <= 6);
    CHECK(worst_ulps<T>(tanh_of{}, T(-1e-3), T(1e-3)) <= 6);
    CHECK(worst_ulps<T>(sigmoid_of{}, T(-30), T(30)) <= 4);
}

TEST_CASE_TEMPLATE("pack: limits of the functions are the IEEE limits", T, float, double) {
    auto exp = [](T x) { return lanes(math::exp(pack<T>(x)))[0]; };
    CHECK(exp(-infinity<T>) == T(0));
    CHECK(exp(T(-1e4)) == T(0));
    CHECK(exp(infinity<T>) == infinity<T>);
    CHECK(exp(T(1e4)) == infinity<T>);
    CHECK(exp(T(0)) == T(1));
    CHECK(std::isnan(exp(not_a_number<T>)));
    auto log = [](T x) { return lanes(math::log(pack<T>(x)))[0]; };
    CHECK(log(T(0)) == -infinity<T>);
    CHECK(log(T(1)) == T(0));
    CHECK(log(infinity<T>) == infinity<T>);
    CHECK(std::isnan(log(T(-1))));
    CHECK(std::isnan(log(not_a_number<T>)));
    auto sqrt = [](T x) { return lanes(math::sqrt(pack<T>(x)))[0]; };
    CHECK(sqrt(T(0)) == T(0));
    CHECK(sqrt(T(4)) == T(2));
    CHECK(sqrt(infinity<T>) == infinity<T>);
    CHECK(std::isnan(sqrt(T(-1))));
    auto tanh = [](T x) { return lanes(math::tanh(pack<T>(x)))[0]; };
    CHECK(tanh(infinity<T>) == T(1));
    CHECK(tanh(-infinity<T>) == T(-1));
    CHECK(tanh(T(0)) == T(0));
    CHECK(std::isnan(tanh(not_a_number<T>)));
    auto sigmoid = [](T x) { return lanes(math::sigmoid(pack<T>(x)))[0]; };
    CHECK(sigmoid(T(-1e4)) == T(0));
    CHECK(sigmoid(T(1e4)) == T(1));
    CHECK(sigmoid(T(0)) == T(0.5));
    CHECK(std::isnan(sigmoid(not_a_number<T>)));
}

TEST_CASE_TEMPLATE("pack: a lane's bits do not depend on its position or its neighbours", T, float,
                   double) {
    constexpr int size = pack<T>::size;
    auto values = random_values<T>(size, 4, 5.0);
    values[0] = infinity<T>;
    values[1] = -infinity<T>;
    auto check = [&](auto f) {
        auto const whole = lanes(f(pack<T>::load(values.data())));
        for (int i = 0; i < size; ++i) {
            auto const at = static_cast<std::size_t>(i);
            CAPTURE(values[at]);
            CHECK(same_bits(lanes(f(pack<T>::load(&values[at], 1)))[0], whole[at]));
            CHECK(same_bits(lanes(f(pack<T>(values[at])))[size - 1], whole[at]));
        }
    };
    check(exp_of{}), check(log_of{}), check(sqrt_of{}), check(tanh_of{}), check(sigmoid_of{});
}
