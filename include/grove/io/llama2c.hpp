// SPDX-License-Identifier: Apache-2.0
/// @file
/// Models in the layout of llama2.c (version 0): seven int32 of extents, then all weights as float.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>

#include "grove/io/bytes.hpp"
#include "grove/io/file.hpp"
#include "grove/io/huggingface_layout.hpp"
#include "grove/nn/decoder.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// The header: throws io_error for extents that no model has.
inline decoder_config read_llama2c_header(byte_cursor& file) {
    auto const positive = [&](char const* name) {
        auto const value = file.number<std::int32_t>();
        require<io_error>(value > 0 && value <= (1 << 24), "llama2c", "expected a positive ", name,
                          ", got ", value);
        return static_cast<index_t>(value);
    };
    decoder_config config{.rope_interleave = true, .rms_norm_eps = 1e-5};
    config.hidden_size = positive("dim");
    config.intermediate_size = positive("hidden_dim");
    config.num_hidden_layers = positive("n_layers");
    config.num_attention_heads = positive("n_heads");
    config.num_key_value_heads = positive("n_kv_heads");
    auto const vocabulary = static_cast<index_t>(file.number<std::int32_t>());
    require<io_error>(vocabulary != 0 && std::abs(vocabulary) <= (1 << 24), "llama2c",
                      "expected a vocab_size, got ", vocabulary);
    config.vocab_size = std::abs(vocabulary);
    config.tie_word_embeddings = vocabulary > 0;  // a negative size announces a classifier
    config.max_position_embeddings = positive("seq_len");
    config.validate();
    return config;
}

/// Bytes of the whole file, in a number that hostile extents do not overflow. Behind the weights
/// lie tables of cosines and sines, which are computed anew, and then the classifier.
inline double llama2c_size(decoder_config const& config) {
    auto const number = [](index_t n) { return static_cast<double>(n); };
    double const dim = number(config.hidden_size), vocabulary = number(config.vocab_size);
    double const keys = number(config.num_key_value_heads * config.head_width());
    double const layer = dim * (2 + 2 * dim + 2 * keys + 3 * number(config.intermediate_size));
    double const tables = number(config.max_position_embeddings * config.head_width());
    double const heads = config.tie_word_embeddings ? 1 : 2;
    return 4 *
           (7 + heads * vocabulary * dim + number(config.num_hidden_layers) * layer + dim + tables);
}

/// The file's order: each kind of weight for all layers, under the names of published tensors.
inline std::vector<std::string> llama2c_order(decoder_config const& config) {
    std::vector<std::string> names{"model.embed_tokens.weight"};
    for (char const* kind : {"input_layernorm", "self_attn.q_proj", "self_attn.k_proj",
                             "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
                             "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"})
        for (index_t i = 0; i < config.num_hidden_layers; ++i)
            names.push_back("model.layers." + std::to_string(i) + "." + kind + ".weight");
    names.emplace_back("model.norm.weight");
    return names;
}

}  // namespace detail

/// The decoder in a llama2.c file; pairs of columns rotate beside each other, and a negative
/// vocab_size announces a head of its own. Throws io_error for a file of another size than its
/// header says, before memory is taken for the weights; configuration_error for contradictory
/// extents.
/// @code
/// auto model = grove::load_llama2c("stories260K.bin", backend);   // decoder<B, float>
/// @endcode
template <class T = float, class B>
std::unique_ptr<decoder<B, T>> load_llama2c(std::filesystem::path const& path, B& backend) {
    input_file const file(path);
    std::string header(7 * sizeof(std::int32_t), '\0');
    file.read(0, std::as_writable_bytes(std::span(header)));
    byte_cursor cursor(header, "llama2c");
    decoder_config const config = detail::read_llama2c_header(cursor);

    double const expected = detail::llama2c_size(config);
    require<io_error>(static_cast<double>(file.size()) == expected, "llama2c", "expected ", path,
                      " to hold ", expected, " bytes, got ", file.size());
    std::map<std::string, published_tensor> layout;
    for (auto& tensor : published_layout(config)) layout.emplace(tensor.name, tensor);

    std::map<std::string, std::vector<T>> values;
    std::uint64_t offset = header.size();
    auto const read = [&](published_tensor const& tensor) {
        std::size_t size = 1;
        for (index_t extent : tensor.extents) size *= static_cast<std::size_t>(extent);
        std::vector<float> elements(size);
        file.read(offset, std::as_writable_bytes(std::span(elements)));
        offset += elements.size() * sizeof(float);
        for (auto const& block : tensor.blocks) {
            auto& parameter = values[block.parameter];
            auto const end = static_cast<std::size_t>(block.offset + block.span());
            if (parameter.size() < end) parameter.resize(end);
            auto const element = [&](index_t i) {
                return static_cast<T>(elements[static_cast<std::size_t>(i)]);
            };
            detail::copy_from_file(block, element, 0, std::span<T>(parameter));
        }
    };
    for (auto const& name : detail::llama2c_order(config)) read(layout.at(name));
    offset = file.size() -
             static_cast<std::uint64_t>(config.vocab_size * config.hidden_size) * sizeof(float);
    if (!config.tie_word_embeddings) read(layout.at("lm_head.weight"));

    auto model = std::make_unique<decoder<B, T>>(backend, config);
    model->visit([&](auto& p) {
        p.value = from_host(backend, p.value.extents(), values.at(p.name));
        values.erase(p.name);
    });
    return model;
}

}  // namespace grove::inline GROVE_ISA
