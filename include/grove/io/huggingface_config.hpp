// SPDX-License-Identifier: Apache-2.0
/// @file
/// config.json of published language models as a decoder_config, and back. What grove's decoder
/// does not compute is refused, never passed over.
#pragma once

#include "grove/io/huggingface_defaults.hpp"
#include "grove/io/json.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// Reads the fields of one config.json. Numbers are bounded so that products of extents cannot
/// overflow; whether a model of this size exists is for its weights to show.
class huggingface_config_reader {
public:
    explicit huggingface_config_reader(json const& document) : fields_(document) {}

    huggingface_config read() {
        model_family family{};
        std::string type;
        fields_.required("model_type", type);
        fields_.choice<model_family>("model_type", family,
                                     {{"llama", model_family::llama},
                                      {"qwen2", model_family::qwen2},
                                      {"qwen3", model_family::qwen3},
                                      {"qwen3_moe", model_family::qwen3_moe},
                                      {"deepseek_v3", model_family::deepseek_v3}});
        refuse_unsupported();
        result_ = published_defaults(family);
        read_common(family);
        if (family == model_family::qwen3_moe) read_qwen3_moe();
        if (family == model_family::deepseek_v3) read_deepseek_v3();
        read_rope();
        read_tokens();
        check(result_.decoder.max_position_embeddings * result_.decoder.rope_width() <= most_angles,
              "at most ", most_angles, " rotary angles, got max_position_embeddings ",
              result_.decoder.max_position_embeddings, " and ", result_.decoder.rope_width(),
              " rotated columns");
        result_.decoder.validate();
        return std::move(result_);
    }
    /// The tokens in a field that holds one, a list of them, or null.
    static std::vector<index_t> read_token_list(fields& object, std::string const& name) {
        auto const value = maybe<json>(object, name);
        if (!value) return {};
        std::vector<index_t> tokens(1);
        if (value->is_array()) {
            object.required(name, tokens);
        } else {
            object.required(name, tokens[0]);
        }
        return tokens;
    }
    /// Throws configuration_error for tokens outside the vocabulary.
    static void check_tokens(huggingface_config const& config) {
        auto const inside = [&](std::string_view name, index_t token) {
            check(token >= 0 && token < config.decoder.vocab_size, name, " from 0 to ",
                  config.decoder.vocab_size - 1, ", got ", token);
        };
        if (config.bos_token_id) inside("bos_token_id", *config.bos_token_id);
        for (index_t const token : config.eos_token_ids) inside("eos_token_id", token);
    }

private:
    static constexpr index_t most_columns = index_t{1} << 20;
    static constexpr index_t most_heads = index_t{1} << 14;
    static constexpr index_t most_rows = index_t{1} << 24;
    static constexpr index_t most_layers = index_t{1} << 16;
    static constexpr index_t most_angles = index_t{1} << 31;

    template <class... Parts>
    static void check(bool condition, Parts const&... parts) {
        require<configuration_error>(condition, "huggingface_config", "expected ", parts...);
    }
    void integer(std::string const& name, index_t& destination, index_t least, index_t most) {
        fields_.optional(name, destination);
        check(destination >= least && destination <= most, name, " from ", least, " to ", most,
              ", got ", destination);
    }
    static void real(fields& object, std::string const& name, double& destination, double least,
                     double most) {
        object.optional(name, destination);
        check(destination >= least && destination <= most, name, " from ", least, " to ", most,
              ", got ", destination);
    }
    /// The value of a field, or none where it is absent or null.
    template <class T>
    static std::optional<T> maybe(fields& object, std::string const& name) {
        std::optional<T> value;
        object.optional(name, value);
        return value;
    }
    /// An integer from 1 to `most`; 0 where the field is null; unchanged where it is absent.
    static void nullable(fields& object, std::string const& name, index_t& destination,
                         index_t most) {
        if (!object.contains(name)) return;
        auto const value = maybe<index_t>(object, name);
        check(!value || (*value >= 1 && *value <= most), name, " from 1 to ", most, ", got ",
              value.value_or(0));
        destination = value.value_or(0);
    }
    /// Refuses a field that has another value than the one grove computes.
    template <class T>
    void only(std::string const& name, T const& supported) {
        auto const value = maybe<T>(fields_, name).value_or(supported);
        check(value == supported, name, " to be ", describe(json(supported)),
              ", the only one supported, got ", describe(json(value)));
    }

