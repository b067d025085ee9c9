// SPDX-License-Identifier: Apache-2.0
// The fused operations of the CUDA backend: each agrees with its composite, values and gradients;
// a row has the same bits alone, in a batch, in decoding and in a packed pass.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "../ops/learn.hpp"
#include "../instances/kernels_cuda.hpp"
#include "grove/nn/parameter.hpp"
#include "grove/ops/expert_rows.hpp"
#include "grove/ops/rms_norm.hpp"
#include "grove/ops/rope.hpp"
#include "grove/ops/swiglu.hpp"
#include "grove/ops/token_statistics.hpp"
#include "grove/optim/adamw.hpp"

using namespace grove;

namespace {

using ints = std::vector<std::int32_t>;

template <class T>
constexpr bool all_fused =
    has_add_rms_norm<cuda_backend, T> && has_swiglu<cuda_backend, T> && has_rope<cuda_backend, T> &&
    has_join<cuda_backend, T> && has_attention<cuda_backend, T> &&
    has_expert_rows<cuda_backend, T> && has_token_statistics<cuda_backend, T> &&
    has_updates<cuda_backend, T> && has_rope_split<cuda_backend, T>;
static_assert(all_fused<float> && all_fused<double>);

template <class T>
bool same_bits(std::vector<T> const& a, std::vector<T> const& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}
template <class T>
std::vector<T> rows_of(std::vector<T> const& x, index_t columns, index_t first, index_t count) {
    auto const begin = x.begin() + first * columns;
    return {begin, begin + count * columns};
}
/// Rows alone have the values and the gradient (of their own row) that they have in a batch.
template <class T, class F>
bool rows_alone(cuda_backend& b, F f, index_t rows, index_t columns) {
    auto const all = random_values<T>(rows * columns, 1);
    auto learned = [&](index_t first, index_t count) {
        std::vector<T> gradient;
        autodiff<cuda_backend> tape(b);
        auto const x =
            leaf(tape, from_host(b, {count, columns}, rows_of(all, columns, first, count)),
                 [&](auto const& g) { gradient = to_host(g); });
        auto const y = f(x, first);
        auto const value = to_host(y);
        backward(y, full(b, y.extents(), T(0.5)));
        return std::array{value, gradient};
    };
    auto const together = learned(0, rows);
    bool same = true;
    for (auto const& [first, count] :
         std::vector<std::pair<index_t, index_t>>{{0, 1}, {3, 2}, {rows - 1, 1}, {1, rows / 2}}) {
        auto const part = learned(first, count);
        for (std::size_t i = 0; i < 2; ++i) {
            auto const width = static_cast<index_t>(together[i].size()) / rows;
            same = same && same_bits(part[i], rows_of(together[i], width, first, count));
        }
    }
    return same;
}

/// Both tensors beside each other.
template <class Tensor>
Tensor both_columns(std::array<Tensor, 2> const& y) {
    return concatenate_columns(std::vector{y[0], y[1]});
}
/// Both statistics beside each other: [rows, 2].
template <class Tensor, std::size_t Count>
Tensor both(std::array<Tensor, Count> const& y) {
    index_t const rows = y[0].size();
    return concatenate_columns(std::vector{y[0].reshape({rows, 1}), y[1].reshape({rows, 1})});
}
/// For every third row all tokens, for the others about half of them and the target.
kept_tokens random_kept(ints const& targets, index_t vocabulary) {
    kept_tokens kept{{0}, {}};
    for (std::size_t i = 0; i < targets.size(); ++i) {
        auto const draw = random_values<float>(vocabulary, 50 + i);
        for (std::int32_t t = 0; i % 3 != 0 && t < vocabulary; ++t)
            if (t == targets[i] || draw[static_cast<std::size_t>(t)] > 0) kept.tokens.push_back(t);
        kept.offsets.push_back(static_cast<std::int32_t>(kept.tokens.size()));
    }
    return kept;
}

/// Parameters of several sizes, of which one has no gradient.
template <class T>
struct small_model {
    cuda_backend& backend;
    std::vector<parameter<cuda_backend, T>> parameters;

