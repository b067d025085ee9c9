// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/decoder.hpp"
#include "../thrown.hpp"

#include <doctest/doctest.h>

#include <string>

#include "differences.hpp"
#include "golden_decoder.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "small_decoder.hpp"

using namespace grove;
using grove_test::dense_config;
using grove_test::grouped_config;
using grove_test::message_of;
using grove_test::plain_config;

namespace {

void check_close(std::vector<double> const& got, std::vector<double> const& expected) {
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-9));
    }
}

template <class B>
void check_golden(B& backend, decoder_config const& config, golden_decoder const& golden) {
    decoder<B, double> model(backend, config, 1);
    grove_test::set_weights(model);
    auto const batch = grove_test::two_sequences();
    fresh_keys keys{batch.layout};
    auto const output = model.forward(backend, batch, keys);
    check_close(to_host(model.logits(output.hidden)), golden.logits);

    auto const head = [&](auto const& x) { return model.logits(x); };
    head_options<double> const options{.temperature = grove_test::temperature, .kept = {}};
    check_close(to_host(lm_head(output.hidden, head, grove_test::next_tokens, options)[0]),
                golden.log_probability);

    std::vector<std::int32_t> experts;
    for (auto const& routing : output.routings) {
        CHECK(routing.balance.empty());
        for (auto expert : to_host(routing.experts)) experts.push_back(expert);
    }
    CHECK(experts == golden.experts);

    autodiff<B> tape(backend);
    auto const loss = grove_test::loss(tape, model);
    CHECK(to_host(loss)[0] == doctest::Approx(golden.loss).epsilon(1e-9));
    backward(loss);
    std::vector<double> norms, probes;
    model.visit([&](auto& p) {
        auto const gradient = to_host(p.gradient);
        for (auto const& places : grove_test::matrices_of(config, p)) {
            double square = 0, probe = 0, i = 0;
            for (auto at : places) {
                square += gradient[at] * gradient[at];
                probe += gradient[at] * std::cos(0.3 * i++);
            }
            norms.push_back(std::sqrt(square));
            probes.push_back(probe);
        }
    });
    check_close(norms, golden.gradient_norm);
    check_close(probes, golden.gradient_probe);
}

using model_type = decoder<eigen_backend, double>;

}  // namespace

TEST_CASE("the decoder computes what an independent program computes") {
    reference_backend reference;
    eigen_backend eigen(2);
    SUBCASE("dense") {
        check_golden(reference, dense_config(), golden_dense);
        check_golden(eigen, dense_config(), golden_dense);
    }
    SUBCASE("experts in groups") {
        check_golden(reference, grouped_config(), golden_grouped);
        check_golden(eigen, grouped_config(), golden_grouped);
    }
    SUBCASE("experts without groups, normalisation or shared ones") {
        check_golden(reference, plain_config(), golden_plain);
        check_golden(eigen, plain_config(), golden_plain);
    }
}

TEST_CASE("gradients of whole decoders agree with finite differences") {
    eigen_backend eigen(1);
    grove_test::check_differences(eigen, dense_config());
    grove_test::check_differences(eigen, grouped_config());
}

TEST_CASE("the parameters have names and a fixed order") {
    eigen_backend backend(1);
    model_type model(backend, plain_config(), 1);
    std::vector<std::string> names;
    model.visit([&](auto& p) { names.push_back(p.name); });
    REQUIRE(names.size() == 16);
    CHECK(names[0] == "model.embed_tokens.weight");
    CHECK(names[1] == "model.layers.0.input_layernorm.weight");
    CHECK(names[2] == "model.layers.0.self_attn.qkv_proj.weight");
    CHECK(names[4] == "model.layers.0.post_attention_layernorm.weight");
    CHECK(names[5] == "model.layers.0.mlp.gate.weight");
    CHECK(names[15] == "model.norm.weight");
    CHECK(model.parameter_count() == 1760);
    CHECK(model_type(backend, dense_config(), 1).parameter_count() == 1544);
    CHECK(model_type(backend, grouped_config(), 1).parameter_count() == 2376);
}

