// SPDX-License-Identifier: Apache-2.0
#include "grove/io/huggingface_config.hpp"

#include <doctest/doctest.h>

#include "grove/io/huggingface_config_writer.hpp"
#include "huggingface_models.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

huggingface_config read(std::string const& name) {
    return parse_huggingface_config(read_json(published_model(name) / "config.json"));
}
/// A published config.json with some fields replaced.
json changed(std::string const& name, std::string const& patch) {
    json document = read_json(published_model(name) / "config.json");
    document.update(parse_json(patch));
    return document;
}
/// The message with which such a config.json is refused.
std::string refusal(std::string const& name, std::string const& patch) {
    return message_of<configuration_error>([&] { parse_huggingface_config(changed(name, patch)); });
}
decoder_config with(std::string const& name, std::string const& patch) {
    return parse_huggingface_config(changed(name, patch)).decoder;
}

// config.json of DeepSeek-R1, as published, without its quantization_config.
std::string const deepseek_r1 = R"({
  "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "bos_token_id": 0,
  "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu",
  "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 2048,
  "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
  "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8,
  "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
  "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0,
    "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
  "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
  "torch_dtype": "bfloat16", "transformers_version": "4.46.3", "use_cache": true,
  "v_head_dim": 128, "vocab_size": 129280})";

}  // namespace

TEST_CASE("parse_huggingface_config: each published architecture, in the newer spelling") {
    auto const deepseek = read("deepseek-v3-tiny");
    CHECK(same_config(deepseek.decoder, {.vocab_size = 320,
                                         .hidden_size = 64,
                                         .intermediate_size = 128,
                                         .num_hidden_layers = 3,
                                         .num_attention_heads = 4,
                                         .num_key_value_heads = 4,
                                         .max_position_embeddings = 256,
                                         .rope_interleave = true,
                                         .kv_lora_rank = 16,
                                         .q_lora_rank = 24,
                                         .qk_nope_head_dim = 16,
                                         .qk_rope_head_dim = 8,
                                         .v_head_dim = 16,
                                         .n_routed_experts = 8,
                                         .num_experts_per_tok = 3,
                                         .n_shared_experts = 1,
                                         .moe_intermediate_size = 32,
                                         .first_k_dense_replace = 1,
                                         .n_group = 4,
                                         .topk_group = 2,
                                         .routed_scaling_factor = 2.5}));
    CHECK(deepseek.dtype == "float32");
    CHECK(deepseek.bos_token_id == 0);
    CHECK(deepseek.eos_token_ids == std::vector<index_t>{1});
    CHECK(deepseek.num_nextn_predict_layers == 1);
    CHECK(read("deepseek-v3-noqlora-tiny").decoder.q_lora_rank == 0);

    decoder_config llama{.vocab_size = 320,
                         .hidden_size = 64,
                         .intermediate_size = 160,
                         .num_hidden_layers = 2,
                         .num_attention_heads = 8,
                         .num_key_value_heads = 2,
                         .head_dim = 8,
                         .max_position_embeddings = 256,
                         .rms_norm_eps = 1e-5};
    llama.rope_scaling = {
        .type = rope_type::llama3, .factor = 8, .original_max_position_embeddings = 64};
    CHECK(same_config(read("llama-tiny").decoder, llama));

    auto const qwen2 = read("qwen2-tiny");
    CHECK(same_config(qwen2.decoder, {.vocab_size = 320,
                                      .hidden_size = 64,
                                      .intermediate_size = 176,
                                      .num_hidden_layers = 2,
                                      .num_attention_heads = 4,
                                      .num_key_value_heads = 2,
                                      .max_position_embeddings = 256,
                                      .rope_theta = 1e6,
                                      .attention_bias = true,
                                      .tie_word_embeddings = true}));
    CHECK_FALSE(qwen2.bos_token_id);
    CHECK(qwen2.eos_token_ids.empty());

    CHECK(same_config(read("qwen3-moe-tiny").decoder, {.vocab_size = 320,
                                                       .hidden_size = 64,
                                                       .intermediate_size = 128,
                                                       .num_hidden_layers = 2,
                                                       .num_attention_heads = 4,
                                                       .num_key_value_heads = 2,
                                                       .head_dim = 24,
                                                       .max_position_embeddings = 256,
                                                       .use_qk_norm = true,
                                                       .n_routed_experts = 8,
                                                       .num_experts_per_tok = 2,
                                                       .n_shared_experts = 0,
                                                       .moe_intermediate_size = 32,
                                                       .first_k_dense_replace = 0,
                                                       .scoring_func = scoring_function::softmax}));
}

