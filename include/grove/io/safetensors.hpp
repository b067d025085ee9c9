// SPDX-License-Identifier: Apache-2.0
/// @file
/// Reading safetensors: one file, or the folder of a published model with all its shards.
#pragma once

#include <sys/mman.h>

#include <memory>

#include "grove/io/safetensors_values.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// A file's content in memory, read by the system when it is touched.
class mapped_file {
public:
    explicit mapped_file(std::filesystem::path const& path) {
        descriptor const opened("safetensors", path);
        struct ::stat status {};
        if (::fstat(opened.number(), &status) != 0) fail_system("safetensors", "open", path);
        require<io_error>(S_ISREG(status.st_mode), "safetensors", "expected ", path,
                          " to be a regular file, got something else");
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) return;
        void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, opened.number(), 0);
        if (address == MAP_FAILED) fail_system("safetensors", "map", path);
        address_ = static_cast<std::byte*>(address);
    }
    mapped_file(mapped_file&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    mapped_file& operator=(mapped_file other) noexcept {
        std::swap(address_, other.address_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~mapped_file() {
        if (address_ != nullptr) ::munmap(address_, size_);
    }
    std::span<std::byte const> bytes() const { return {address_, size_}; }

private:
    std::byte* address_ = nullptr;
    std::size_t size_ = 0;
};

/// A JSON file beside the weights; throws io_error where it is larger than any honest one.
inline json read_small_json(std::filesystem::path const& path) {
    std::uint64_t const size = input_file(path).size();
    require<io_error>(size <= max_safetensors_header, "safetensors", "expected ", path,
                      " to have at most ", max_safetensors_header, " bytes, got ", size);
    return read_json(path);
}

}  // namespace detail

/// A safetensors file, mapped into memory. The constructor checks its header to the last byte;
/// elements are converted when asked for. Every failure is an io_error. The file must not be
/// shortened while it is open.
/// ```
/// safetensors_file file("model.safetensors");
/// std::vector<float> norm = file.get<float>("model.norm.weight");
/// ```
class safetensors_file {
public:
    explicit safetensors_file(std::filesystem::path path)
        : path_(std::move(path)),
          content_(path_),
          header_(parse_safetensors_header(content_.bytes(), path_.string())) {
        for (std::size_t i = 0; i < header_.tensors.size(); ++i)
            by_name_.emplace(header_.tensors[i].name, i);
    }

    std::filesystem::path const& path() const { return path_; }
    std::map<std::string, std::string> const& metadata() const { return header_.metadata; }
    /// All tensors, in the order of their bytes.
    std::vector<safetensors_tensor> const& tensors() const { return header_.tensors; }

    /// The tensor of this name, or null.
    safetensors_tensor const* find(std::string_view name) const {
        auto const at = by_name_.find(name);
        return at == by_name_.end() ? nullptr : &header_.tensors[at->second];
    }
    /// The tensor of this name; throws where there is none.
    safetensors_tensor const& tensor(std::string const& name) const {
        safetensors_tensor const* const found = find(name);
        require<io_error>(found != nullptr, "safetensors", "expected ", path_, " to hold ",
                          detail::quote_name(name), ", got no such tensor");
        return *found;
    }
    /// The bytes of a tensor of this file; they live as long as the file object.
    std::span<std::byte const> bytes(safetensors_tensor const& tensor) const {
        return content_.bytes().subspan(header_.data + tensor.begin, tensor.end - tensor.begin);
    }
    /// The elements of a tensor, in row-major order. Floating-point T take F64, F32, F16 and BF16,
    /// integers I64 and I32 where every element fits.
    template <class T>
    std::vector<T> get(std::string const& name) const {
        std::vector<T> elements(static_cast<std::size_t>(tensor(name).size()));
        get_into(name, std::span<T>(elements));
        return elements;
    }
    /// The same into `destination`; throws shape_error where its size is another.
    template <class T>
    void get_into(std::string const& name, std::span<T> destination) const {
        safetensors_tensor const& source = tensor(name);
        require<shape_error>(std::cmp_equal(destination.size(), source.size()), "safetensors",
                             "expected room for the ", source.size(), " elements of '", name,
                             "', got ", destination.size());
        detail::with_elements<T>(source, bytes(source).data(), [&](auto const& element) {
            for (std::size_t i = 0; i < destination.size(); ++i)
                destination[i] = element(static_cast<index_t>(i));
        });
    }

private:
    std::filesystem::path path_;
    detail::mapped_file content_;
    safetensors_header header_;
    std::map<std::string, std::size_t, std::less<>> by_name_;
};

/// Which file of a sharded model holds which tensor: the "weight_map" of
/// model.safetensors.index.json. Throws io_error for anything but plain names of files.
inline std::map<std::string, std::string> parse_safetensors_index(json const& index) {
    auto const check = [](bool condition, auto const&... parts) {
        require<io_error>(condition, "safetensors", "expected the index ", parts...);
    };
    check(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
          "to hold an object \"weight_map\", got none");
    std::map<std::string, std::string> shards;
    for (auto const& [name, shard] : index["weight_map"].items()) {
        check(shard.is_string(), "to name the file of ", detail::quote_name(name), ", got ",
              detail::describe(shard));
        auto const& file = shard.get_ref<std::string const&>();
        bool const plain = !file.empty() && file != "." && file != ".." &&
                           file.find_first_of(std::string_view("/\\\0", 3)) == file.npos;
        check(plain, "to name files of its own folder, got ", detail::quote_name(file));
        shards.emplace(name, file);
    }
    return shards;
}

/// The weights of a published model: model.safetensors, or the shards that
/// model.safetensors.index.json names. Everything is opened and checked at once, and every failure
/// is an io_error: both kinds or none, a missing shard, a tensor that is not where the index says.
class safetensors_folder {
public:
    explicit safetensors_folder(std::filesystem::path const& folder) {
        auto const single = folder / "model.safetensors";
        auto const index = folder / "model.safetensors.index.json";
        bool const has_single = exists(single), has_index = exists(index);
        require<io_error>(has_single != has_index, "safetensors", "expected ", folder,
                          " to hold either model.safetensors or model.safetensors.index.json, got ",
                          has_single ? "both" : "neither");
        if (has_single) {
            files_.emplace_back(single);
        } else {
            open_shards(folder, parse_safetensors_index(detail::read_small_json(index)));
        }
        for (auto const& file : files_)
            for (auto const& tensor : file.tensors())
                tensors_.emplace(tensor.name, source{&file, &tensor});
    }
    safetensors_folder(safetensors_folder const&) = delete;
    safetensors_folder& operator=(safetensors_folder const&) = delete;

    /// A tensor and the file that holds it.
    struct source {
        safetensors_file const* file;
        safetensors_tensor const* tensor;

        std::byte const* bytes() const { return file->bytes(*tensor).data(); }
    };
    /// All tensors by name.
    std::map<std::string, source, std::less<>> const& tensors() const { return tensors_; }

private:
    static bool exists(std::filesystem::path const& path) {
        std::error_code reason;
        return std::filesystem::exists(path, reason);
    }
    void open_shards(std::filesystem::path const& folder,
                     std::map<std::string, std::string> const& shards) {
        std::set<std::string> names;
        for (auto const& [tensor, shard] : shards) names.insert(shard);
        files_.reserve(names.size());
        for (auto const& name : names) {
            auto const& file = files_.emplace_back(folder / name);
            for (auto const& tensor : file.tensors()) {
                auto const at = shards.find(tensor.name);
                require<io_error>(at != shards.end() && at->second == name, "safetensors",
                                  "expected the index of ", folder, " to place ",
                                  detail::quote_name(tensor.name), " in ", name,
                                  ", where it is, got another file or none");
            }
        }
        for (auto const& [tensor, shard] : shards) {
            auto const file = std::ranges::find(files_, folder / shard, &safetensors_file::path);
            file->tensor(tensor);
        }
    }

    std::vector<safetensors_file> files_;
    std::map<std::string, source, std::less<>> tensors_;
};

}  // namespace grove::inline GROVE_ISA