TEST_CASE("weights depend on the seed alone") {
    eigen_backend backend(1);
    auto const weights = [&](std::uint64_t seed) {
        model_type model(backend, grouped_config(), seed);
        std::vector<std::vector<double>> values;
        model.visit([&](auto& p) { values.push_back(to_host(p.value)); });
        return values;
    };
    CHECK(weights(1) == weights(1));
    CHECK(weights(1) != weights(2));
    CHECK(weights(1)[2] != weights(1)[3]);

    double square = 0;
    auto const embedding = weights(5)[0];
    for (double w : embedding) square += w * w;
    CHECK(std::sqrt(square / static_cast<double>(embedding.size())) ==
          doctest::Approx(0.02).epsilon(0.3));
}

TEST_CASE("copy_from freezes a model as it is") {
    eigen_backend backend(1);
    model_type model(backend, grouped_config(), 1), frozen(backend, grouped_config(), 2);
    grove_test::set_weights(model);
    frozen.copy_from(model);
    auto const value = [&](model_type const& m) {
        return to_host(grove_test::loss(backend, m))[0];
    };
    double const before = value(model);
    CHECK(value(frozen) == before);
    model.visit([&](auto& p) { p.value = affine(p.value, 2.0); });
    CHECK(value(model) != before);
    CHECK(value(frozen) == before);

    model_type other(backend, dense_config(), 1);
    CHECK_THROWS_AS(other.copy_from(model), shape_error);
    CHECK_THROWS_AS(model.copy_from(other), shape_error);
    auto wider = grouped_config();
    wider.vocab_size = 9;
    model_type wide(backend, wider, 1);
    CHECK(message_of<shape_error>([&] { frozen.copy_from(wide); }) ==
          "[decoder::copy_from] expected model.embed_tokens.weight of shape [7, 8], got [9, 8]");
    CHECK(value(frozen) == before);
}

TEST_CASE("a decoder refuses tokens and positions that it does not have") {
    eigen_backend backend(1);
    model_type const model(backend, dense_config(), 1);
    auto const hidden = [&](packed_tokens const& batch) {
        fresh_keys keys{batch.layout};
        return model.forward(backend, batch, keys).hidden;
    };
    auto const refusal = [&](packed_tokens const& batch) {
        return message_of<value_error>([&] { hidden(batch); });
    };
    CHECK_NOTHROW(hidden(packed_tokens::of({{0, 6}})));
    CHECK(refusal(packed_tokens::of({{0, 7}})) ==
          "[decoder] expected token ids in [0, 7), got 7 at 1");
    CHECK(refusal(packed_tokens::of({{-1}})) ==
          "[decoder] expected token ids in [0, 7), got -1 at 0");
    CHECK(refusal(packed_tokens::of({std::vector<std::int32_t>(17, 1)})) ==
          "[decoder] expected positions in [0, 16), got 16 at 16");
    auto negative = packed_tokens::of({{1, 2}});
    negative.positions[0] = -1;
    CHECK(refusal(negative) == "[decoder] expected positions in [0, 16), got -1 at 0");

    auto uneven = packed_tokens::of({{1, 2}});
    uneven.positions.pop_back();
    fresh_keys keys{uneven.layout};
    CHECK(message_of<shape_error>([&] { model.forward(backend, uneven, keys); }) ==
          "[decoder] expected as many positions and laid-out tokens as tokens (2), got 1 and 2");
    uneven = packed_tokens::of({{1, 2}});
    uneven.tokens.push_back(1);
    uneven.positions.push_back(0);
    CHECK_THROWS_AS(model.forward(backend, uneven, keys), shape_error);
}

TEST_CASE("a sequence has the same bits alone and beside others") {
    eigen_backend backend(2);
    decoder<eigen_backend, double> model(backend, grouped_config(), 1);
    grove_test::set_weights(model);
    auto const hidden = [&](std::vector<std::vector<std::int32_t>> const& sequences) {
        auto const batch = packed_tokens::of(sequences);
        fresh_keys keys{batch.layout};
        return to_host(model.forward(backend, batch, keys).hidden);
    };
    auto const first = hidden({{3, 1, 4}}), second = hidden({{2, 6, 5, 3, 5}});
    auto both = first;
    both.insert(both.end(), second.begin(), second.end());
    CHECK(hidden({{3, 1, 4}, {2, 6, 5, 3, 5}}) == both);
    CHECK(hidden({{3, 1, 4}, {}, {2, 6, 5, 3, 5}}) == both);
}