    explicit small_model(cuda_backend& b) : backend(b) {
        for (shape extents : {shape{1}, shape{5}, shape{2, 3}, shape{64, 128}, shape{8193},
                              shape{100, 333}, shape{7}})
            parameters.push_back({"p", random_tensor<T>(b, extents, 20 + parameters.size()), {}});
    }
    template <class Visit>
    void visit(Visit&& f) {
        for (auto& p : parameters) f(p);
    }
    void add_gradients(std::uint64_t step) {
        for (std::size_t i = 0; i + 1 < parameters.size(); ++i)
            parameters[i].add_gradient(
                random_tensor<T>(backend, parameters[i].value.extents(), 100 * step + i));
    }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: rows to experts and back agree with their composites", T, float, double) {
    cuda_backend b;
    for (auto const& [tokens, top, columns, experts] : std::vector<std::array<index_t, 4>>{
             {1, 1, 1, 1}, {5, 2, 7, 3}, {33, 6, 64, 64}, {300, 4, 131, 16}, {70, 8, 1024, 8}}) {
        CAPTURE(tokens);
        CAPTURE(columns);
        ints chosen;
        random_sequence random({.seed = 6});
        for (index_t i = 0; i < tokens * top; ++i)
            chosen.push_back(static_cast<std::int32_t>(random.integer(0, experts - 1)));
        auto const order_on = [&](auto& on) {
            return order_by_expert<std::remove_reference_t<decltype(on)>, T>(
                indices_from(on, chosen).reshape({tokens, top}), experts);
        };
        auto const order = order_on(b);
        ints const slots = to_host(order.slots), places = to_host(order.places);
        for (std::size_t i = 0; i < slots.size(); ++i)
            CHECK(places[static_cast<std::size_t>(slots[i])] == static_cast<std::int32_t>(i));
        index_tensor<cuda_backend> const keys{b, indices_from(b, chosen).buffer(),
                                              {tokens * top}};
        CHECK(slots == to_host(index_tensor<cuda_backend>{
                           b, b.argsort(keys.buffer()), {tokens * top}}));
        CHECK(to_host(order.offsets) ==
              to_host(index_tensor<cuda_backend>{
                  b, b.segment_offsets(keys.buffer(), experts), {experts + 1}}));
        auto const x = random_tensor<T>(b, {tokens, columns}, 7);
        CHECK(disagreement([&](auto const& a) { return spread_rows(a, order_on(a.backend())); },
                           [&](auto const& a) {
                               return spread_rows_composite(a, order_on(a.backend()));
                           },
                           x) < tolerance<T>);
        CHECK(disagreement(
                  [&](auto const& a, auto const& w) {
                      return combine_rows(a, order_on(a.backend()), w);
                  },
                  [&](auto const& a, auto const& w) {
                      return combine_rows_composite(a, order_on(a.backend()), w);
                  },
                  random_tensor<T>(b, {tokens * top, columns}, 8),
                  random_tensor<T>(b, {tokens, top}, 9)) < tolerance<T>);
    }
}

TEST_CASE_TEMPLATE("cuda: fused layers agree with their composites, values and gradients", T, float,
                   double) {
    cuda_backend b;
    for (auto const& [rows, columns] : std::vector<std::pair<index_t, index_t>>{
             {1, 1}, {5, 7}, {33, 64}, {40, 131}, {70, 1024}, {2, 5000}}) {
        CAPTURE(rows);
        CAPTURE(columns);
        auto const x = random_tensor<T>(b, {rows, columns}, 3),
                   w = random_tensor<T>(b, {columns}, 4);
        CHECK(disagreement(
                  [](auto const& a, auto const& c) { return rms_norm(a, c, T(1e-6)); },
                  [](auto const& a, auto const& c) { return rms_norm_composite(a, c, T(1e-6)); }, x,
                  w) < tolerance<T>);
        auto const branch = random_tensor<T>(b, {rows, columns}, 2);
        CHECK(disagreement(
                  [](auto const& a, auto const& added, auto const& c) {
                      return both_columns(add_rms_norm(a, added, c, T(1e-6)));
                  },
                  [](auto const& a, auto const& added, auto const& c) {
                      auto const sum = a + added;
                      return both_columns(std::array{sum, rms_norm_composite(sum, c, T(1e-6))});
                  },
                  x, branch, w) < tolerance<T>);
        for (std::size_t part : {0, 1})  // nobody asks for the other one's gradient
            CHECK(disagreement(
                      [&](auto const& a, auto const& added, auto const& c) {
                          return add_rms_norm(a, added, c, T(1e-6))[part];
                      },
                      [&](auto const& a, auto const& added, auto const& c) {
                          auto const sum = a + added;
                          return part == 0 ? sum : rms_norm_composite(sum, c, T(1e-6));
                      },
                      x, branch, w) < tolerance<T>);
        auto const gates = random_tensor<T>(b, {rows, 2 * columns}, 5);
        CHECK(disagreement([](auto const& a) { return swiglu(a); },
                           [](auto const& a) { return swiglu_composite(a); },
                           gates) < tolerance<T>);
        auto const positions = random_indices(rows, 50, 6);
        auto const heads = random_tensor<T>(b, {rows, 6 * columns}, 7);
        for (auto pairs : {rope_pairs::halves, rope_pairs::interleaved}) {
            auto turn = [&](auto rotation) {
                return [&, rotation](auto const& a) {
                    auto const table = rope_table<T>(a.backend(), 50, 2 * columns);
                    return rotation(a, table, indices_from(a.backend(), positions), 3, pairs);
                };
            };
            CHECK(disagreement(turn([](auto const&... a) { return rope(a...); }),
                               turn([](auto const&... a) { return rope_composite(a...); }),
                               heads) < tolerance<T>);
            // The same heads as one query, one key and one value.
            auto part = [&](auto const& split) {
                return [&, split](auto const& a) {
                    auto const table = rope_table<T>(a.backend(), 50, 2 * columns);
                    auto const z = split(a, table, indices_from(a.backend(), positions));
                    return concatenate_columns(std::vector(z.begin(), z.end()));
                };
            };
            CHECK(disagreement(
                      part([&](auto const& a, auto const& table, auto const& at) {
                          return rope_split(a, table, at, {1, 1, 2 * columns}, pairs);
                      }),
                      part([&](auto const& a, auto const& table, auto const& at) {
                          auto const three = std::array{2 * columns, 2 * columns, 2 * columns};
                          auto y = split_columns(a, three);
                          for (int i : {0, 1}) y[i] = rope(y[i], table, at, 1, pairs);
                          return y;
                      }),
                      heads) < tolerance<T>);
        }
    }
}

TEST_CASE_TEMPLATE("cuda: fused layers: a row's bits do not know its batch", T, float, double) {
    cuda_backend b;
    for (index_t columns : {123, 124}) {  // rows that are aligned, and rows that are not
        auto const w = random_values<T>(columns, 8);
        CHECK(rows_alone<T>(
            b,
            [&](auto const& x, index_t) {
                return rms_norm(x, from_host(x.backend(), {columns}, w), T(1e-6));
            },
            150, columns));
        CHECK(rows_alone<T>(
            b,
            [&](auto const& x, index_t) {
                return both_columns(
                    add_rms_norm(x, x, from_host(x.backend(), {columns}, w), T(1e-6)));
            },
            150, columns));
    }
    CHECK(rows_alone<T>(
        b, [](auto const& x, index_t) { return swiglu(x); }, 150, 122));
    auto rotate = [&](auto const& x, index_t first) {
        ints positions;
        for (index_t i = 0; i < x.rows(); ++i)
            positions.push_back(static_cast<std::int32_t>(first + i));
        return rope(x, rope_table<T>(x.backend(), 150, x.columns() / 2),
                    indices_from(x.backend(), positions), 2);
    };
    CHECK(rows_alone<T>(b, rotate, 150, 120));
    for (index_t vocabulary : {133, 2049}) {
        auto const targets = random_indices(40, vocabulary, 2);
        auto const kept = random_kept(targets, vocabulary);
        auto judge = [&](auto const& x, index_t first) {
            ints const own(targets.begin() + first, targets.begin() + first + x.rows());
            return both(token_statistics(x, indices_from(x.backend(), own), T(0.7),
                                         kept.rows(first, x.rows())));
        };
        CHECK(rows_alone<T>(b, judge, 40, vocabulary));
    }
}

TEST_CASE_TEMPLATE("cuda: many parts are joined, few launches or many", T, float, double) {
    cuda_backend b;
    std::vector<tensor<cuda_backend, T>> parts;
    std::vector<T> below, row;
    for (std::size_t i = 0; i < 37; ++i) {
        auto const part = random_values<T>(static_cast<index_t>(3 * (i % 5)), 60 + i);
        parts.push_back(from_host(b, {static_cast<index_t>(i % 5), 3}, part));
        below.insert(below.end(), part.begin(), part.end());
    }
    CHECK(to_host(concatenate_rows(parts)) == below);
    std::vector<tensor<cuda_backend, T>> columns;
    for (index_t width : {1, 5, 2}) columns.push_back(random_tensor<T>(b, {4, width}, 70));
    auto const beside = to_host(concatenate_columns(columns));
    for (std::size_t c = 0, first = 0; c < 3; first += std::size_t(columns[c++].columns())) {
        auto const part = to_host(columns[c]);
        auto const width = static_cast<std::size_t>(columns[c].columns());
        for (std::size_t i = 0; i < part.size(); ++i)
            CHECK(beside[i / width * 8 + first + i % width] == part[i]);
    }
}

TEST_CASE_TEMPLATE("cuda: token statistics agree with their composite, values and gradients", T,
                   float, double) {
    cuda_backend b;
    for (auto const& [rows, vocabulary] : std::vector<std::pair<index_t, index_t>>{
             {1, 1}, {5, 7}, {4, 64}, {30, 401}, {7, 2048}, {6, 2049}, {4, 32768}}) {
        CAPTURE(vocabulary);
        auto const x = random_tensor<T>(b, {rows, vocabulary}, 1);
        auto const targets = random_indices(rows, vocabulary, 2);
        for (auto const& kept : {kept_tokens{}, random_kept(targets, vocabulary)}) {
            auto judge = [&](auto statistics) {
                return [&, statistics](auto const& a) {
                    return both(statistics(a, indices_from(a.backend(), targets), T(0.7), kept));
                };
            };
            CHECK(disagreement(
                      judge([](auto const&... a) { return token_statistics(a...); }),
                      judge([](auto const&... a) { return token_statistics_composite(a...); }),
                      x) < tolerance<T>);
        }
    }
}

TEST_CASE("cuda: infinite logits, tokens that were not kept, targets that do not exist") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    cuda_backend b;
    auto const x = from_host<double>(b, {2, 3}, {-infinity, 2, -infinity, 0, 0, -infinity});
    auto const certain = token_statistics(x, indices_from(b, {1, 0}));
    CHECK(worst_error(to_host(certain[0]), {0, -std::log(2.0)}) < 1e-15);
    CHECK(worst_error(to_host(certain[1]), {0, std::log(2.0)}) < 1e-15);
    auto const kept =
        token_statistics(x, indices_from(b, {0, 0}), 1.0, kept_tokens{{0, 1, 1}, {1}});
    CHECK(to_host(kept[0])[0] == -infinity);
    CHECK_THROWS_WITH_AS(to_host(token_statistics(x, indices_from(b, {0, 3}))[0]),
                         "[token_statistics] expected indices in [0, 3), got 3 at 1", value_error);
    auto const table = rope_table<double>(b, 4, 4);
    CHECK_THROWS_WITH_AS(
        to_host(rope(random_tensor<double>(b, {2, 8}, 1), table, indices_from(b, {0, 4}), 2)),
        "[rope] expected indices in [0, 4), got 4 at 1", value_error);
}

