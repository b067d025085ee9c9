// SPDX-License-Identifier: Apache-2.0
/// @file
/// Files that are either whole or absent: reading with typed errors, writing atomically.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {

/// Throws io_error "[operation] expected to `intent` `path`, got: <reason of errno>".
[[noreturn]] inline void fail_system(std::string_view operation, std::string_view intent,
                                     std::filesystem::path const& path) {
    std::string const reason = std::generic_category().message(errno);
    fail<io_error>(operation, "expected to ", intent, ' ', path, ", got: ", reason);
}

/// Owns a POSIX descriptor opened for reading; a pipe is opened without waiting for its other end.
class descriptor {
public:
    descriptor(std::string_view operation, std::filesystem::path const& path)
        : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (number_ < 0) fail_system(operation, "open", path);
    }
    descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    descriptor& operator=(descriptor other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    int number() const { return number_; }

private:
    int number_;
};

struct close_file {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using file_handle = std::unique_ptr<std::FILE, close_file>;

}  // namespace detail

/// A file opened for writing. Every member throws io_error with the system's reason.
class output_file {
public:
    /// How to open: add to the end of a file, or create one that must not exist yet.
    enum class mode { append, create };

    output_file(std::filesystem::path path, mode how)
        : path_(std::move(path)),
          file_(std::fopen(path_.c_str(), how == mode::append ? "abe" : "wbxe")) {
        if (!file_) detail::fail_system("output_file", "open", path_);
    }

    void write(std::string_view bytes) {
        if (bytes.empty()) return;
        if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size())
            detail::fail_system("output_file::write", "write", path_);
    }
    void write(std::span<std::byte const> bytes) {
        write(std::string_view(reinterpret_cast<char const*>(bytes.data()), bytes.size()));
    }
    /// Hands what was written to the operating system: it survives the death of this process.
    void flush() {
        if (std::fflush(file_.get()) != 0)
            detail::fail_system("output_file::flush", "write", path_);
    }
    /// Hands what was written to the storage device: it survives a power cut.
    void synchronize() {
        flush();
        if (::fsync(descriptor()) != 0)
            detail::fail_system("output_file::synchronize", "write", path_);
    }
    /// The POSIX descriptor, for a child process's output; flush() first.
    int descriptor() const { return ::fileno(file_.get()); }
    std::filesystem::path const& path() const { return path_; }

private:
    std::filesystem::path path_;
    detail::file_handle file_;
};

/// A file opened for reading at chosen offsets. Every member throws io_error.
class input_file {
public:
    explicit input_file(std::filesystem::path path)
        : path_(std::move(path)), descriptor_("input_file", path_) {
        struct ::stat status {};
        if (::fstat(descriptor_.number(), &status) != 0)
            detail::fail_system("input_file", "open", path_);
        require<io_error>(S_ISREG(status.st_mode), "input_file", "expected ", path_,
                          " to be a regular file, got something else");
        size_ = static_cast<std::uint64_t>(status.st_size);
    }

    /// Bytes in the file when it was opened.
    std::uint64_t size() const { return size_; }
    std::filesystem::path const& path() const { return path_; }

    /// Fills `destination` from `offset` on; throws io_error where the file ends earlier.
    void read(std::uint64_t offset, std::span<std::byte> destination) const {
        while (!destination.empty()) {
            ::ssize_t const count = ::pread(descriptor_.number(), destination.data(),
                                            destination.size(), static_cast<::off_t>(offset));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) detail::fail_system("input_file::read", "read", path_);
            require<io_error>(count > 0, "input_file::read", "expected ", destination.size(),
                              " more bytes in ", path_, ", got the end of the file");
            destination = destination.subspan(static_cast<std::size_t>(count));
            offset += static_cast<std::uint64_t>(count);
        }
    }

private:
    std::filesystem::path path_;
    detail::descriptor descriptor_;
    std::uint64_t size_ = 0;
};

/// The whole content of a file; throws io_error.
inline std::string read_file(std::filesystem::path const& path) {
    input_file const file(path);
    std::string content(file.size(), '\0');
    file.read(0, std::as_writable_bytes(std::span(content)));
    return content;
}

/// Creates a folder and its parents where missing; an empty path is the current folder. Throws
/// io_error.
inline void create_folder(std::filesystem::path const& folder) {
    if (folder.empty()) return;
    std::error_code reason;
    std::filesystem::create_directories(folder, reason);
    require<io_error>(!reason, "create_folder", "expected to create ", folder,
                      ", got: ", reason.message());
}

namespace detail {

/// Makes a rename or a removal inside `folder` survive a power cut.
inline void synchronize_folder(std::filesystem::path const& folder) {
    descriptor const opened("atomic_write", folder);
    if (::fsync(opened.number()) != 0) fail_system("atomic_write", "write the folder", folder);
}

/// A file beside `target` that takes its place on commit() and disappears otherwise.
class temporary_file {
public:
    explicit temporary_file(std::filesystem::path target)
        : target_(std::move(target)), file_(name_beside(target_), output_file::mode::create) {}
    temporary_file(temporary_file const&) = delete;
    temporary_file& operator=(temporary_file const&) = delete;
    ~temporary_file() {
        if (!committed_) ::unlink(file_.path().c_str());
    }

    output_file& file() { return file_; }
    void commit() {
        file_.synchronize();
        if (::rename(file_.path().c_str(), target_.c_str()) != 0)
            fail_system("atomic_write", "replace", target_);
        committed_ = true;
        auto const folder = target_.parent_path();
        synchronize_folder(folder.empty() ? "." : folder);
    }

private:
    static std::filesystem::path name_beside(std::filesystem::path const& target) {
        static std::atomic<unsigned> counter{0};
        std::string const name = '.' + target.filename().string() + '.' +
                                 std::to_string(::getpid()) + '-' + std::to_string(counter++);
        return target.parent_path() / (name + ".tmp");
    }

    std::filesystem::path target_;
    output_file file_;
    bool committed_ = false;
};

}  // namespace detail

/// Replaces `path` by what `writer(output_file&)` writes, or leaves it as it was: the content goes
/// to a temporary `.name.*.tmp` in the same folder, reaches the storage device, and is renamed.
/// Whatever `writer` throws passes through; failures of the system are io_error; the temporary is
/// removed.
/// ```
/// atomic_write("config.json", [&](output_file& file) { file.write(text); });
/// ```
template <class Writer>
void atomic_write(std::filesystem::path const& path, Writer&& writer) {
    require<io_error>(path.has_filename(), "atomic_write", "expected the path of a file, got ",
                      path);
    detail::temporary_file temporary(path);
    writer(temporary.file());
    temporary.commit();
}

}  // namespace grove::inline GROVE_ISA