    void refuse_unsupported() {
        only<std::string>("hidden_act", "silu");
        only("mlp_bias", false);
        only("attention_dropout", 0.0);
        only("partial_rotary_factor", 1.0);
        check(!maybe<json>(fields_, "quantization_config"),
              "weights that are not quantized, got a quantization_config");
        bool const sliding = maybe<bool>(fields_, "use_sliding_window").value_or(false) &&
                             maybe<index_t>(fields_, "sliding_window");
        check(!sliding, "attention to all tokens, got a sliding window in use");
        for (auto const& kind : maybe<std::vector<std::string>>(fields_, "layer_types")
                                    .value_or(std::vector<std::string>{}))
            check(kind == "full_attention", "layer_types to hold full_attention alone, got ",
                  describe(json(kind)));
    }
    void read_common(model_family family) {
        decoder_config& c = result_.decoder;
        integer("vocab_size", c.vocab_size, 1, most_rows);
        integer("hidden_size", c.hidden_size, 1, most_columns);
        integer("intermediate_size", c.intermediate_size, 1, most_columns);
        integer("num_hidden_layers", c.num_hidden_layers, 1, most_layers);
        integer("num_attention_heads", c.num_attention_heads, 1, most_heads);
        integer("max_position_embeddings", c.max_position_embeddings, 1, most_rows);
        real(fields_, "rms_norm_eps", c.rms_norm_eps, 0, 1);
        real(fields_, "initializer_range", c.initializer_range, 0, 1);
        fields_.optional("tie_word_embeddings", c.tie_word_embeddings);
        read_heads(family);
        if (family != model_family::qwen2) {
            fields_.optional("attention_bias", c.attention_bias);
            c.attention_output_bias = c.attention_bias;
        }
        result_.dtype = maybe<std::string>(fields_, "torch_dtype").value_or("");
        result_.dtype = maybe<std::string>(fields_, "dtype").value_or(result_.dtype);
    }
    void read_heads(model_family family) {
        decoder_config& c = result_.decoder;
        nullable(fields_, "num_key_value_heads", c.num_key_value_heads, most_heads);
        if (c.num_key_value_heads == 0) c.num_key_value_heads = c.num_attention_heads;
        // Latent attention has widths of its own, and files repeat one of them as head_dim.
        if (family == model_family::deepseek_v3) return;
        nullable(fields_, "head_dim", c.head_dim, most_heads);
    }
    void read_experts(std::string const& number, index_t least) {
        decoder_config& c = result_.decoder;
        check(!(fields_.contains(number) && fields_.contains("num_local_experts")), "one of ",
              number, " and num_local_experts, got both");
        integer(number, c.n_routed_experts, least, most_layers);
        integer("num_local_experts", c.n_routed_experts, least, most_layers);
        integer("num_experts_per_tok", c.num_experts_per_tok, 1, most_layers);
        integer("moe_intermediate_size", c.moe_intermediate_size, 1, most_columns);
        fields_.optional("norm_topk_prob", c.norm_topk_prob);
    }
    void read_qwen3_moe() {
        only<index_t>("decoder_sparse_step", 1);
        check(maybe<std::vector<index_t>>(fields_, "mlp_only_layers")
                  .value_or(std::vector<index_t>{})
                  .empty(),
              "no mlp_only_layers, got some");
        read_experts("num_experts", 1);
    }
    void read_deepseek_v3() {
        decoder_config& c = result_.decoder;
        only<index_t>("moe_layer_freq", 1);
        only<std::string>("scoring_func", "sigmoid");
        only<std::string>("topk_method", "noaux_tc");
        check(c.num_key_value_heads == c.num_attention_heads,
              "as many num_key_value_heads as num_attention_heads, got ", c.num_key_value_heads,
              " and ", c.num_attention_heads);
        read_experts("n_routed_experts", 0);
        integer("n_shared_experts", c.n_shared_experts, 0, 1024);
        integer("first_k_dense_replace", c.first_k_dense_replace, 0, most_layers);
        integer("n_group", c.n_group, 1, most_layers);
        integer("topk_group", c.topk_group, 1, most_layers);
        real(fields_, "routed_scaling_factor", c.routed_scaling_factor, 0, 1e6);
        integer("kv_lora_rank", c.kv_lora_rank, 1, most_columns);
        nullable(fields_, "q_lora_rank", c.q_lora_rank, most_columns);
        integer("qk_nope_head_dim", c.qk_nope_head_dim, 1, most_heads);
        integer("qk_rope_head_dim", c.qk_rope_head_dim, 1, most_heads);
        integer("v_head_dim", c.v_head_dim, 1, most_heads);
        fields_.optional("rope_interleave", c.rope_interleave);
        integer("num_nextn_predict_layers", result_.num_nextn_predict_layers, 0, most_layers);
        integer("num_mtp_layers", result_.num_nextn_predict_layers, 0, most_layers);
    }