TEST_CASE_TEMPLATE("cuda: AdamW moves all parameters as its law says", T, float, double) {
    cuda_backend b;
    small_model<T> model(b);
    adamw<cuda_backend, T> optimizer({.weight_decay = 0.1, .max_gradient_norm = 3.0});
    std::vector<std::array<std::vector<T>, 3>> expected;  // w, m, v
    for (auto const& p : model.parameters) {
        std::vector<T> const w = to_host(p.value), none(w.size());
        expected.push_back({w, none, none});
    }
    auto const kept = model.parameters[3].value;  // as a reference policy would
    auto const kept_numbers = to_host(kept);
    for (std::uint64_t step = 1; step <= 4; ++step) {
        model.add_gradients(step);
        double square = 0;
        for (auto const& p : model.parameters)
            if (!p.gradient.empty())
                for (T g : to_host(p.gradient)) square += double(g) * double(g);
        double const norm = std::sqrt(square), rate = 0.01 / double(step);
        for (std::size_t i = 0; i + 1 < expected.size(); ++i) {
            auto& [w, m, v] = expected[i];
            auto const g = to_host(model.parameters[i].gradient);
            bool const is_matrix = model.parameters[i].value.extents().rank() > 1;
            auto const law = law::adamw<T>{T(rate),
                                           T(0.9),
                                           T(0.95),
                                           T(1e-8),
                                           T(is_matrix ? 0.1 : 0),
                                           T(1 / (1 - std::pow(0.9, double(step)))),
                                           T(1 / (1 - std::pow(0.95, double(step)))),
                                           T(3.0 / norm)};
            for (std::size_t j = 0; j < w.size(); ++j) {
                auto const next = law(w[j], g[j], m[j], v[j]);
                w[j] = next.value[0], m[j] = next.value[1], v[j] = next.value[2];
            }
        }
        CHECK(optimizer.step(model, rate) == doctest::Approx(norm).epsilon(1e-12));
        CHECK(model.parameters[0].gradient.empty());
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(worst_error(to_host(model.parameters[i].value), in_double(expected[i][0])) <
              tolerance<T>);
        for (std::size_t k = 0; k < 2; ++k)
            CHECK(worst_error(to_host(optimizer.moments()[i][k]), in_double(expected[i][k + 1])) <
                  tolerance<T>);
    }
    CHECK(same_bits(to_host(kept), kept_numbers));
}

