// SPDX-License-Identifier: Apache-2.0
// The gradient rule of every primitive against finite differences.
#include <doctest/doctest.h>

#include "../core/values.hpp"
#include "grove/autodiff/gradient_check.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/product.hpp"
#include "grove/ops/reduce.hpp"

using namespace grove;

namespace {

reference_backend reference;
using matrix = tensor<reference_backend, double>;

matrix random_tensor(shape extents, std::uint64_t seed) {
    return from_host(reference, extents, random_values<double>(extents.size(), seed));
}

/// a · b + tanh(c) with a second output e^(a − b).
struct two_outputs_law {
    template <class N>
    several<N, 2> operator()(N a, N b, N c) const {
        return {{a * b + math::tanh(c), math::exp(a - b)}};
    }
};
struct square_twice_law {
    template <class N>
    N operator()(N x) const {
        return x * x;
    }
    template <class N>
    several<N, 1> gradient(N g, N x) const {
        return {{g * N(2) * x}};
    }
};

constexpr double tolerance = 1e-7;

}  // namespace

TEST_CASE("gradient: laws with every form of broadcasting") {
    auto law = [](auto const& x, auto const& y, auto const& z) {
        auto const both = map(two_outputs_law{}, x, y, z);
        return both[0] * both[1];
    };
    auto const full = random_tensor({3, 4}, 1), row = random_tensor({4}, 2);
    auto const column = random_tensor({3, 1}, 3), number = random_tensor({1}, 4);
    CHECK(check_gradient(law, full, full, full) < tolerance);
    CHECK(check_gradient(law, full, row, column) < tolerance);
    CHECK(check_gradient(law, row, full, number) < tolerance);
    CHECK(check_gradient(law, number, column, full) < tolerance);
    CHECK(check_gradient(law, column, full, row) < tolerance);
    CHECK(check_gradient(law, number, number, number) < tolerance);
    CHECK(check_gradient(law, random_tensor({1, 4}, 5), row, number) < tolerance);
    CHECK(check_gradient(law, random_tensor({4, 1}, 6), number, random_tensor({4, 1}, 7)) <
          tolerance);
}

TEST_CASE("gradient: one output of several, and a law's own gradient") {
    auto const x = random_tensor({2, 3}, 8), y = random_tensor({2, 3}, 9);
    auto first = [](auto const& a, auto const& b) { return map(two_outputs_law{}, a, b, b)[0]; };
    auto second = [](auto const& a, auto const& b) { return map(two_outputs_law{}, a, b, b)[1]; };
    CHECK(check_gradient(first, x, y) < tolerance);
    CHECK(check_gradient(second, x, y) < tolerance);
    CHECK(check_gradient([](auto const& a) { return map(square_twice_law{}, a); }, x) < tolerance);
}

TEST_CASE("gradient: operators and functions") {
    auto const x = random_tensor({2, 3}, 10), y = exp(random_tensor({2, 3}, 11));
    CHECK(check_gradient([](auto const& a, auto const& b) { return (a + b) * (a - b) / b; }, x, y) <
          tolerance);
    CHECK(check_gradient([](auto const& a) { return affine(silu(a) * sigmoid(a), 2.0, 1.0); }, x) <
          tolerance);
    CHECK(check_gradient([](auto const& a) { return map(law::log{}, a); }, y) < tolerance);
    CHECK(check_gradient([](auto const& a) { return map(law::inverse_sqrt{}, a); }, y) < tolerance);
}

TEST_CASE("gradient: sums, means and maxima") {
    auto const x = random_tensor({3, 5}, 12);
    CHECK(check_gradient([](auto const& a) { return sum_columns(a * a); }, x) < tolerance);
    CHECK(check_gradient([](auto const& a) { return max_columns(a) * a; }, x) < tolerance);
    CHECK(check_gradient([](auto const& a) { return sum(a * a); }, x) < tolerance);
    CHECK(check_gradient([](auto const& a) { return mean(a * a); }, x) < tolerance);
}

TEST_CASE("gradient: segments") {
    auto offsets = [](auto const& x) { return indices_from(x.backend(), {0, 2, 2, 5}); };
    CHECK(check_gradient([&](auto const& a) { return sum_segments(a * a, offsets(a)); },
                         random_tensor({5, 3}, 13)) < tolerance);
    CHECK(check_gradient([&](auto const& a) { return repeat_segments(a * a, offsets(a), 5); },
                         random_tensor({3, 3}, 14)) < tolerance);
}

TEST_CASE("gradient: movement by index") {
    auto index = [](auto const& x) { return indices_from(x.backend(), {2, 0, 2, 1}); };
    auto const x = random_tensor({4, 3}, 15);
    CHECK(check_gradient([&](auto const& a) { return gather_rows(a * a, index(a)); }, x) <
          tolerance);
    CHECK(check_gradient([&](auto const& a) { return scatter_add_rows(a * a, index(a), 3); }, x) <
          tolerance);
    auto columns = [&](auto const& a) { return take_columns(a * a, index(a).reshape({4, 1})); };
    CHECK(check_gradient(columns, x) < tolerance);
}

