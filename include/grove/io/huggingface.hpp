// SPDX-License-Identifier: Apache-2.0
/// @file
/// Decoders from folders of published models, and back: config.json, generation_config.json and
/// safetensors.
#pragma once

#include "grove/io/huggingface_check.hpp"
#include "grove/io/huggingface_config_writer.hpp"
#include "grove/io/safetensors_writer.hpp"
#include "grove/nn/decoder.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// Fills a parameter from the blocks of files that make it up, a few rows of at most `most`
/// elements at a time, in its own memory: nothing else may share that.
template <class B, class T>
void fill_from_files(tensor<B, T>& parameter, std::vector<block_source> const& blocks,
                     index_t most = fill_elements<T>) {
    index_t const columns = parameter.columns(), rows = parameter.size() / columns;
    index_t const step = std::max<index_t>(1, most / columns);
    require<value_error>(std::in_range<std::int32_t>(rows), "load_huggingface",
                         "expected parameters of at most 2³¹ − 1 rows, got ", rows);
    B& backend = parameter.backend();
    std::vector<T> part;
    std::vector<std::int32_t> indices;
    for (index_t row = 0; row < rows; row += step) {
        index_t const count = std::min(step, rows - row);
        part.resize(static_cast<std::size_t>(count * columns));
        for (auto const& [block, source] : blocks)
            with_elements<T>(*source.tensor, source.bytes(), [&](auto const& element) {
                copy_from_file(*block, element, row * columns, std::span<T>(part));
            });
        indices.resize(static_cast<std::size_t>(count));
        std::iota(indices.begin(), indices.end(), static_cast<std::int32_t>(row));
        auto const uploaded = backend.upload(std::span<T const>(part));
        auto const places = backend.upload(std::span<std::int32_t const>(indices));
        backend.write_rows(parameter.buffer(), uploaded, columns, places);
    }
    backend.synchronize();
}

/// Calls f(name, tensor&) for everything that a checkpoint may hold: parameters as decoder::visit
/// names them, and routers' biases under their names in files.
template <class B, class T, class Visit>
void visit_published(decoder<B, T>& model, Visit&& f) {
    model.visit([&](auto& p) { f(p.name, p.value); });
    model.visit_routers([&](auto& router) {
        std::string const& gate = router.gate.name;  // … .mlp.gate.weight
        f(gate.substr(0, gate.rfind('.')) + ".e_score_correction_bias",
          router.score_correction_bias);
    });
}

/// Throws configuration_error where a router's bias would be lost: files of softmax routers hold
/// none.
template <class B, class T>
void require_no_lost_bias(decoder<B, T>& model) {
    if (model.config().scoring_func == scoring_function::sigmoid) return;
    model.visit_routers([](auto& router) {
        for (T const bias : to_host(router.score_correction_bias))
            require<configuration_error>(bias == T(0), "save_huggingface",
                                         "expected softmax routers without biases, got ", bias);
    });
}

/// Where the tensors of a decoder, or their gradients, are; an empty tensor is all zeros.
template <class B, class T>
using tensors_by_name = std::map<std::string, tensor<B, T>>;

/// The elements of a file's tensor, from the parameters that make it up.
template <class B, class T>
std::vector<T> gather_published(published_tensor const& wanted,
                                tensors_by_name<B, T> const& parameters) {
    constexpr index_t tile = 32;
    index_t size = 1;
    for (index_t extent : wanted.extents) size *= extent;
    std::vector<T> result(static_cast<std::size_t>(size), T(0));
    for (auto const& block : wanted.blocks) {
        tensor<B, T> const& parameter = parameters.at(block.parameter);
        if (parameter.empty()) continue;
        std::vector<T> part(static_cast<std::size_t>(block.span()));
        B& backend = parameter.backend();
        backend.download(backend.slice(parameter.buffer(), block.offset, block.span()),
                         std::span<T>(part));
        auto const [outer, rows, columns] = block.extents;
        for (index_t i = 0; i < outer; ++i)
            for (index_t k = 0; k < columns; k += tile)
                for (index_t j = 0; j < rows; ++j) {
                    T const* const source =
                        part.data() + i * block.strides[0] + j * block.strides[1];
                    T* const target = result.data() + block.file_offset +
                                      i * block.file_strides[0] + j * block.file_strides[1];
                    for (index_t c = k; c < std::min(k + tile, columns); ++c)
                        target[c * block.file_strides[2]] = source[c];
                }
    }
    return result;
}

}  // namespace detail

/// What config.json and, where it exists, generation_config.json in `folder` say. Throws io_error,
/// and configuration_error for what grove does not compute.
inline huggingface_config read_huggingface_config(std::filesystem::path const& folder) {
    auto config = parse_huggingface_config(detail::read_small_json(folder / "config.json"));
    auto const generation = folder / "generation_config.json";
    std::error_code reason;
    if (std::filesystem::exists(generation, reason))
        apply_generation_config(config, detail::read_small_json(generation));
    return config;
}