TEST_CASE("cuda: AdamW works in place where nobody looks, and refuses what is not finite") {
    cuda_backend b;
    small_model<float> model(b);
    adamw<cuda_backend, float> optimizer;
    auto addresses = [&] {
        std::vector<float const*> y;
        model.visit([&](auto& p) { y.push_back(p.value.buffer().data()); });
        return y;
    };
    CHECK(optimizer.step(model, 0.1) == 0);  // no gradients yet
    auto const before = addresses();
    model.add_gradients(1);
    optimizer.step(model, 0.1);
    CHECK(addresses() == before);
    auto const numbers = to_host(model.parameters[3].value);
    model.add_gradients(2);
    model.parameters[2].gradient = full(b, {2, 3}, std::numeric_limits<float>::infinity());
    CHECK_THROWS_AS(optimizer.step(model, 0.1), value_error);
    CHECK(same_bits(to_host(model.parameters[3].value), numbers));
    CHECK(optimizer.steps() == 2);
    CHECK_FALSE(model.parameters[3].gradient.empty());
    // Nor does anything move behind a pass that met a fault.
    model.parameters[2].gradient = full(b, {2, 3}, 1.0F);
    gather_rows(model.parameters[3].value, indices_from(b, {-1}));
    CHECK_THROWS_WITH_AS(optimizer.step(model, 0.1), doctest::Contains("got -1 at 0"), value_error);
    CHECK(same_bits(to_host(model.parameters[3].value), numbers));
    optimizer.step(model, 0.1);
    CHECK_FALSE(same_bits(to_host(model.parameters[3].value), numbers));
}
