// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/moe.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "grove/backend/eigen/eigen.hpp"

using namespace grove;

namespace {

using numbers = std::vector<double>;
using indices = std::vector<std::int32_t>;

struct router_case {
    eigen_backend backend{1};
    expert_router<eigen_backend, double> router;

    router_case(numbers const& bias, index_t top, index_t groups = 1, index_t top_groups = 1,
                bool normalize = true, double scale = 1)
        : router{{"gate", zeros<double>(backend, {1, static_cast<index_t>(bias.size())})},
                 from_host(backend, {static_cast<index_t>(bias.size())}, bias),
                 top, groups, top_groups, normalize, scale} {}

    tensor<eigen_backend, double> scores(numbers const& values) {
        index_t const experts = router.experts();
        return from_host(backend, {static_cast<index_t>(values.size()) / experts, experts}, values);
    }
    indices choose(numbers const& values) { return to_host(router.choose(scores(values))); }
    numbers weights(numbers const& values) {
        auto const s = scores(values);
        return to_host(router.weights(s, router.choose(s)));
    }
};

numbers uniform_numbers(std::size_t count, std::uint64_t seed, double low, double high) {
    random_sequence random({.seed = seed});
    numbers values(count);
    for (double& x : values) x = low + (high - low) * random.uniform();
    return values;
}

/// One token's experts as the paper words it.
indices choose_naively(numbers const& choice, int top, int groups, int top_groups) {
    auto const experts = static_cast<int>(choice.size());
    int const width = experts / groups;
    auto const best_first = [](numbers const& values) {
        indices order(values.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
            return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
        });
        return order;
    };
    numbers group_scores;
    for (int g = 0; g < groups; ++g) {
        numbers members(choice.begin() + g * width, choice.begin() + (g + 1) * width);
        std::sort(members.rbegin(), members.rend());
        group_scores.push_back(members[0] + members[1]);
    }
    auto const ranked = best_first(group_scores);
    indices chosen;
    for (auto expert : best_first(choice)) {
        auto const open = std::find(ranked.begin(), ranked.begin() + top_groups, expert / width);
        if (open != ranked.begin() + top_groups && static_cast<int>(chosen.size()) < top)
            chosen.push_back(expert);
    }
    return chosen;
}

}  // namespace

TEST_CASE("experts are chosen as by the definition") {
    struct setting {
        int experts, top, groups, top_groups;
    };
    for (auto const& s : {setting{12, 4, 4, 2}, {12, 2, 4, 1}, {12, 5, 3, 2}, {8, 8, 4, 4},
                          {16, 3, 2, 1}, {6, 6, 1, 1}}) {
        CAPTURE(s.experts);
        CAPTURE(s.top);
        auto const count = static_cast<std::size_t>(s.experts);
        auto const bias = uniform_numbers(count, 7, -3, 1);
        router_case c(bias, s.top, s.groups, s.top_groups);
        auto const scores = uniform_numbers(30 * count, 8, 0, 1);
        indices expected;
        for (auto row = scores.begin(); row != scores.end(); row += s.experts) {
            numbers choice(row, row + s.experts);
            for (std::size_t e = 0; e < count; ++e) choice[e] += bias[e];
            auto const chosen = choose_naively(choice, s.top, s.groups, s.top_groups);
            expected.insert(expected.end(), chosen.begin(), chosen.end());
        }
        CHECK(c.choose(scores) == expected);
    }
}

TEST_CASE("an expert outside the chosen groups never wins, however negative the others are") {
    numbers const bias(8, -5);
    CHECK(router_case(bias, 4, 4, 2).choose({.1, .2, .9, .8, .3, .1, .6, .7}) ==
          indices{2, 3, 7, 6});
    CHECK(router_case(bias, 2, 4, 1).choose({.1, .2, .9, .8, .3, .1, .6, .7}) == indices{2, 3});
}

TEST_CASE("a group counts by its two best experts") {
    CHECK(router_case(numbers(6, 0), 2, 2, 1).choose({.9, .1, .1, .6, .5, .1}) == indices{3, 4});
    CHECK(router_case(numbers(6, 0), 2, 2, 1).choose({.9, .1, .1, .4, .3, .29}) == indices{0, 1});
}

TEST_CASE("ties go to the lower expert and to the lower group") {
    CHECK(router_case(numbers(6, 0), 3).choose(numbers(6, .5)) == indices{0, 1, 2});
    CHECK(router_case(numbers(6, 0), 2, 3, 1).choose(numbers(6, .5)) == indices{0, 1});
    CHECK(router_case(numbers(6, 0), 4, 3, 2).choose({.1, .1, .5, .5, .5, .5}) ==
          indices{2, 3, 4, 5});
}