TEST_CASE("parse_huggingface_config: DeepSeek-R1 in the older spelling") {
    auto const r1 = parse_huggingface_config(parse_json(deepseek_r1));
    decoder_config const& c = r1.decoder;
    CHECK(r1.dtype == "bfloat16");
    CHECK(c.num_hidden_layers == 61);
    CHECK(c.q_lora_rank == 1536);
    CHECK(c.scoring_func == scoring_function::sigmoid);
    CHECK(c.rope_interleave);
    CHECK(c.rope_scaling.type == rope_type::yarn);
    CHECK(c.rope_scaling.factor == 40);
    CHECK(c.rope_scaling.original_max_position_embeddings == 4096);
    CHECK(c.rope_scaling.mscale == 1);
    CHECK(c.rope_scaling.mscale_all_dim == 1);
    CHECK(c.rope_scaling.attention_factor == 0);
    auto quantized = parse_json(deepseek_r1);
    quantized["quantization_config"] = {{"quant_method", "fp8"}};
    CHECK(contains(message_of<configuration_error>([&] { parse_huggingface_config(quantized); }),
                   "expected weights that are not quantized, got a quantization_config"));
}

TEST_CASE("parse_huggingface_config: older and newer spelling mean the same") {
    auto const same = [](std::string const& older, std::string const& newer) {
        std::string const type = R"({"model_type": "llama")";
        return same_config(parse_huggingface_config(parse_json(type + older)).decoder,
                           parse_huggingface_config(parse_json(type + newer)).decoder);
    };
    CHECK(same(R"(, "rope_theta": 5e5, "rope_scaling": null})",
               R"(, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}})"));
    CHECK(
        same(R"(, "rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}})",
             R"(, "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}})"));
    CHECK(same(R"(, "rope_scaling": {"type": "dynamic", "rope_type": "dynamic", "factor": 4.0}})",
               R"(, "rope_parameters": {"rope_type": "dynamic", "factor": 4}})"));
    CHECK(same(R"(, "num_key_value_heads": null, "head_dim": null})", "}"));
    CHECK_FALSE(same(R"(, "rope_theta": 5e5})", "}"));
    auto const dtype = [](std::string const& fields) {
        return parse_huggingface_config(parse_json(R"({"model_type": "llama")" + fields)).dtype;
    };
    CHECK(dtype(R"(, "torch_dtype": "bfloat16"})") == "bfloat16");
    CHECK(dtype(R"(, "dtype": "float16"})") == "float16");
    CHECK(dtype("}").empty());
}