/// The decoder in a folder of a published model: config.json and model.safetensors, or shards with
/// their index, in F64, F32, F16 or BF16, experts one by one or fused. Everything is compared by
/// name and shape before memory is taken for it. Throws io_error, listing what is missing,
/// unexpected or misshapen, and configuration_error as parse_huggingface_config does.
/// ```
/// auto model = load_huggingface("Qwen2.5-0.5B", backend);             // decoder<B, float>
/// auto eos = read_huggingface_config("Qwen2.5-0.5B").eos_token_ids;
/// ```
template <class T = float, class B>
std::unique_ptr<decoder<B, T>> load_huggingface(std::filesystem::path const& folder, B& backend) {
    auto const config = read_huggingface_config(folder);
    safetensors_folder const files(folder);
    detail::published_sources const sources(config, files, folder);
    auto model = std::make_unique<decoder<B, T>>(backend, config.decoder);
    detail::visit_published(*model, [&](std::string const& name, tensor<B, T>& parameter) {
        auto const blocks = sources.of(name);
        if (!blocks.empty()) detail::fill_from_files(parameter, blocks);
    });
    return model;
}

/// How save_huggingface writes.
struct huggingface_save_options {
    /// F32, or BF16 (nearest, ties to even; routers' biases stay F32, as in published files).
    safetensors_dtype dtype = safetensors_dtype::f32;
    std::uint64_t shard_bytes = 5'000'000'000;  ///< weights beyond this size are cut into files
    std::optional<index_t> bos_token_id{};      ///< token that begins a text
    std::vector<index_t> eos_token_ids{};       ///< tokens that end one
};

/// Writes config.json, generation_config.json and the weights of `model` into `folder`, which is
/// created where it is missing, each file atomically and weights last; saving what was loaded gives
/// the same bytes. Throws configuration_error where no published architecture computes the same,
/// value_error for other types, io_error.
template <class B, class T>
void save_huggingface(decoder<B, T>& model, std::filesystem::path const& folder,
                      huggingface_save_options const& options = {}) {
    huggingface_config config{.decoder = model.config(),
                              .bos_token_id = options.bos_token_id,
                              .eos_token_ids = options.eos_token_ids};
    config.dtype = options.dtype == safetensors_dtype::bf16 ? "bfloat16" : "float32";
    std::string const described = format_json(format_huggingface_config(config), 2) + '\n';
    std::string const generation = format_json(format_generation_config(config), 2) + '\n';

    std::map<std::string, published_tensor> layout;
    for (auto& tensor : published_layout(model.config())) layout.emplace(tensor.name, tensor);
    detail::tensors_by_name<B, T> parameters;
    detail::visit_published(model, [&](std::string const& name, tensor<B, T>& parameter) {
        parameters.emplace(name, parameter);
    });
    detail::require_no_lost_bias(model);
    std::vector<safetensors_output> outputs;
    for (auto const& [name, tensor] : layout)
        outputs.push_back(
            {name,
             name.ends_with(".e_score_correction_bias") ? safetensors_dtype::f32 : options.dtype,
             tensor.extents});
    create_folder(folder);
    atomic_write(folder / "config.json", [&](output_file& file) { file.write(described); });
    atomic_write(folder / "generation_config.json",
                 [&](output_file& file) { file.write(generation); });
    write_safetensors_folder(
        folder, std::move(outputs),
        [&](safetensors_output const& output) {
            return detail::gather_published(layout.at(output.name), parameters);
        },
        options.shard_bytes);
}

/// What published_tensors returns.
enum class published_part { values, gradients };

/// A tensor under the name and in the layout of published files.
template <class T>
struct published_values {
    std::string name;
    std::vector<index_t> extents;
    std::vector<T> elements;  ///< row-major
};

/// All weights of a decoder, or their gradients (zeros where there is none yet; routers' biases
/// have none and are left out), under the names and in the layout of published files.
template <class B, class T>
std::vector<published_values<T>> published_tensors(decoder<B, T>& model, published_part part) {
    detail::tensors_by_name<B, T> parameters;
    if (part == published_part::values) {
        detail::visit_published(model, [&](std::string const& name, tensor<B, T>& parameter) {
            parameters.emplace(name, parameter);
        });
    } else {
        model.visit([&](auto& p) { parameters.emplace(p.name, p.gradient); });
    }
    std::vector<published_values<T>> result;
    for (auto const& tensor : published_layout(model.config()))
        if (parameters.contains(tensor.blocks.front().parameter))
            result.push_back(
                {tensor.name, tensor.extents, detail::gather_published(tensor, parameters)});
    return result;
}

}  // namespace grove::inline GROVE_ISA
