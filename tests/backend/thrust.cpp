// SPDX-License-Identifier: Apache-2.0
// The Thrust backend on the systems of the host: conformance, and the reference's bits on each of
// them, for every number of threads.
#include "grove/backend/thrust/tbb.hpp"
#include "grove/backend/thrust/thrust.hpp"

#include <set>

#include "../thrown.hpp"
#include "conformance.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/backend/refinement.hpp"

using namespace grove;

namespace {

using sequential = thrust_backend<thrust_sequential>;
using threaded = thrust_backend<thrust_tbb>;
using conformance::down, conformance::ints, conformance::up;

using grove_test::message_of;

/// Offsets of segments of 0 to 4 rows, up to `rows`.
ints ragged_offsets(index_t rows) {
    ints offsets{0};
    for (auto length : random_indices(rows, 5, 30))
        offsets.push_back(std::min(offsets.back() + length, static_cast<std::int32_t>(rows)));
    offsets.push_back(static_cast<std::int32_t>(rows));
    return offsets;
}

/// Every primitive that rounds or orders, on matrices that threads share out.
template <class T, class B>
std::vector<std::vector<T>> numbers(B& b) {
    using buffer = typename B::template buffer<T>;
    index_t const rows = 210, columns = 131, n = 21;
    auto const x = up(b, random_values<T>(rows * columns, 31));
    auto const y = up(b, random_values<T>(rows * n, 32));
    auto const w = up(b, random_values<T>(columns * n, 33));
    auto const offsets = up(b, ragged_offsets(rows)), two = up(b, ints{0, 130, 210});
    auto const index = up(b, random_indices(rows, 90, 34));
    auto const two_w = up(b, random_values<T>(2 * columns * n, 35));
    operand<buffer> const all{x, columns, 1}, row{x, 0, 1}, number{x, 0, 0};
    strided_view const swapped{0, {131, 21, 10}, {1, 1310, 131}};
    grouped_shape const groups{rows, n, columns, 2}, transposed{rows, n, columns, 2, true};
    return {down<T>(b, b.map(conformance::softplus_law{}, rows, columns, all, row, number)[0]),
            down<T>(b, b.map(conformance::two_outputs_law{}, rows, columns, all, row)[1]),
            down<T>(b, b.reduce_columns(reduction::sum, x, rows, columns)),
            down<T>(b, b.reduce_columns(reduction::max, x, rows, columns)),
            down<T>(b, b.sum_segments(x, columns, offsets)),
            down<T>(b, b.scatter_add(x, columns, index, 90)),
            down<T>(b, b.strided_read(x, swapped)),
            down<T>(b, b.strided_place(x, swapped, x.size())),
            down<T>(b, b.matmul({rows, n, columns}, x, w)),
            down<T>(b, b.matmul({columns, n, rows, true}, x, y)),
            down<T>(b, b.matmul({10, 10, columns, false, true, 21}, x, x)),
            down<T>(b, b.grouped_matmul(groups, x, two_w, two)),
            down<T>(b, b.grouped_matmul(transposed, x, two_w, two)),
            down<T>(b, b.grouped_outer(groups, x, y, two)),
            down<T>(b, b.grouped_outer(transposed, x, y, two))};
}

/// Sorts longer than what Thrust leaves to one thread of oneTBB (131,072 elements).
template <class B>
std::vector<ints> orders(B& b) {
    auto const numbers = up(b, random_values<float>(900 * 150, 36));
    auto const keys = random_indices(135000, 50, 37);
    ints signed_keys;
    for (auto key : keys) signed_keys.push_back(key - 25);
    return {down<std::int32_t>(b, b.top_k(numbers, 900, 150, 11)),
            down<std::int32_t>(b, b.argsort(up(b, signed_keys))),
            down<std::int32_t>(b, b.segment_offsets(up(b, keys), 60))};
}

}  // namespace

namespace conformance {

GROVE_TEST_BACKENDS(candidate<sequential, float>, candidate<sequential, double>,
                    candidate<threaded, float, 2>, candidate<threaded, double, 2>);

}  // namespace conformance