TEST_CASE("parse_huggingface_config: absent fields take the class's default") {
    auto const bare = [](std::string const& type) {
        return parse_huggingface_config(json{{"model_type", type}});
    };
    auto const llama = bare("llama");
    CHECK(same_config(llama.decoder, {.vocab_size = 32000,
                                      .hidden_size = 4096,
                                      .intermediate_size = 11008,
                                      .num_hidden_layers = 32,
                                      .num_attention_heads = 32,
                                      .num_key_value_heads = 32,
                                      .max_position_embeddings = 2048}));
    CHECK(llama.bos_token_id == 1);
    CHECK(llama.eos_token_ids == std::vector<index_t>{2});
    decoder_config qwen{.vocab_size = 151936,
                        .hidden_size = 4096,
                        .intermediate_size = 22016,
                        .num_hidden_layers = 32,
                        .num_attention_heads = 32,
                        .num_key_value_heads = 32,
                        .max_position_embeddings = 32768};
    auto qwen2 = qwen;
    qwen2.attention_bias = true;
    CHECK(same_config(bare("qwen2").decoder, qwen2));
    CHECK(bare("qwen2").eos_token_ids.empty());
    auto qwen3 = qwen;
    qwen3.head_dim = 128;
    qwen3.use_qk_norm = true;
    CHECK(same_config(bare("qwen3").decoder, qwen3));
    CHECK(same_config(bare("qwen3_moe").decoder, {.vocab_size = 151936,
                                                  .hidden_size = 2048,
                                                  .intermediate_size = 6144,
                                                  .num_hidden_layers = 24,
                                                  .num_attention_heads = 32,
                                                  .num_key_value_heads = 4,
                                                  .max_position_embeddings = 32768,
                                                  .use_qk_norm = true,
                                                  .n_routed_experts = 128,
                                                  .num_experts_per_tok = 8,
                                                  .n_shared_experts = 0,
                                                  .moe_intermediate_size = 768,
                                                  .first_k_dense_replace = 0,
                                                  .scoring_func = scoring_function::softmax,
                                                  .norm_topk_prob = false}));
    CHECK(same_config(bare("deepseek_v3").decoder, {.vocab_size = 129280,
                                                    .hidden_size = 7168,
                                                    .intermediate_size = 18432,
                                                    .num_hidden_layers = 61,
                                                    .num_attention_heads = 128,
                                                    .num_key_value_heads = 128,
                                                    .max_position_embeddings = 4096,
                                                    .rope_interleave = true,
                                                    .kv_lora_rank = 512,
                                                    .q_lora_rank = 1536,
                                                    .qk_nope_head_dim = 128,
                                                    .qk_rope_head_dim = 64,
                                                    .v_head_dim = 128,
                                                    .n_routed_experts = 256,
                                                    .num_experts_per_tok = 8,
                                                    .n_shared_experts = 1,
                                                    .moe_intermediate_size = 2048,
                                                    .first_k_dense_replace = 3,
                                                    .n_group = 8,
                                                    .topk_group = 4,
                                                    .routed_scaling_factor = 2.5}));
}

TEST_CASE("parse_huggingface_config: biases belong where the class puts them") {
    CHECK(with("qwen2-tiny", R"({"attention_bias": false})").attention_bias);
    auto const llama = with("llama-tiny", R"({"attention_bias": true})");
    CHECK((llama.attention_bias && llama.attention_output_bias));
    auto const deepseek = with("deepseek-v3-tiny", R"({"attention_bias": true})");
    CHECK((deepseek.attention_bias && deepseek.attention_output_bias));
}

