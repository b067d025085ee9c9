// SPDX-License-Identifier: Apache-2.0
// A decoder, dense, with experts and with latent attention, acts and learns on CUDA: the
// reference's numbers to rounding, the same bits whether acting or learning, alone or in a batch.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "decoder_outcome.hpp"
#include "../instances/decoder_cuda.hpp"

using decoder_outcome::kind, decoder_outcome::rows;

namespace {

constexpr kind kinds[] = {kind::dense, kind::experts, kind::latent, kind::softmax};

bool same_bits(rows const& a, rows const& b) {
    bool same = a.size() == b.size();
    for (std::size_t i = 0; same && i < a.size(); ++i)
        same = a[i].size() == b[i].size() &&
               std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) == 0;
    return same;
}
/// The largest |a − b| / (1 + |b|); infinite for other extents and for NaN.
double distance(rows const& a, rows const& b) {
    if (a.size() != b.size()) return INFINITY;
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].size() != b[i].size()) return INFINITY;
        for (std::size_t j = 0; j < a[i].size(); ++j) {
            double const error = std::abs(double{a[i][j]} - b[i][j]) / (1 + std::abs(b[i][j]));
            if (std::isnan(error)) return INFINITY;
            worst = std::max(worst, error);
        }
    }
    return worst;
}

}  // namespace

TEST_CASE("cuda: a decoder has the reference's log-probabilities, experts and gradients") {
    grove::cuda_backend backend;
    for (kind which : kinds) {
        CAPTURE(static_cast<int>(which));
        auto const expected = decoder_outcome::of_reference(which);
        decoder_outcome::model model(backend, which);
        auto const got = model.all(decoder_outcome::sequences(9));
        REQUIRE(expected.gradients.size() > 10);
        CHECK(got.experts == expected.experts);
        CHECK(distance(got.learning, expected.learning) < 1e-5);
        CHECK(distance(got.gradients, expected.gradients) < 5e-5);
        CHECK(same_bits(got.acting, got.learning));
    }
}

TEST_CASE("cuda: in bf16 a decoder is as near to the reference as 8 bits of a number allow") {
    grove::cuda_backend backend({.precision = grove::product_precision::bf16});
    for (kind which : kinds) {
        CAPTURE(static_cast<int>(which));
        auto const expected = decoder_outcome::of_reference(which);
        decoder_outcome::model model(backend, which);
        auto const got = model.all(decoder_outcome::sequences(9));
        CHECK(distance(got.learning, expected.learning) < 0.05);
        CHECK(distance(got.learning, expected.learning) > 1e-5);
        // Rounding may make a router choose otherwise, and then other weights learn.
        if (got.experts == expected.experts)
            CHECK(distance(got.gradients, expected.gradients) < 0.05);
        CHECK(same_bits(got.acting, got.learning));
    }
}

TEST_CASE("cuda: a sequence has the same bits alone and in a batch of 64; a run repeats") {
    auto const tokens = decoder_outcome::sequences(64);
    for (auto precision : {grove::product_precision::float32, grove::product_precision::bf16})
        for (kind which : kinds) {
            CAPTURE(static_cast<int>(precision));
            CAPTURE(static_cast<int>(which));
            grove::cuda_backend backend({.precision = precision});
            decoder_outcome::model model(backend, which);
            auto const together = model.act(tokens);
            for (std::size_t s : {std::size_t{0}, std::size_t{20}, std::size_t{63}})
                CHECK(same_bits(model.act({tokens[s]}), {together[s]}));
            decoder_outcome::model one(backend, which), two(backend, which);
            one.learn(tokens);
            two.learn(tokens);
            CHECK(same_bits(one.gradients(), two.gradients()));
        }
}

TEST_CASE("cuda: 100 steps of a decoder take no fresh memory") {
    grove::cuda_backend backend;
    auto const tokens = decoder_outcome::sequences(16);
    decoder_outcome::model model(backend, kind::experts);
    for (int i = 0; i < 3; ++i) model.learn(tokens);
    auto const fresh = backend.system().fresh_allocations();
    std::size_t free = 0, still_free = 0, total = 0;
    REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
    for (int i = 0; i < 100; ++i) model.learn(tokens);
    CHECK(backend.system().fresh_allocations() == fresh);
    REQUIRE(cudaMemGetInfo(&still_free, &total) == cudaSuccess);
    CHECK(still_free == free);
}