TEST_CASE_TEMPLATE("thrust: the reference's bits on every system and number of threads", T, float,
                   double) {
    reference_backend reference;
    sequential one;
    threaded single(1), two(2);
    auto const expected = numbers<T>(reference);
    CHECK(numbers<T>(one) == expected);
    CHECK(numbers<T>(single) == expected);
    CHECK(numbers<T>(two) == expected);
}

TEST_CASE("thrust: two threads sort as the reference does") {
    reference_backend reference;
    threaded two(2);
    CHECK(orders(two) == orders(reference));
}

TEST_CASE("thrust: top_k of numbers without an order still chooses columns of the row") {
    threaded b(2);
    index_t const rows = 900, columns = 160, k = 11;
    auto x = random_values<float>(rows * columns, 38);
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = std::numeric_limits<float>::quiet_NaN();
    auto const chosen = down<std::int32_t>(b, b.top_k(up(b, x), rows, columns, k));
    for (index_t i = 0; i < rows; ++i) {
        auto const row = conformance::rows_of(chosen, k, i, 1);
        std::set<std::int32_t> const distinct(row.begin(), row.end());
        REQUIRE(distinct.size() == row.size());
        REQUIRE((*distinct.begin() >= 0 && *distinct.rbegin() < columns));
    }
}

TEST_CASE_TEMPLATE("thrust: bad indices and offsets are named as the reference names them", B,
                   sequential, threaded) {
    B b;
    auto const x = up(b, std::vector<float>(12, 1.0f));
    auto const index = up(b, ints{0, 3, -1, 1});
    CHECK(message_of<value_error>([&] { b.gather(x, 4, index); }) ==
          "[gather] expected indices in [0, 3), got 3 at 1");
    CHECK(message_of<value_error>([&] { b.scatter_add(x, 3, index, 4); }) ==
          "[scatter_add] expected indices in [0, 4), got -1 at 2");
    CHECK(message_of<value_error>([&] { b.segment_offsets(index, 3); }) ==
          "[segment_offsets] expected indices in [0, 3), got 3 at 1");
    for (ints const& wrong : {ints{}, {0}, {0, 3}, {1, 4}, {0, 5, 4}, {0, 5}}) {
        auto const offsets = up(b, wrong);
        CHECK(message_of<value_error>([&] { b.sum_segments(x, 3, offsets); }) ==
              "[sum_segments] expected offsets that ascend from 0 to 4, got others");
        CHECK_THROWS_AS(b.repeat_segments(x, 3, offsets, 4), value_error);
        grouped_shape const g{4, 3, 3, static_cast<index_t>(wrong.size()) - 1};
        CHECK_THROWS_AS(b.grouped_matmul(g, x, x, offsets), value_error);
        CHECK_THROWS_AS(b.grouped_outer(g, x, x, offsets), value_error);
    }
}

TEST_CASE("thrust: a steady loop takes no fresh memory") {
    threaded b(2);
    std::vector<float> const x(64 * 100, 0.5f);
    auto step = [&] {
        auto const a = up(b, x);
        auto const c = b.matmul({64, 64, 100, false, true}, a, a);
        return b.top_k(c, 64, 64, 3).size();
    };
    step();
    auto const fresh = b.system().fresh_allocations();
    CHECK(fresh > 0);
    for (int i = 0; i < 20; ++i) step();
    CHECK(b.system().fresh_allocations() == fresh);
}

TEST_CASE("thrust: as many threads as asked for, all of them for 0; nothing is fused") {
    CHECK(threaded(1).system().threads() == 1);
    CHECK(threaded(2).system().threads() == 2);
    CHECK(threaded(0).system().threads() >= 1);
    CHECK(sequential::name() == "thrust (sequential)");
    CHECK(threaded::name() == "thrust (oneTBB)");
    CHECK(capabilities(sequential{}).empty());
    CHECK(capabilities(threaded(1)).empty());
}