    void read_rope() {
        decoder_config& c = result_.decoder;
        real(fields_, "rope_theta", c.rope_theta, 1.001, 1e12);
        auto const older = maybe<json>(fields_, "rope_scaling");
        auto const newer = maybe<json>(fields_, "rope_parameters");
        check(!(older && newer), "one of rope_scaling and rope_parameters, got both");
        if (!older && !newer) return;
        json const& object = older ? *older : *newer;
        fields rope(object, older ? "rope_scaling" : "rope_parameters");
        std::optional<double> partial;
        real(rope, "rope_theta", c.rope_theta, 1.001, 1e12);
        rope.optional("partial_rotary_factor", partial);
        check(partial.value_or(1.0) == 1.0,
              "partial_rotary_factor to be 1, the only one supported");
        read_rope_type(rope);
        read_rope_scaling(rope);
        rope.done();
    }
    void read_rope_type(fields& rope) {
        auto const older = maybe<std::string>(rope, "type");
        auto const newer = maybe<std::string>(rope, "rope_type");
        check(!older || !newer || *older == *newer,
              "rope type and rope_type to be equal, got others");
        std::initializer_list<std::pair<std::string_view, rope_type>> const types{
            {"default", rope_type::standard},
            {"linear", rope_type::linear},
            {"dynamic", rope_type::dynamic},
            {"llama3", rope_type::llama3},
            {"yarn", rope_type::yarn}};
        if (older || newer)
            rope.choice(newer ? "rope_type" : "type", result_.decoder.rope_scaling.type, types);
    }
    void read_rope_scaling(fields& rope) {
        rope_scaling_options& scaling = result_.decoder.rope_scaling;
        if (scaling.type == rope_type::standard) return;
        rope.required("factor", scaling.factor);
        real(rope, "factor", scaling.factor, 1, 1e6);
        if (scaling.type == rope_type::llama3 || scaling.type == rope_type::yarn)
            nullable(rope, "original_max_position_embeddings",
                     scaling.original_max_position_embeddings, most_rows);
        if (scaling.type == rope_type::llama3) {
            rope.required("low_freq_factor", scaling.low_freq_factor);
            rope.required("high_freq_factor", scaling.high_freq_factor);
            real(rope, "low_freq_factor", scaling.low_freq_factor, 0, 1e6);
            real(rope, "high_freq_factor", scaling.high_freq_factor, 0, 1e6);
        }
        if (scaling.type == rope_type::yarn) {
            real(rope, "beta_fast", scaling.beta_fast, 0, 1e6);
            real(rope, "beta_slow", scaling.beta_slow, 0, 1e6);
            real(rope, "mscale", scaling.mscale, 0, 1e3);
            real(rope, "mscale_all_dim", scaling.mscale_all_dim, 0, 1e3);
            scaling.attention_factor = maybe<double>(rope, "attention_factor").value_or(0.0);
            check(scaling.attention_factor >= 0 && scaling.attention_factor <= 1e3,
                  "attention_factor from 0 to 1000, got ", scaling.attention_factor);
            rope.optional("truncate", scaling.truncate);
        }
    }

    void read_tokens() {
        fields_.optional("bos_token_id", result_.bos_token_id);
        if (fields_.contains("eos_token_id"))
            result_.eos_token_ids = read_token_list(fields_, "eos_token_id");
        check_tokens(result_);
    }

    fields fields_;
    huggingface_config result_;
};

}  // namespace detail

/// Reads a config.json of model_type llama, qwen2, qwen3, qwen3_moe or deepseek_v3, in the older
/// spelling (torch_dtype, rope_theta, rope_scaling) or the newer one (dtype, rope_parameters).
/// Absent fields take the published class's default. Throws configuration_error for anything that
/// grove's decoder does not compute, and for values that cannot be.
inline huggingface_config parse_huggingface_config(json const& document) {
    return detail::huggingface_config_reader(document).read();
}

/// Takes the tokens that a generation_config.json names, which go before those of config.json.
/// Throws configuration_error.
inline void apply_generation_config(huggingface_config& config, json const& document) {
    fields object(document, "generation_config");
    std::optional<index_t> first;
    object.optional("bos_token_id", first);
    if (first) config.bos_token_id = first;
    auto const tokens = detail::huggingface_config_reader::read_token_list(object, "eos_token_id");
    if (!tokens.empty()) config.eos_token_ids = tokens;
    detail::huggingface_config_reader::check_tokens(config);
}

}  // namespace grove::inline GROVE_ISA
