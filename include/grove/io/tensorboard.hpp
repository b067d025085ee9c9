// SPDX-License-Identifier: Apache-2.0
/// @file
/// Scalars for TensorBoard, without its libraries: event files are a few protobuf fields in framed
/// records (tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer).
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "grove/core/shape.hpp"
#include "grove/io/bytes.hpp"
#include "grove/io/crc32c.hpp"
#include "grove/io/file.hpp"
#include "grove/io/metrics.hpp"

namespace grove::inline GROVE_ISA {

namespace detail::protobuf {

/// Base-128 number, least significant group first.
inline void append_varint(std::string& message, std::uint64_t value) {
    for (; value >= 0x80u; value >>= 7) message += static_cast<char>((value & 0x7Fu) | 0x80u);
    message += static_cast<char>(value);
}
enum class wire : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
inline void append_key(std::string& message, std::uint32_t field, wire type) {
    append_varint(message, (field << 3) | static_cast<std::uint32_t>(type));
}
inline void append_integer(std::string& message, std::uint32_t field, std::uint64_t value) {
    append_key(message, field, wire::varint);
    append_varint(message, value);
}
inline void append_double(std::string& message, std::uint32_t field, double value) {
    append_key(message, field, wire::fixed64);
    append_number<double>(message, value);
}
inline void append_float(std::string& message, std::uint32_t field, float value) {
    append_key(message, field, wire::fixed32);
    append_number<float>(message, value);
}
/// A string, or a message inside a message.
inline void append_bytes(std::string& message, std::uint32_t field, std::string_view bytes) {
    append_key(message, field, wire::bytes);
    append_varint(message, bytes.size());
    message += bytes;
}

}  // namespace detail::protobuf

/// A metric_sink that writes a new event file into `folder`; point `tensorboard --logdir` at it or
/// at a folder above. Values are stored as float. Names group at slashes: "reward/mean".
class tensorboard_writer {
public:
    /// Seconds since 1970.
    using wall_clock = std::function<double()>;

    /// For a resumed run, tells TensorBoard to forget what earlier files of the folder hold beyond
    /// `resumed_step`; −1 is a fresh run. Throws io_error.
    explicit tensorboard_writer(std::filesystem::path const& folder, index_t resumed_step = -1,
                                wall_clock clock = system_seconds)
        : clock_(std::move(clock)), file_(new_file(folder, clock_()), output_file::mode::create) {
        write_event(0, file_version_field, "brain.Event:2");
        if (resumed_step >= 0) {
            std::string session;
            detail::protobuf::append_integer(session, 1, session_start);
            write_event(resumed_step + 1, session_field, session);
        }
        file_.flush();
    }

    /// Throws as jsonl_writer::write.
    void write(metric_record const& record) {
        detail::check_record(record);
        std::string summary;
        for (auto const& [name, value] : record.values) {
            std::string entry;
            detail::protobuf::append_bytes(entry, 1, name);
            detail::protobuf::append_float(entry, 2, static_cast<float>(value));
            detail::protobuf::append_bytes(summary, 1, entry);
        }
        write_event(record.step, summary_field, summary);
        file_.flush();
    }
    /// Where the events go: folder/events.out.tfevents.….
    std::filesystem::path const& path() const { return file_.path(); }

private:
    static constexpr std::uint32_t file_version_field = 3, summary_field = 5, session_field = 7;
    static constexpr std::uint64_t session_start = 1;

    static double system_seconds() {
        auto const now = std::chrono::system_clock::now().time_since_epoch();
        return std::chrono::duration<double>(now).count();
    }
    static std::filesystem::path new_file(std::filesystem::path const& folder, double seconds) {
        static std::atomic<unsigned> counter{0};
        create_folder(folder);
        std::array<char, 256> host{};
        if (::gethostname(host.data(), host.size() - 1) != 0) host = {"unknown"};
        return folder /
               ("events.out.tfevents." + std::to_string(static_cast<std::int64_t>(seconds)) + '.' +
                host.data() + '.' + std::to_string(::getpid()) + '.' + std::to_string(counter++));
    }

    /// Event { double wall_time = 1; int64 step = 2; one of … = field }, framed as u64 size, masked
    /// CRC-32C of the size, event, masked CRC-32C of the event.
    void write_event(index_t step, std::uint32_t field, std::string_view payload) {
        std::string event;
        detail::protobuf::append_double(event, 1, clock_());
        if (step != 0) detail::protobuf::append_integer(event, 2, static_cast<std::uint64_t>(step));
        detail::protobuf::append_bytes(event, field, payload);

        std::string record;
        append_number<std::uint64_t>(record, event.size());
        append_number<std::uint32_t>(record, masked_crc32c(crc32c(record)));
        record += event;
        append_number<std::uint32_t>(record, masked_crc32c(crc32c(event)));
        file_.write(record);
    }

    wall_clock clock_;
    output_file file_;
};

}  // namespace grove::inline GROVE_ISA
