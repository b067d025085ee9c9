// SPDX-License-Identifier: Apache-2.0
/// @file
/// Checkpoints: named arrays, texts and JSON in one file that is either whole and right or
/// rejected.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/core/shape.hpp"
#include "grove/io/bytes.hpp"
#include "grove/io/checkpoint_format.hpp"
#include "grove/io/crc32c.hpp"
#include "grove/io/file.hpp"
#include "grove/io/json.hpp"

namespace grove::inline GROVE_ISA {

/// Adds sections to a checkpoint; write_checkpoint hands it to you. Every put throws value_error
/// for an empty or repeated name and io_error where the file cannot be written.
class checkpoint_writer {
public:
    explicit checkpoint_writer(output_file& file) : file_(&file) {
        std::string header(detail::checkpoint_magic);
        append_number<std::uint32_t>(header, detail::checkpoint_version);
        append_number<std::uint32_t>(header, crc32c(header));
        write(header);
    }

    /// An array of `extents`, row-major; throws shape_error where they do not fit its size.
    template <checkpoint_array Range>
    void put(std::string_view name, Range const& values, shape const& extents) {
        using element = std::ranges::range_value_t<Range>;
        std::span<element const> const elements(values);
        require<shape_error>(extents.size() == std::ssize(elements), "checkpoint_writer::put",
                             "expected '", name, "' to hold ", extents, " elements, got ",
                             elements.size());
        add(name, element_name<element>, extents, std::as_bytes(elements));
    }
    /// An array of one dimension.
    template <checkpoint_array Range>
    void put(std::string_view name, Range const& values) {
        put(name, values, shape{static_cast<index_t>(std::ranges::size(values))});
    }
    /// A single number.
    template <checkpoint_element T>
    void put_value(std::string_view name, T value) {
        put(name, std::span<T const>(&value, 1), shape{});
    }
    /// Any bytes, as a string.
    void put_text(std::string_view name, std::string_view text) { put_bytes(name, "text", text); }
    void put_json(std::string_view name, json const& value) {
        put_bytes(name, "json", format_json(value));
    }

    /// Writes the closing section, without which no reader accepts the file.
    void finish() {
        checkpoint_section end;
        end.type = "end";
        end.size = sizeof(std::uint64_t);
        std::uint64_t const total = written_ + detail::encode_section_head(end).size() + end.size;
        std::string payload;
        append_number<std::uint64_t>(payload, total);
        end.checksum = crc32c(payload);
        write(detail::encode_section_head(end) + payload);
    }

private:
    void put_bytes(std::string_view name, std::string_view type, std::string_view text) {
        add(name, type, shape{static_cast<index_t>(text.size())}, std::as_bytes(std::span(text)));
    }
    void add(std::string_view name, std::string_view type, shape const& extents,
             std::span<std::byte const> payload) {
        require<value_error>(!name.empty(), "checkpoint_writer",
                             "expected a name, got an empty one");
        require<value_error>(std::find(names_.begin(), names_.end(), name) == names_.end(),
                             "checkpoint_writer", "expected each name once, got '", name,
                             "' again");
        names_.emplace_back(name);
        checkpoint_section section;
        section.name = name;
        section.type = type;
        section.extents = detail::extents_of(extents);
        section.size = payload.size();
        section.checksum = crc32c(payload);
        write(detail::encode_section_head(section));
        file_->write(payload);
        written_ += payload.size();
    }
    void write(std::string_view bytes) {
        file_->write(bytes);
        written_ += bytes.size();
    }