TEST_CASE("gradient: slices, permutations and joins") {
    auto const x = random_tensor({4, 6}, 16), y = random_tensor({4, 2}, 17);
    CHECK(check_gradient([](auto const& a) { return slice_rows(a * a, 1, 2); }, x) < tolerance);
    CHECK(check_gradient([](auto const& a) { return slice_columns(a * a, 2, 3); }, x) < tolerance);
    CHECK(check_gradient(
              [](auto const& a) {
                  return swap_leading((a * a).reshape({4, 3, 2}));
              },
              x) < tolerance);
    auto beside = [](auto const& a, auto const& b) {
        return concatenate_columns(std::vector{a, b, a * a});
    };
    CHECK(check_gradient(beside, x, y) < tolerance);
    auto below = [](auto const& a, auto const& b) {
        return concatenate_rows(std::vector{b, slice_columns(a, 1, 2), b * b});
    };
    CHECK(check_gradient(below, x, y) < tolerance);
}

TEST_CASE("gradient: products with every transpose") {
    for (auto of_a : {transpose::no, transpose::yes})
        for (auto of_b : {transpose::no, transpose::yes}) {
            bool const ta = of_a == transpose::yes, tb = of_b == transpose::yes;
            auto product = [=](auto const& a, auto const& b) { return matmul(a, b, of_a, of_b); };
            shape const a = ta ? shape{4, 3} : shape{3, 4}, b = tb ? shape{2, 4} : shape{4, 2};
            CHECK(check_gradient(product, random_tensor(a, 18), random_tensor(b, 19)) < tolerance);
            shape const as{2, a[0], a[1]}, bs{2, b[0], b[1]};
            CHECK(check_gradient(product, random_tensor(as, 20), random_tensor(bs, 21)) <
                  tolerance);
        }
    auto square = [](auto const& a) { return matmul(a, a); };
    CHECK(check_gradient(square, random_tensor({3, 3}, 22)) < tolerance);
}

TEST_CASE("gradient: grouped products in both storages") {
    auto const x = random_tensor({6, 3}, 23);
    auto product = [](auto const& a, auto const& w) {
        return grouped_matmul(a, w, indices_from(a.backend(), {0, 2, 2, 6}));
    };
    CHECK(check_gradient(product, x, random_tensor({3, 3, 2}, 24)) < tolerance);
    auto transposed = [](auto const& a, auto const& w) {
        auto& b = a.backend();
        auto const offsets = indices_from(b, {0, 2, 2, 6});
        auto const y =
            b.grouped_matmul({6, 2, 3, 3, true}, a.buffer(), w.buffer(), offsets.buffer());
        return std::remove_cvref_t<decltype(a)>(b, y, {6, 2});
    };
    CHECK(check_gradient(transposed, x, random_tensor({3, 2, 3}, 25)) < tolerance);
}

TEST_CASE("gradient: strided reads and places are each other's") {
    strided_view const window{3, {2, 2}, {4, 2}};
    auto read = [&](auto const& a) {
        auto& b = a.backend();
        return std::remove_cvref_t<decltype(a)>(b, b.strided_read((a * a).buffer(), window),
                                                {2, 2});
    };
    auto place = [&](auto const& a) {
        auto& b = a.backend();
        return std::remove_cvref_t<decltype(a)>(b, b.strided_place((a * a).buffer(), window, 12),
                                                {12});
    };
    CHECK(check_gradient(read, random_tensor({12}, 26)) < tolerance);
    CHECK(check_gradient(place, random_tensor({4}, 27)) < tolerance);
}

TEST_CASE("gradient: a cast casts the gradient back") {
    autodiff<reference_backend> tape(reference);
    std::vector<double> gradient;
    auto const x =
        leaf(tape, random_tensor({3}, 28), [&](matrix const& g) { gradient = to_host(g); });
    tensor<autodiff<reference_backend>, float> const y(tape, tape.cast<float>(x.buffer()), {3});
    backward(y, from_host<float>(reference, {3}, {0.5f, -2.0f, 3.0f}));
    CHECK(gradient == std::vector<double>{0.5, -2.0, 3.0});
}

TEST_CASE("gradient: empty tensors have empty gradients, and nothing is added to the rest") {
    auto law = [](auto const& x, auto const& y) { return map(law::multiply{}, x, y); };
    auto const none = random_tensor({0, 4}, 29);
    CHECK(check_gradient(law, none, random_tensor({4}, 30)) == 0.0);
    CHECK(check_gradient(law, none, random_tensor({1}, 31)) == 0.0);
    CHECK(check_gradient(law, random_tensor({0, 1}, 32), none) == 0.0);
}
