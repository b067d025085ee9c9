// SPDX-License-Identifier: Apache-2.0
/// @file
/// Running gnuplot as a child process, and text that is safe inside its scripts.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include "grove/core/error.hpp"
#include "grove/io/file.hpp"
#include "grove/io/terminal.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A gnuplot string that shows `text` as it is. Everything that could mean something to gnuplot,
/// such as quotes and backquotes, is an octal escape; digits too, which would lengthen an escape.
inline std::string quote_for_gnuplot(std::string_view text) {
    std::string quoted = "\"";
    for (char c : printable(text)) {
        auto const byte = static_cast<unsigned char>(c);
        if (byte >= 0x80 || std::isalpha(byte) != 0 || c == ' ') {
            quoted += c;
        } else {
            quoted += '\\';
            for (int shift : {6, 3, 0}) quoted += static_cast<char>('0' + (byte >> shift & 7));
        }
    }
    return quoted + '"';
}

/// A nameless file for a child's standard streams.
inline file_handle scratch_file() {
    file_handle file(std::tmpfile());
    if (!file) fail_system("run_gnuplot", "create", "a temporary file");
    return file;
}

/// Child process `gnuplot -d /dev/stdin` with these standard streams; its exit status. A script
/// read as a file ends at its first mistake; -d ignores the settings of the user and the machine.
inline int spawn_gnuplot(int input, int output, int errors) {
    ::posix_spawn_file_actions_t streams;
    ::posix_spawn_file_actions_init(&streams);
    ::posix_spawn_file_actions_adddup2(&streams, input, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&streams, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&streams, errors, STDERR_FILENO);
    std::array<std::string, 3> words{"gnuplot", "-d", "/dev/stdin"};
    std::array<char*, 4> arguments{words[0].data(), words[1].data(), words[2].data(), nullptr};
    ::pid_t child = 0;
    int const reason =
        ::posix_spawnp(&child, "gnuplot", &streams, nullptr, arguments.data(), ::environ);
    ::posix_spawn_file_actions_destroy(&streams);
    require<io_error>(reason == 0, "run_gnuplot",
                      "expected the program gnuplot (package gnuplot-nox), got: ",
                      std::generic_category().message(reason));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) fail_system("run_gnuplot", "wait for", "gnuplot");
    return status;
}

/// Runs `script` and writes the picture to `output`. Throws io_error with gnuplot's first
/// complaint.
inline void run_gnuplot(std::string_view script, output_file& output) {
    file_handle const input = scratch_file(), errors = scratch_file();
    bool const written = std::fwrite(script.data(), 1, script.size(), input.get()) == script.size();
    if (!written || std::fflush(input.get()) != 0) fail_system("run_gnuplot", "write", "a script");
    std::rewind(input.get());
    output.flush();
    int const status =
        spawn_gnuplot(::fileno(input.get()), output.descriptor(), ::fileno(errors.get()));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    std::array<char, 400> complaint{};
    std::rewind(errors.get());
    std::size_t const size = std::fread(complaint.data(), 1, complaint.size(), errors.get());
    fail<io_error>("run_gnuplot", "expected gnuplot to draw the picture, got: ",
                   printable(std::string_view(complaint.data(), size)));
}

}  // namespace grove::inline GROVE_ISA::detail