    output_file* file_;
    std::uint64_t written_ = 0;
    std::vector<std::string> names_;
};

/// Replaces `path` by a checkpoint of what `writer(checkpoint_writer&)` puts into it, atomically:
/// after a crash there is the old file or the new one. Arrays are written from where they lie, not
/// copied.
/// ```
/// write_checkpoint("step-000100.grove", [&](checkpoint_writer& file) {
///     file.put("weight", weights, shape{rows, columns});
///     file.put_value<index_t>("step", 100);
/// });
/// ```
template <class Writer>
void write_checkpoint(std::filesystem::path const& path, Writer&& writer) {
    atomic_write(path, [&](output_file& file) {
        checkpoint_writer checkpoint(file);
        writer(checkpoint);
        checkpoint.finish();
    });
}

/// Reads a checkpoint. The constructor checks its structure to the last byte, every get checks the
/// section it reads, and verify() checks all. A file that is missing, truncated, altered anywhere
/// or of another version, and a section that is missing or of another type or shape, throw io_error
/// with the section's name. Memory is allocated for what the file really holds, whatever it claims.
/// ```
/// checkpoint_reader file("step-000100.grove");
/// file.get_into("weight", weights, shape{rows, columns});
/// auto step = file.get_value<index_t>("step");
/// ```
class checkpoint_reader {
public:
    explicit checkpoint_reader(std::filesystem::path path) : file_(std::move(path)) {
        check_header();
        std::uint64_t position = detail::checkpoint_header_size;
        for (;;) {
            checkpoint_section section = read_head(position);
            position = section.offset + section.size;
            if (section.name.empty()) {
                check_end(section);
                return;
            }
            sections_.push_back(std::move(section));
        }
    }

    /// The sections in the order in which they were put.
    std::vector<checkpoint_section> const& sections() const { return sections_; }
    bool contains(std::string_view name) const { return find(name) != nullptr; }

    /// The elements of an array of any shape; T must be the type it was put with.
    template <checkpoint_element T>
    std::vector<T> get(std::string_view name) const {
        checkpoint_section const& section = array<T>(name);
        std::vector<T> values(section.size / sizeof(T));
        read(section, std::as_writable_bytes(std::span(values)));
        return values;
    }
    /// Fills `destination`, whose size and shape must be those of the section. What it holds after
    /// an exception is unspecified.
    template <checkpoint_array Range>
    void get_into(std::string_view name, Range&& destination, shape const& expected) const {
        using element = std::ranges::range_value_t<Range>;
        checkpoint_section const& section = array<element>(name);
        std::span<element> const elements(destination);
        require<shape_error>(expected.size() == std::ssize(elements), "checkpoint_reader::get_into",
                             "expected room for ", expected, " elements of '", name, "', got ",
                             elements.size());
        bool const same = std::ranges::equal(section.extents, detail::extents_of(expected));
        check(same, section.name, "to have the shape ", expected, ", got ",
              detail::format_extents(section.extents));
        read(section, std::as_writable_bytes(elements));
    }
    template <checkpoint_element T>
    T get_value(std::string_view name) const {
        T value{};
        get_into(name, std::span<T>(&value, 1), shape{});
        return value;
    }
    std::string get_text(std::string_view name) const { return read_text(typed(name, "text")); }
    json get_json(std::string_view name) const {
        checkpoint_section const& section = typed(name, "json");
        return parse_json(read_text(section), describe(section.name));
    }

    /// Reads every section once, 1 MiB at a time, and throws io_error for the first damaged one.
    void verify() const {
        constexpr std::uint64_t block = 1 << 20;
        std::vector<std::byte> buffer;
        for (auto const& section : sections_) {
            std::uint32_t checksum = 0;
            for (std::uint64_t done = 0; done < section.size; done += buffer.size()) {
                buffer.resize(std::min(block, section.size - done));
                file_.read(section.offset + done, buffer);
                checksum = crc32c(buffer, checksum);
            }
            check_payload(section, checksum);
        }
    }

private:
    template <class... Parts>
    void check(bool condition, std::string_view section, Parts const&... parts) const {
        require<io_error>(condition, "checkpoint", "expected ", describe(section), ' ', parts...);
    }
    std::string describe(std::string_view section) const {
        std::string const where = file_.path().string();
        return section.empty() ? where : "section '" + std::string(section) + "' of " + where;
    }
    /// What stands at `position`, for messages about a head that cannot be read.
    std::string next_section() const {
        return sections_.empty() ? "its first section"
                                 : "the section after '" + sections_.back().name + "'";
    }

