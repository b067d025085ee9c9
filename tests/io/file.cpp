// SPDX-License-Identifier: Apache-2.0
#include "grove/io/file.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <thread>
#include <vector>

#include "temporary_folder.hpp"

using namespace grove;

TEST_CASE("read_file: every byte, also none and zeros") {
    temporary_folder folder;
    std::string const bytes("a\0\r\n\xff", 5);
    write_file(folder / "bytes", bytes);
    CHECK(read_file(folder / "bytes") == bytes);
    write_file(folder / "empty", "");
    CHECK(read_file(folder / "empty").empty());
}

TEST_CASE("read_file: a missing file, a folder and a pipe are io_error, and nothing waits") {
    temporary_folder folder;
    auto const missing = message_of<io_error>([&] { read_file(folder / "absent"); });
    CHECK(contains(missing, "absent"));
    CHECK(contains(missing, "No such file"));
    CHECK_THROWS_AS(read_file(folder.path()), io_error);
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK_THROWS_AS(read_file(folder / "pipe"), io_error);
}

TEST_CASE("input_file: reads at an offset and refuses to read past the end") {
    temporary_folder folder;
    write_file(folder / "digits", "0123456789");
    input_file const file(folder / "digits");
    CHECK(file.size() == 10);
    std::string part(4, ' ');
    file.read(3, std::as_writable_bytes(std::span(part)));
    CHECK(part == "3456");
    CHECK_THROWS_AS(file.read(7, std::as_writable_bytes(std::span(part))), io_error);
}

TEST_CASE("atomic_write: replaces the file and leaves nothing else") {
    temporary_folder folder;
    for (std::string const text : {"first, the longer one", "second"}) {
        atomic_write(folder / "file", [&](output_file& file) { file.write(text); });
        CHECK(read_file(folder / "file") == text);
    }
    CHECK(folder.size() == 1);
}

TEST_CASE("atomic_write: an exception of the writer passes through and the old file stays") {
    temporary_folder folder;
    write_file(folder / "file", "old");
    auto const write = [&] {
        atomic_write(folder / "file", [](output_file& file) {
            file.write("half of the n");
            file.flush();
            throw value_error("midway");
        });
    };
    CHECK_THROWS_AS(write(), value_error);
    CHECK(read_file(folder / "file") == "old");
    CHECK(folder.size() == 1);
}

TEST_CASE("atomic_write: failures of the system are io_error and leave no temporary") {
    temporary_folder folder;
    auto const write = [](std::filesystem::path const& path) {
        atomic_write(path, [](output_file& file) { file.write("x"); });
    };
    CHECK(
        contains(message_of<io_error>([&] { write(folder / "absent" / "file"); }), "No such file"));
    CHECK_THROWS_AS(write(folder.path() / ""), io_error);
    std::filesystem::create_directory(folder / "taken");
    CHECK(contains(message_of<io_error>([&] { write(folder / "taken"); }), "replace"));
    CHECK(folder.size() == 1);
}

TEST_CASE("atomic_write: a full disk leaves the old file and no temporary") {
    temporary_folder folder;
    write_file(folder / "file", "old");
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    auto const handler = std::signal(SIGXFSZ, SIG_IGN);
    ::rlimit const small{1000, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::string const reason = message_of<io_error>([&] {
        atomic_write(folder / "file",
                     [](output_file& file) { file.write(std::string(100000, 'x')); });
    });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(contains(reason, "too large"));
    CHECK(read_file(folder / "file") == "old");
    CHECK(folder.size() == 1);
}

TEST_CASE("atomic_write: threads that write one path leave one of the whole contents") {
    temporary_folder folder;
    std::vector<std::thread> threads;
    for (char c = 'a'; c < 'e'; ++c)
        threads.emplace_back([&folder, c] {
            for (int i = 0; i < 5; ++i)
                atomic_write(folder / "file",
                             [&](output_file& file) { file.write(std::string(10000, c)); });
        });
    for (auto& thread : threads) thread.join();
    std::string const content = read_file(folder / "file");
    CHECK(content == std::string(10000, content.front()));
    CHECK(folder.size() == 1);
}

TEST_CASE("output_file: appends, and creates only what does not exist") {
    temporary_folder folder;
    for (int i = 0; i < 2; ++i) output_file(folder / "log", output_file::mode::append).write("ab");
    CHECK(read_file(folder / "log") == "abab");
    CHECK_THROWS_AS(output_file(folder / "log", output_file::mode::create), io_error);
}

TEST_CASE("output_file: a full device is io_error, at the latest in flush and synchronize") {
    auto const reason_of = [](auto finish) {
        return message_of<io_error>([&] {
            output_file file("/dev/full", output_file::mode::append);
            file.write("x");
            finish(file);
        });
    };
    for (std::string const& reason :
         {reason_of([](output_file& file) { file.flush(); }),
          reason_of([](output_file& file) { file.synchronize(); }),
          reason_of([](output_file& file) { file.write(std::string(1 << 20, 'x')); })}) {
        CHECK(contains(reason, "expected to write \"/dev/full\""));
        CHECK(contains(reason, "No space left on device"));
    }
}

TEST_CASE("create_folder: makes parents, accepts what exists, refuses a file in the way") {
    temporary_folder folder;
    create_folder(folder / "a/b");
    create_folder(folder / "a/b");
    create_folder("");
    CHECK(std::filesystem::is_directory(folder / "a/b"));
    write_file(folder / "file", "");
    CHECK_THROWS_AS(create_folder(folder / "file/b"), io_error);
}
