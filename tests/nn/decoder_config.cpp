// SPDX-License-Identifier: Apache-2.0
#include "grove/nn/decoder_config.hpp"

#include <doctest/doctest.h>

#include <string>

#include "../thrown.hpp"

using namespace grove;

namespace {

/// The sentence with which `change` makes a sound configuration unsound, without its beginning.
template <class Change>
std::string refusal(Change change) {
    decoder_config config{.n_routed_experts = 8, .moe_intermediate_size = 16, .n_group = 4,
                          .topk_group = 2};
    CHECK_NOTHROW(config.validate());
    change(config);
    std::string const sentence =
        grove_test::message_of<configuration_error>([&] { config.validate(); });
    if (sentence.empty()) return sentence;
    std::string const beginning = "[decoder_config] expected ";
    CHECK(sentence.starts_with(beginning));
    return sentence.substr(beginning.size());
}

}  // namespace

TEST_CASE("contradictory extents are refused with a sentence") {
    using c = decoder_config;
    std::string const positive =
        "positive vocab_size, hidden_size, num_hidden_layers and intermediate_size, got ";
    CHECK(refusal([](c& x) { x.vocab_size = 0; }) == positive + "0, 256, 4, 688");
    CHECK(refusal([](c& x) { x.hidden_size = -1; }) == positive + "512, -1, 4, 688");
    CHECK(refusal([](c& x) { x.num_hidden_layers = 0; }) == positive + "512, 256, 0, 688");
    CHECK(refusal([](c& x) { x.intermediate_size = 0; }) == positive + "512, 256, 4, 0");

    auto const multiple = std::string("num_attention_heads to be a multiple of "
                                      "num_key_value_heads, got ");
    CHECK(refusal([](c& x) { x.num_key_value_heads = 3; }) == multiple + "4 and 3");
    CHECK(refusal([](c& x) { x.num_key_value_heads = 0; }) == multiple + "4 and 0");
    CHECK(refusal([](c& x) { x.num_attention_heads = 0; }) == multiple + "0 and 4");
    CHECK(refusal([](c& x) { x.hidden_size = 258; }) ==
          "hidden_size to be a multiple of num_attention_heads, got 258 and 4");
    CHECK(refusal([](c& x) { x.hidden_size = 258, x.head_dim = 16; }).empty());
    CHECK(refusal([](c& x) { x.head_dim = -2; }) == "head_dim ≥ 0, got -2");
    CHECK(refusal([](c& x) { x.head_dim = 5; }) == "an even number of rotated columns, got 5");
    CHECK(refusal([](c& x) { x.kv_lora_rank = 4; }) ==
          "positive qk_nope_head_dim, qk_rope_head_dim and v_head_dim, and q_lora_rank ≥ 0, got 0, 0, "
          "0 and 0");
    CHECK(refusal([](c& x) {
              x.kv_lora_rank = x.qk_nope_head_dim = x.qk_rope_head_dim = x.v_head_dim = 4;
              x.use_qk_norm = true;
          }) == "no use_qk_norm with latent attention, got it");
    CHECK(refusal([](c& x) { x.hidden_size = 12; }) == "an even number of rotated columns, got 3");
    CHECK(refusal([](c& x) { x.max_position_embeddings = 0; }) ==
          "max_position_embeddings > 0, got 0");
    CHECK(refusal([](c& x) { x.rope_theta = 0; }) ==
          "rope_theta > 0 and rms_norm_eps ≥ 0, got 0 and 1e-06");
    CHECK(refusal([](c& x) { x.rms_norm_eps = -1; }) ==
          "rope_theta > 0 and rms_norm_eps ≥ 0, got 10000 and -1");
}

TEST_CASE("contradictory experts are refused with a sentence") {
    using c = decoder_config;
    CHECK(refusal([](c& x) { x.n_routed_experts = -8; }) == "n_routed_experts ≥ 0, got -8");
    CHECK(refusal([](c& x) { x.moe_intermediate_size = 0; }) == "moe_intermediate_size > 0, got 0");
    CHECK(refusal([](c& x) { x.n_group = 3; }) ==
          "n_routed_experts to be a multiple of n_group, got 8 and 3");
    CHECK(refusal([](c& x) { x.n_group = 0; }) ==
          "n_routed_experts to be a multiple of n_group, got 8 and 0");
    CHECK(refusal([](c& x) { x.topk_group = 0; }) == "1 ≤ topk_group ≤ n_group, got 0 of 4");
    CHECK(refusal([](c& x) { x.topk_group = 5; }) == "1 ≤ topk_group ≤ n_group, got 5 of 4");
    CHECK(refusal([](c& x) { x.n_group = 8; }) == "at least two experts in a group, got 1");
    auto const within = std::string("1 ≤ num_experts_per_tok ≤ 4 (experts within the chosen "
                                    "groups), got ");
    CHECK(refusal([](c& x) { x.num_experts_per_tok = 5; }) == within + "5");
    CHECK(refusal([](c& x) { x.num_experts_per_tok = 0; }) == within + "0");
    CHECK(refusal([](c& x) { x.n_shared_experts = -1; }) ==
          "n_shared_experts ≥ 0 and first_k_dense_replace ≥ 0, got -1 and 1");
    CHECK(refusal([](c& x) { x.first_k_dense_replace = -1; }) ==
          "n_shared_experts ≥ 0 and first_k_dense_replace ≥ 0, got 1 and -1");
    CHECK(refusal([](c& x) { x.n_routed_experts = 0, x.moe_intermediate_size = 0; }).empty());
}

TEST_CASE("the first layers are dense") {
    decoder_config config{.n_routed_experts = 8, .first_k_dense_replace = 2};
    CHECK_FALSE(config.is_moe(1));
    CHECK(config.is_moe(2));
    config.n_routed_experts = 0;
    CHECK_FALSE(config.is_moe(2));
    CHECK(config.head_width() == 64);
    config.head_dim = 10;
    CHECK(config.head_width() == 10);
}