TEST_CASE("the bias chooses, the scores weigh") {
    numbers const bias{0, 0, 9, 8}, scores{.9, .8, .2, .6};
    CHECK(router_case(bias, 2).choose(scores) == indices{2, 3});
    auto const check = [](numbers const& got, numbers const& expected) {
        REQUIRE(got.size() == expected.size());
        for (std::size_t i = 0; i < got.size(); ++i)
            CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-14));
    };
    check(router_case(bias, 2).weights(scores), {.25, .75});
    check(router_case(bias, 2, 1, 1, true, 2.5).weights(scores), {.625, 1.875});
    check(router_case(bias, 2, 1, 1, false).weights(scores), {.2, .6});
    check(router_case(bias, 2, 1, 1, false, 3).weights(scores), {.6, 1.8});
    // Affinities that all vanish give weights of zero, not NaN.
    check(router_case(bias, 2).weights(numbers(4, 0)), {0, 0});
}

TEST_CASE("a token's output depends on that token alone, bit by bit") {
    decoder_config const config{.hidden_size = 40, .n_routed_experts = 8,
                                .num_experts_per_tok = 3, .moe_intermediate_size = 19,
                                .n_group = 4, .topk_group = 2};
    eigen_backend backend(2);
    parameter_maker<eigen_backend, float> make(backend, 3);
    auto const experts = mixture_of_experts<eigen_backend, float>::make(make, "", config, 0.3);
    constexpr index_t tokens = 100;
    auto const x = make.normal("x", {tokens, 40}, 1).value;
    auto const [all, record] = experts(x, nullptr);
    auto const expected = to_host(all);

    for (index_t token = 0; token < tokens; token += 7) {
        auto const alone = to_host(experts(slice_rows(x, token, 1), nullptr).first);
        CHECK(std::equal(alone.begin(), alone.end(), expected.begin() + token * 40));
    }
    indices order;
    for (std::int32_t i = 0; i < tokens; ++i) order.push_back((i * 37 + 5) % tokens);
    auto const shuffled = indices_from(backend, order);
    CHECK(to_host(experts(gather_rows(x, shuffled), nullptr).first) ==
          to_host(gather_rows(all, shuffled)));

    std::vector<std::int32_t> load(9, 0);
    for (auto expert : to_host(record.experts)) ++load[static_cast<std::size_t>(expert) + 1];
    for (std::size_t e = 0; e < 8; ++e) load[e + 1] += load[e];
    CHECK(to_host(record.offsets) == load);
}

TEST_CASE("sequence_balance is the sum of loads times affinities of each sequence") {
    eigen_backend backend(1);
    constexpr std::size_t count = 5, tokens = 9, top = 2;
    auto const scores = uniform_numbers(tokens * count, 4, 0.05, 1);
    indices experts;
    for (std::int32_t t = 0; t < 9; ++t) {
        experts.push_back(t * t % 5);
        experts.push_back((t * t + 1 + t % 3) % 5);
    }
    indices const offsets{0, 2, 9};
    double expected = 0;
    for (std::size_t s = 0; s < 2; ++s) {
        auto const length = static_cast<double>(offsets[s + 1] - offsets[s]);
        for (std::size_t i = 0; i < count; ++i) {
            double f = 0, p = 0;
            for (auto t = static_cast<std::size_t>(offsets[s]);
                 t < static_cast<std::size_t>(offsets[s + 1]); ++t) {
                double sum = 0;
                for (std::size_t j = 0; j < count; ++j) sum += scores[t * count + j];
                p += scores[t * count + i] / sum / length;
                for (std::size_t k = 0; k < top; ++k)
                    f += experts[t * top + k] == static_cast<int>(i) ? count / (top * length) : 0;
            }
            expected += f * p / 2;
        }
    }
    auto const balance = [&](numbers const& s, indices const& e, indices const& bounds) {
        index_t const rows = bounds.back();
        return to_host(sequence_balance(from_host(backend, {rows, count}, s),
                                        from_host(backend, {rows, top}, e), bounds));
    };
    CHECK(balance(scores, experts, offsets)[0] == doctest::Approx(expected).epsilon(1e-13));
    // Perfect balance costs 1, whatever the affinities.
    CHECK(balance(numbers(scores.begin(), scores.begin() + 25), {0, 1, 2, 3, 4, 0, 1, 2, 3, 4},
                  {0, 5})[0] == doctest::Approx(1).epsilon(1e-13));
}

TEST_CASE("update_expert_bias moves towards the mean load, by signs") {
    router_case c({.5, -.5, 0, 1}, 2);
    update_expert_bias(c.router, {1, 5, 3, 3}, .125);
    CHECK(to_host(c.router.score_correction_bias) == numbers{.625, -.625, 0, 1});
    CHECK_THROWS_WITH_AS(update_expert_bias(c.router, {1, 2, 3}, .1),
                         "[update_expert_bias] expected 4 loads, got 3", shape_error);
}

TEST_CASE("equal loads move no bias") {
    router_case c(numbers(10, .25), 2);
    update_expert_bias(c.router, numbers(10, 1), .125);
    CHECK(to_host(c.router.score_correction_bias) == numbers(10, .25));
}
