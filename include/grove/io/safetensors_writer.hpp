// SPDX-License-Identifier: Apache-2.0
/// @file
/// Writing safetensors: one file, or shards with an index, byte for byte as the reference
/// implementation lays them out.
#pragma once

#include "grove/io/safetensors.hpp"

namespace grove::inline GROVE_ISA {

/// A tensor to be written.
struct safetensors_output {
    std::string name;
    safetensors_dtype dtype = safetensors_dtype::f32;  ///< F32 or BF16
    std::vector<index_t> extents;

    /// Number of elements.
    index_t size() const {
        index_t count = 1;
        for (index_t extent : extents) count *= extent;
        return count;
    }
    /// Bytes in the file.
    std::uint64_t bytes() const {
        return static_cast<std::uint64_t>(size()) * safetensors_bits(dtype) / 8;
    }
};

namespace detail {

/// Checks what is to be written and puts it into the format's order: wide types first, then names.
inline void prepare_outputs(std::vector<safetensors_output>& tensors) {
    std::set<std::string_view> names;
    for (auto const& tensor : tensors) {
        bool const writable =
            tensor.dtype == safetensors_dtype::f32 || tensor.dtype == safetensors_dtype::bf16;
        require<value_error>(writable, "write_safetensors", "expected F32 or BF16 for '",
                             tensor.name, "', got ", safetensors_name(tensor.dtype));
        bool const fresh = tensor.name != "__metadata__" && names.insert(tensor.name).second;
        require<value_error>(fresh, "write_safetensors", "expected each name once, got '",
                             tensor.name, "' again");
    }
    std::ranges::sort(tensors, [](auto const& a, auto const& b) {
        return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
    });
}

/// The length and the header of a file of these tensors, padded to 8 bytes.
inline std::string encode_safetensors_header(std::span<safetensors_output const> tensors) {
    std::string text = R"({"__metadata__":{"format":"pt"})";
    std::uint64_t position = 0;
    for (auto const& tensor : tensors) {
        ordered_json const entry{{"dtype", safetensors_name(tensor.dtype)},
                                 {"shape", tensor.extents},
                                 {"data_offsets", {position, position + tensor.bytes()}}};
        text += ',' + format_json(json(tensor.name)) + ':' + format_json(entry);
        position += tensor.bytes();
    }
    text += '}';
    text.append((8 - text.size() % 8) % 8, ' ');
    std::string bytes;
    append_number<std::uint64_t>(bytes, text.size());
    return bytes + text;
}

template <class Elements>
void write_elements(output_file& file, safetensors_output const& tensor, Elements&& elements) {
    constexpr std::size_t block = 1 << 20;
    auto const& values = elements(tensor);
    std::span<std::ranges::range_value_t<decltype(values)> const> const numbers(values);
    require<shape_error>(std::cmp_equal(numbers.size(), tensor.size()), "write_safetensors",
                         "expected ", tensor.size(), " elements of '", tensor.name, "', got ",
                         numbers.size());
    std::string bytes;
    for (std::size_t done = 0; done < numbers.size(); done += block) {
        bytes.clear();
        append_elements(bytes, tensor.dtype,
                        numbers.subspan(done, std::min(block, numbers.size() - done)));
        file.write(bytes);
    }
}

/// Writes a file of `tensors`, already in the format's order.
template <class Elements>
void write_tensors(output_file& file, std::span<safetensors_output const> tensors,
                   Elements& elements) {
    file.write(encode_safetensors_header(tensors));
    for (auto const& tensor : tensors) write_elements(file, tensor, elements);
}

/// Where to cut `tensors` into shards of at most `most` bytes: the first tensor of each, and the
/// end.
inline std::vector<std::size_t> shard_bounds(std::vector<safetensors_output> const& tensors,
                                             std::uint64_t most) {
    std::vector<std::size_t> bounds{0};
    std::uint64_t in_shard = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        std::uint64_t const bytes = tensors[i].bytes();
        if (i > bounds.back() && in_shard + bytes > most) {
            bounds.push_back(i);
            in_shard = 0;
        }
        in_shard += bytes;
    }
    bounds.push_back(tensors.size());
    return bounds;
}

inline std::string shard_name(std::size_t number, std::size_t count) {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", number, count);
    return name.data();
}

/// Removes a file that what was just written replaces.
inline void remove_replaced(std::filesystem::path const& path) {
    std::error_code reason;
    std::filesystem::remove(path, reason);
    require<io_error>(!reason, "write_safetensors", "expected to remove ", path,
                      ", which is replaced, got: ", reason.message());
}

}  // namespace detail

/// Replaces `path` by a safetensors file, atomically. `elements(tensor)` returns the numbers of one
/// tensor in row-major order (a vector or span of float or double) and is called once for each, in
/// the file's order. BF16 takes the nearest number, ties to even. Throws value_error for other
/// types and repeated names, shape_error for another number of elements, io_error.
/// ```
/// write_safetensors("w.safetensors", {{"w", safetensors_dtype::bf16, {2, 3}}},
///                   [&](safetensors_output const&) { return numbers; });
/// ```
template <class Elements>
void write_safetensors(std::filesystem::path const& path, std::vector<safetensors_output> tensors,
                       Elements&& elements) {
    detail::prepare_outputs(tensors);
    atomic_write(path,
                 [&](output_file& file) { detail::write_tensors(file, {tensors}, elements); });
}

/// Writes the weights of a model into `folder`: model.safetensors, or, where they have more than
/// `shard_bytes`, model-00001-of-….safetensors and model.safetensors.index.json. All shards are
/// complete on the storage device before the first takes its place; the old index goes before that
/// and the new one comes after, so that shards of two models are never read as one. Throws as
/// write_safetensors does.
template <class Elements>
void write_safetensors_folder(std::filesystem::path const& folder,
                              std::vector<safetensors_output> tensors, Elements&& elements,
                              std::uint64_t shard_bytes) {
    require<value_error>(shard_bytes > 0, "write_safetensors_folder",
                         "expected shards of at least 1 byte, got 0");
    detail::prepare_outputs(tensors);
    auto const bounds = detail::shard_bounds(tensors, shard_bytes);
    std::size_t const shards = bounds.size() - 1;
    auto const single = folder / "model.safetensors";
    auto const index_path = folder / "model.safetensors.index.json";
    if (shards == 1) {
        atomic_write(single,
                     [&](output_file& file) { detail::write_tensors(file, {tensors}, elements); });
        return detail::remove_replaced(index_path);
    }
    std::uint64_t total = 0;
    json weight_map;
    std::vector<std::unique_ptr<detail::temporary_file>> written;
    for (std::size_t i = 0; i < shards; ++i) {
        std::string const name = detail::shard_name(i + 1, shards);
        std::span<safetensors_output const> const part(&tensors[bounds[i]],
                                                       bounds[i + 1] - bounds[i]);
        for (auto const& tensor : part) {
            weight_map[tensor.name] = name;
            total += tensor.bytes();
        }
        auto& file = *written.emplace_back(std::make_unique<detail::temporary_file>(folder / name));
        detail::write_tensors(file.file(), part, elements);
        file.file().synchronize();
    }
    detail::remove_replaced(index_path);
    for (auto const& file : written) file->commit();
    json const index{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    atomic_write(index_path, [&](output_file& file) { file.write(format_json(index, 2) + '\n'); });
    detail::remove_replaced(single);
}

}  // namespace grove::inline GROVE_ISA