    void check_header() const {
        std::uint64_t const size = file_.size();
        check(size >= detail::checkpoint_header_size, "", "to be a checkpoint, got ", size,
              " bytes");
        std::string header(detail::checkpoint_header_size, '\0');
        file_.read(0, std::as_writable_bytes(std::span(header)));
        byte_cursor cursor(header, "checkpoint");
        check(cursor.text(8) == detail::checkpoint_magic, "",
              "to be a checkpoint, got another format");
        auto const version = cursor.number<std::uint32_t>();
        auto const checksum = cursor.number<std::uint32_t>();
        bool const intact = checksum == crc32c(std::string_view(header).substr(0, 12));
        check(intact, "", "to have an intact header, got a wrong checksum");
        check(version == detail::checkpoint_version, "", "to have version ",
              detail::checkpoint_version, ", got version ", version);
    }
    checkpoint_section read_head(std::uint64_t position) const {
        auto const take = [&](std::uint64_t size) {
            check(size <= file_.size() - position, "", "to hold ", next_section(), " with ", size,
                  " bytes, got the end of the file after ", file_.size() - position);
            std::string bytes(size, '\0');
            file_.read(position, std::as_writable_bytes(std::span(bytes)));
            position += size;
            return bytes;
        };
        std::string const size = take(4);
        std::string const head = take(byte_cursor(size, "checkpoint").number<std::uint32_t>());
        auto const checksum = byte_cursor(take(4), "checkpoint").number<std::uint32_t>();
        check(checksum == crc32c(head, crc32c(size)), "", "to hold ", next_section(),
              " intact, got a wrong checksum");
        checkpoint_section section = detail::decode_section_head(head);
        section.offset = position;
        check(section.size <= file_.size() - position, section.name, "to have ", section.size,
              " bytes, got ", file_.size() - position, " to the end of the file");
        return section;
    }
    void check_end(checkpoint_section const& end) const {
        std::string const payload = read_text(end);
        auto const total = byte_cursor(payload, "checkpoint").number<std::uint64_t>();
        bool const complete = end.offset + end.size == file_.size() && total == file_.size();
        check(complete, "", "to have ", total, " bytes, got ", file_.size());
    }

    checkpoint_section const* find(std::string_view name) const {
        auto const at = std::ranges::find(sections_, name, &checkpoint_section::name);
        return at == sections_.end() ? nullptr : &*at;
    }
    checkpoint_section const& typed(std::string_view name, std::string_view type) const {
        checkpoint_section const* section = find(name);
        check(section != nullptr, name, "to exist, got no such section");
        check(section->type == type, name, "to hold ", type, ", got ", section->type);
        return *section;
    }
    /// The section `name` with elements of type T, as many as its extents say.
    template <class T>
    checkpoint_section const& array(std::string_view name) const {
        checkpoint_section const& section = typed(name, element_name<T>);
        std::uint64_t bytes = sizeof(T);
        bool fits = true;
        for (index_t extent : section.extents)
            fits = fits && extent >= 0 && !__builtin_mul_overflow(bytes, extent, &bytes);
        check(fits && bytes == section.size, name, "to have the size of its shape, got ",
              section.size, " bytes");
        return section;
    }
    std::string read_text(checkpoint_section const& section) const {
        std::string text(section.size, '\0');
        read(section, std::as_writable_bytes(std::span(text)));
        return text;
    }
    void read(checkpoint_section const& section, std::span<std::byte> destination) const {
        file_.read(section.offset, destination);
        check_payload(section, crc32c(destination));
    }
    void check_payload(checkpoint_section const& section, std::uint32_t checksum) const {
        check(checksum == section.checksum, section.name, "to be intact, got a wrong checksum");
    }

    input_file file_;
    std::vector<checkpoint_section> sections_;
};

}  // namespace grove::inline GROVE_ISA