TEST_CASE("parse_huggingface_config: what is not computed is refused with a sentence") {
    CHECK(refusal("llama-tiny", R"({"model_type": "mamba"})") ==
          "[configuration] expected model_type to be one of llama, qwen2, qwen3, qwen3_moe, "
          "deepseek_v3, got 'mamba'");
    CHECK(refusal("llama-tiny", R"({"hidden_act": "gelu"})") ==
          "[huggingface_config] expected hidden_act to be \"silu\", the only one supported, got "
          "\"gelu\"");
    struct refused {
        char const *name, *patch, *part;
    };
    std::vector<refused> const cases{
        {"llama-tiny", R"({"mlp_bias": true})", "mlp_bias to be false"},
        {"llama-tiny", R"({"attention_dropout": 0.1})", "attention_dropout to be 0.0"},
        {"llama-tiny", R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor to be 1.0"},
        {"qwen2-tiny", R"({"use_sliding_window": true, "sliding_window": 4096})",
         "got a sliding window in use"},
        {"qwen2-tiny", R"({"layer_types": ["full_attention", "sliding_attention"]})",
         R"(got "sliding_attention")"},
        {"qwen3-moe-tiny", R"({"mlp_only_layers": [0]})", "no mlp_only_layers"},
        {"qwen3-moe-tiny", R"({"decoder_sparse_step": 2})", "decoder_sparse_step to be 1"},
        {"qwen3-moe-tiny", R"({"num_experts": 8})", "num_experts and num_local_experts, got both"},
        {"deepseek-v3-tiny", R"({"moe_layer_freq": 2})", "moe_layer_freq to be 1"},
        {"deepseek-v3-tiny", R"({"scoring_func": "softmax"})", R"(scoring_func to be "sigmoid")"},
        {"deepseek-v3-tiny", R"({"topk_method": "greedy"})", R"(topk_method to be "noaux_tc")"},
        {"deepseek-v3-tiny", R"({"num_key_value_heads": 2})", "as many num_key_value_heads"},
        {"llama-tiny", R"({"rope_scaling": {"rope_type": "default"}})",
         "one of rope_scaling and rope_parameters, got both"},
        {"llama-tiny", R"({"rope_parameters": {"rope_type": "longrope", "factor": 2}})",
         "to be one of default, linear, dynamic, llama3, yarn, got 'longrope'"},
        {"llama-tiny", R"({"rope_parameters": {"type": "linear", "rope_type": "yarn"}})",
         "type and rope_type to be equal"},
        {"llama-tiny", R"({"rope_parameters": {"rope_type": "default", "factor": 2}})",
         "got 'rope_parameters.factor'"},
        {"llama-tiny",
         R"({"rope_parameters": {"rope_type": "linear", "beta_fast": 2, "factor": 2}})",
         "got 'rope_parameters.beta_fast'"},
        {"llama-tiny", R"({"rope_parameters": {"rope_type": "yarn"}})",
         "expected rope_parameters.factor, got no such field"},
        {"llama-tiny", R"({"rope_parameters": {"rope_type": "llama3", "factor": 8}})",
         "expected rope_parameters.low_freq_factor, got no such field"},
        {"llama-tiny", R"({"rope_parameters": {"partial_rotary_factor": 0.25}})",
         "partial_rotary_factor to be 1"},
    };
    for (auto const& [name, patch, part] : cases) {
        CAPTURE(patch);
        CHECK(contains(refusal(name, patch), part));
    }
    CHECK_NOTHROW(with("qwen2-tiny", R"({"use_sliding_window": false, "sliding_window": 4096})"));
    CHECK_NOTHROW(with("qwen2-tiny", R"({"use_sliding_window": true, "sliding_window": null})"));
    CHECK_NOTHROW(with("llama-tiny", R"({"rope_parameters": {"partial_rotary_factor": 1.0}})"));
    CHECK_THROWS_AS(parse_huggingface_config(json::object()), configuration_error);
    CHECK_THROWS_AS(parse_huggingface_config(json::array()), configuration_error);
}

TEST_CASE("parse_huggingface_config: hostile values are typed errors") {
    std::vector<std::string> const extents{"vocab_size",
                                           "hidden_size",
                                           "intermediate_size",
                                           "num_hidden_layers",
                                           "num_attention_heads",
                                           "num_key_value_heads",
                                           "head_dim",
                                           "num_experts",
                                           "num_experts_per_tok",
                                           "moe_intermediate_size",
                                           "max_position_embeddings"};
    for (auto const& name : extents)
        for (char const* value :
             {"0", "-1", "-9223372036854775808", "9223372036854775807", "18446744073709551615",
              "1e308", "2.5", "\"64\"", "[64]", "{}", "true", "1073741824"}) {
            CAPTURE(name);
            CAPTURE(value);
            json document{{"model_type", "qwen3_moe"}};
            document[name] = parse_json(value);
            CHECK_THROWS_AS(parse_huggingface_config(document), configuration_error);
        }
    for (char const* name : {"kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                             "v_head_dim", "n_group", "topk_group"})
        for (char const* value : {"0", "-1", "1073741824", "1e308", "\"8\""}) {
            CAPTURE(name);
            json document{{"model_type", "deepseek_v3"}};
            document[name] = parse_json(value);
            CHECK_THROWS_AS(parse_huggingface_config(document), configuration_error);
        }
    for (char const* name : {"rms_norm_eps", "rope_theta", "initializer_range"})
        for (char const* value : {"-1", "1e308", "\"1\"", "[]", "null"}) {
            CAPTURE(name);
            CHECK_FALSE(
                refusal("qwen2-tiny", std::string("{\"") + name + "\": " + value + '}').empty());
        }
    CHECK_FALSE(
        refusal("llama-tiny", R"({"rope_parameters": {"rope_type": "linear", "factor": 1e308}})")
            .empty());
    CHECK_FALSE(
        refusal("llama-tiny", R"({"rope_parameters": {"rope_type": "linear", "factor": 0.5}})")
            .empty());
    CHECK_FALSE(refusal("llama-tiny", R"({"rope_parameters": []})").empty());
    CHECK_FALSE(refusal("llama-tiny", R"({"rope_parameters": "yarn"})").empty());
    CHECK_FALSE(refusal("llama-tiny", R"({"tie_word_embeddings": 1})").empty());
    CHECK_FALSE(refusal("llama-tiny", R"({"head_dim": 7})").empty());
    CHECK(contains(
        refusal("llama-tiny", R"({"max_position_embeddings": 16777216, "head_dim": 16384})"),
        "rotary angles"));
    CHECK(contains(refusal("llama-tiny", R"({"vocab_size": -5})"),
                   "expected vocab_size from 1 to 16777216, got -5"));
}

TEST_CASE("tokens: none, one or several, from generation_config.json first") {
    auto const tokens = [](std::string const& patch) {
        return parse_huggingface_config(changed("llama-tiny", patch)).eos_token_ids;
    };
    CHECK(tokens(R"({"eos_token_id": [5, 6, 7]})") == std::vector<index_t>{5, 6, 7});
    CHECK(tokens(R"({"eos_token_id": 319})") == std::vector<index_t>{319});
    CHECK(tokens(R"({"eos_token_id": null})").empty());
    for (char const* wrong : {"320", "-1", "[1, 320]", "\"2\"", "[\"2\"]", "2.0", "{}"})
        CHECK_FALSE(
            refusal("llama-tiny", std::string(R"({"eos_token_id": )") + wrong + '}').empty());
    CHECK_FALSE(refusal("llama-tiny", R"({"bos_token_id": 320})").empty());

    auto config = read("llama-tiny");
    apply_generation_config(
        config, parse_json(R"({"temperature": 0.6, "eos_token_id": null, "bos_token_id": null})"));
    CHECK(config.eos_token_ids == std::vector<index_t>{2});
    CHECK(config.bos_token_id == 1);
    apply_generation_config(config, parse_json(R"({"eos_token_id": [8, 9], "bos_token_id": 3})"));
    CHECK(config.eos_token_ids == std::vector<index_t>{8, 9});
    CHECK(config.bos_token_id == 3);
    auto const applied = [&](char const* text) {
        return message_of<configuration_error>(
            [&] { apply_generation_config(config, parse_json(text)); });
    };
    CHECK(contains(applied(R"({"eos_token_id": 320})"), "eos_token_id from 0 to 319, got 320"));
    CHECK(contains(applied("[]"), "generation_config to be an object"));
}

TEST_CASE("format_huggingface_config: reads back to an equal configuration") {
    auto const returns = [](huggingface_config const& config) {
        auto const text = format_json(format_huggingface_config(config), 2);
        auto const again = parse_huggingface_config(parse_json(text));
        CHECK(same_config(again.decoder, config.decoder));
        CHECK(again.dtype == config.dtype);
        CHECK(again.bos_token_id == config.bos_token_id);
        CHECK(again.eos_token_ids == config.eos_token_ids);
        CHECK(again.num_nextn_predict_layers == config.num_nextn_predict_layers);
    };
    for (auto const& name : published_models) {
        CAPTURE(name);
        returns(read(name));
    }
    returns(parse_huggingface_config(parse_json(deepseek_r1)));
    for (char const* type : {"llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3"}) {
        CAPTURE(type);
        returns(parse_huggingface_config(json{{"model_type", type}}));
        for (char const* rope :
             {R"({"type": "linear", "factor": 2.5})", R"({"type": "dynamic", "factor": 2})",
              R"({"type": "llama3", "factor": 8, "original_max_position_embeddings": 64,
                  "low_freq_factor": 1.5, "high_freq_factor": 3})",
              R"({"type": "yarn", "factor": 40})",
              R"({"type": "yarn", "factor": 40, "original_max_position_embeddings": 64,
                  "beta_fast": 16, "beta_slow": 2, "mscale": 0.7, "mscale_all_dim": 0.9,
                  "attention_factor": 1.25, "truncate": false})"}) {
            CAPTURE(rope);
            returns(parse_huggingface_config(json{{"model_type", type},
                                                  {"rope_scaling", parse_json(rope)},
                                                  {"rope_theta", 12345.5},
                                                  {"eos_token_id", {1, 2}}}));
        }
    }
    returns({.decoder = with("llama-tiny", R"({"attention_bias": true})")});
    returns({.decoder = with("deepseek-v3-tiny",
                             R"({"attention_bias": true, "rope_interleave": false})")});
    returns({.decoder = {.num_key_value_heads = 2}});
}

