// SPDX-License-Identifier: Apache-2.0
/// @file
/// What a safetensors file says about itself, read without trust: 8 bytes with the length of a JSON
/// header, the header, and the tensors' bytes without gaps.
/// Format: https://github.com/huggingface/safetensors
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "grove/core/shape.hpp"
#include "grove/io/bytes.hpp"
#include "grove/io/json.hpp"

namespace grove::inline GROVE_ISA {

/// Element types of safetensors files, in the format's own order (by alignment).
enum class safetensors_dtype {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64,
};

namespace detail {

struct safetensors_dtype_entry {
    std::string_view name;
    std::uint64_t bits;
};
/// By safetensors_dtype.
inline constexpr std::array<safetensors_dtype_entry, 20> safetensors_dtypes{
    {{"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
     {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
     {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
     {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

/// A name out of a hostile file for an error message: escaped and short.
inline std::string quote_name(std::string const& name) { return describe(json(name)); }

}  // namespace detail

/// The name that files use, such as "BF16".
inline std::string_view safetensors_name(safetensors_dtype dtype) {
    return detail::safetensors_dtypes[static_cast<std::size_t>(dtype)].name;
}
/// Bits of one element.
inline std::uint64_t safetensors_bits(safetensors_dtype dtype) {
    return detail::safetensors_dtypes[static_cast<std::size_t>(dtype)].bits;
}

/// Where a tensor lies in a safetensors file.
struct safetensors_tensor {
    std::string name;
    safetensors_dtype dtype = safetensors_dtype::f32;
    std::vector<index_t> extents;  ///< outermost first; empty: one element
    std::uint64_t begin = 0;       ///< first byte, counted from safetensors_header::data …
    std::uint64_t end = 0;         ///< … and the one behind the last

    /// Number of elements.
    index_t size() const {
        return static_cast<index_t>((end - begin) * 8 / safetensors_bits(dtype));
    }
};

/// The header of a safetensors file.
struct safetensors_header {
    std::map<std::string, std::string> metadata;  ///< what stands under "__metadata__"
    std::vector<safetensors_tensor> tensors;      ///< in the order of their bytes
    std::uint64_t data = 0;                       ///< where the tensors' bytes begin in the file
};

/// Longest header that is read: the limit of the reference implementation.
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;

namespace detail {

/// Builds a header from the events of a JSON parser, so that nothing is ever held but what belongs
/// there. Throws io_error at the first thing that does not.
class safetensors_header_builder final : public json::json_sax_t {
public:
    explicit safetensors_header_builder(std::string_view source) : source_(source) {}

    safetensors_header take() { return std::move(header_); }

    bool null() override { unexpected("null"); }
    bool boolean(bool) override { unexpected("true or false"); }
    bool number_integer(number_integer_t) override { unexpected("a number below 0"); }
    bool number_float(number_float_t, string_t const&) override {
        unexpected("a number that is not an integer in range");
    }
    bool binary(binary_t&) override { unexpected("bytes"); }

    bool number_unsigned(number_unsigned_t number) override {
        if (place_ != place::numbers) unexpected("a number");
        check(std::in_range<index_t>(number), "numbers of at most 63 bits, got ", number);
        check(static_cast<int>(numbers_.size()) < shape::max_rank, "at most ", shape::max_rank,
              " extents, got more");
        numbers_.push_back(static_cast<index_t>(number));
        return true;
    }
    bool string(string_t& text) override {
        if (place_ == place::metadata) {
            header_.metadata[key_] = text;
        } else if (place_ == place::tensor && key_ == "dtype") {
            dtype_ = find_dtype(text);
        } else {
            unexpected("a string");
        }
        return true;
    }
    bool start_object(std::size_t) override {
        if (place_ == place::document) {
            place_ = place::names;
        } else if (place_ == place::names) {
            place_ = name_ == "__metadata__" ? place::metadata : place::tensor;
            keys_.clear();
        } else {
            unexpected("an object");
        }
        return true;
    }
    bool key(string_t& key) override {
        bool const fresh = (place_ == place::names ? names_ : keys_).insert(key).second;
        check(fresh, "each name once, got ", quote_name(key), " again");
        if (place_ == place::names) {
            name_ = key;
        } else {
            bool const known = key == "dtype" || key == "shape" || key == "data_offsets";
            check(place_ == place::metadata || known, "dtype, shape and data_offsets, got ",
                  quote_name(key));
            key_ = key;
        }
        return true;
    }
    bool end_object() override {
        if (place_ == place::tensor) add_tensor();
        place_ = place_ == place::names ? place::document : place::names;
        return true;
    }
    bool start_array(std::size_t) override {
        if (place_ != place::tensor || key_ == "dtype") unexpected("an array");
        place_ = place::numbers;
        numbers_.clear();
        return true;
    }
    bool end_array() override {
        (key_ == "shape" ? extents_ : offsets_) = numbers_;
        place_ = place::tensor;
        return true;
    }
    bool parse_error(std::size_t position, std::string const&,
                     nlohmann::detail::exception const&) override {
        fail<io_error>("safetensors", "expected the header of ", source_,
                       " to be JSON in UTF-8, got a mistake at byte ", position);
    }

private:
    enum class place { document, names, metadata, tensor, numbers };

    template <class... Parts>
    void check(bool condition, Parts const&... parts) const {
        if (!condition) fail<io_error>("safetensors", "expected ", here(), " to have ", parts...);
    }
    [[noreturn]] void unexpected(std::string_view kind) const {
        std::string_view const due =
            place_ == place::names || place_ == place::document ? "an object"
            : place_ == place::numbers                          ? "integers ≥ 0"
            : place_ == place::metadata || key_ == "dtype"      ? "a string"
                                                                : "an array of integers";
        fail<io_error>("safetensors", "expected ", here(), " to hold ", due, ", got ", kind);
    }
    /// The entry that is being read, for messages.
    std::string here() const {
        std::string const header = "the header of " + std::string(source_);
        if (place_ == place::document || name_.empty()) return header;
        std::string const entry = quote_name(name_) + " in " + header;
        return place_ == place::names || key_.empty() ? entry : quote_name(key_) + " of " + entry;
    }
    safetensors_dtype find_dtype(std::string const& name) const {
        auto const at = std::ranges::find(safetensors_dtypes, name, &safetensors_dtype_entry::name);
        check(at != safetensors_dtypes.end(), "a known dtype, got ", quote_name(name));
        return static_cast<safetensors_dtype>(at - safetensors_dtypes.begin());
    }
    void add_tensor() {
        key_.clear();
        check(dtype_ && extents_ && offsets_, "dtype, shape and data_offsets, got fewer");
        check(offsets_->size() == 2 && (*offsets_)[0] <= (*offsets_)[1],
              "data_offsets [begin, end] with begin ≤ end, got others");
        std::uint64_t bits = safetensors_bits(*dtype_);
        bool fits = true;
        for (index_t extent : *extents_)
            fits = fits && !__builtin_mul_overflow(bits, extent, &bits);
        auto const begin = static_cast<std::uint64_t>((*offsets_)[0]);
        auto const end = static_cast<std::uint64_t>((*offsets_)[1]);
        check(fits && bits % 8 == 0 && bits / 8 == end - begin,
              "the bytes of its shape and dtype, got ", end - begin);
        header_.tensors.push_back({name_, *dtype_, *extents_, begin, end});
        dtype_.reset();
        extents_.reset();
        offsets_.reset();
    }

    std::string_view source_;
    safetensors_header header_;
    place place_ = place::document;
    std::set<std::string> names_, keys_;
    std::string name_, key_;
    std::optional<safetensors_dtype> dtype_;
    std::optional<std::vector<index_t>> extents_, offsets_;
    std::vector<index_t> numbers_;
};

}  // namespace detail

/// Reads the header of a safetensors file whose whole content is `file`, and checks all of it: what
/// it returns describes tensors that lie in the file side by side, without overlap or gap. `source`
/// names the file in messages. Throws io_error; allocates in proportion to the header's real
/// length.
inline safetensors_header parse_safetensors_header(std::span<std::byte const> file,
                                                   std::string_view source = "the file") {
    auto const check = [&](bool condition, auto const&... parts) {
        require<io_error>(condition, "safetensors", "expected ", source, parts...);
    };
    std::string_view const bytes(reinterpret_cast<char const*>(file.data()), file.size());
    check(bytes.size() >= 8, " to begin with the length of its header, got ", bytes.size(),
          " bytes");
    auto const length = byte_cursor(bytes, "safetensors").number<std::uint64_t>();
    check(length <= max_safetensors_header, " to have a header of at most ", max_safetensors_header,
          " bytes, got ", length);
    check(length <= bytes.size() - 8, " to hold its header of ", length, " bytes, got ",
          bytes.size() - 8);
    std::string_view const text = bytes.substr(8, length);
    check(text.starts_with('{'), " to have a header that starts with '{', got another byte");

    detail::safetensors_header_builder builder(source);
    json::sax_parse(text, &builder);
    safetensors_header header = builder.take();
    header.data = 8 + length;
    std::ranges::sort(header.tensors, {},
                      [](auto const& tensor) { return std::pair(tensor.begin, tensor.end); });
    std::uint64_t position = 0;
    for (auto const& tensor : header.tensors) {
        check(tensor.begin == position, " to hold ", detail::quote_name(tensor.name), " from byte ",
              position, ", where the tensors before it end, got byte ", tensor.begin);
        position = tensor.end;
    }
    check(position == bytes.size() - header.data, " to end with its last tensor, after ", position,
          " bytes, got ", bytes.size() - header.data);
    return header;
}

}  // namespace grove::inline GROVE_ISA