TEST_CASE("format_huggingface_config: the older spelling, and the architecture's name") {
    auto const object = format_huggingface_config(read("llama-tiny"));
    CHECK(object["architectures"][0] == "LlamaForCausalLM");
    CHECK(object["torch_dtype"] == "float32");
    CHECK(object["rope_theta"] == 10000.0);
    CHECK(object["rope_scaling"]["rope_type"] == "llama3");
    CHECK_FALSE(object.contains("rope_parameters"));
    CHECK(format_huggingface_config(read("qwen2-tiny"))["rope_scaling"].is_null());
    CHECK(format_huggingface_config(read("qwen3-moe-tiny"))["num_experts"] == 8);
    CHECK(format_generation_config(read("llama-tiny"))["eos_token_id"] == 2);
    auto const several = format_generation_config({.eos_token_ids = {3, 4}});
    CHECK(several["eos_token_id"] == json{3, 4});
    CHECK(several["bos_token_id"].is_null());
}

TEST_CASE("format_huggingface_config: latent attention without experts") {
    auto config = read("deepseek-v3-tiny").decoder;
    config.n_routed_experts = 0;
    auto const object = format_huggingface_config({.decoder = config});
    CHECK(object["first_k_dense_replace"] == 3);  // published code then builds no expert
    auto const again = parse_huggingface_config(json::parse(object.dump())).decoder;
    CHECK(again.n_routed_experts == 0);
    CHECK(again.kv_lora_rank == 16);
}

TEST_CASE("format_huggingface_config: decoders that no published architecture describes") {
    auto const refused = [](decoder_config const& config) {
        return message_of<configuration_error>(
            [&] { format_huggingface_config({.decoder = config}); });
    };
    auto moe = read("qwen3-moe-tiny").decoder;
    CHECK(refused(moe).empty());
    moe.n_shared_experts = 1;
    CHECK(contains(refused(moe), "qwen3_moe has experts in every layer"));
    moe = read("qwen3-moe-tiny").decoder;
    moe.scoring_func = scoring_function::sigmoid;
    CHECK(contains(refused(moe), "softmax scores"));
    auto latent = read("deepseek-v3-tiny").decoder;
    latent.scoring_func = scoring_function::softmax;
    CHECK(contains(refused(latent), "deepseek_v3 has sigmoid scores"));
    latent = read("deepseek-v3-tiny").decoder;
    latent.attention_bias = true;
    CHECK(contains(refused(latent), "all biases or none"));
    decoder_config dense;
    dense.attention_output_bias = true;
    CHECK(contains(refused(dense), "no bias of the output alone"));
    dense = {};
    dense.rope_interleave = true;
    CHECK(contains(refused(dense), "half-rotated pairs"));
    dense = {};
    dense.vocab_size = 0;
    CHECK(contains(refused(dense), "positive vocab_size"));
    huggingface_config tokens;
    tokens.eos_token_ids = {512};
    CHECK_THROWS_AS(format_huggingface_config(tokens), configuration_error);
}
