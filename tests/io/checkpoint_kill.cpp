// SPDX-License-Identifier: Apache-2.0
// A checkpoint is whole or absent, wherever the process that writes it dies and whenever the disk
// is full.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "grove/io/checkpoint_folder.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

/// Content that differs from step to step in size and bytes: some heads, some payloads that fit a
/// stream's buffer and one that does not.
void write_content(checkpoint_writer& file, index_t step) {
    std::vector<float> weight(static_cast<std::size_t>(3000 + step));
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(step) / (i + 1);
    file.put_value<index_t>("step", step);
    file.put("bias", std::vector<double>(50, static_cast<double>(step)));
    file.put("weight", weight);
    file.put_json("notes", json{{"step", step}});
}
void save(checkpoint_folder const& checkpoints, index_t step) {
    checkpoints.save(step, [&](checkpoint_writer& file) { write_content(file, step); });
}
/// The bytes that a checkpoint of `step` must have.
std::string const& bytes_of(index_t step) {
    static std::map<index_t, std::string> known;
    auto const [at, is_new] = known.try_emplace(step);
    if (is_new) {
        temporary_folder folder;
        write_checkpoint(folder / "c", [&](checkpoint_writer& file) { write_content(file, step); });
        at->second = read_file(folder / "c");
    }
    return at->second;
}
std::vector<std::filesystem::path> temporaries_in(temporary_folder const& folder) {
    std::vector<std::filesystem::path> found;
    for (auto const& entry : std::filesystem::directory_iterator(folder.path()))
        if (entry.path().extension() == ".tmp") found.push_back(entry.path());
    return found;
}
/// Every checkpoint of the folder is one that was written to its end, and so is the latest.
index_t check_whole(checkpoint_folder const& checkpoints) {
    for (index_t step : checkpoints.steps())
        CHECK(read_file(checkpoints.path_of(step)) == bytes_of(step));
    auto const point = checkpoints.latest();
    REQUIRE(point);
    CHECK(point->damaged.empty());
    return point->step;
}

/// Starts `work()` in a process of its own.
template <class Work>
::pid_t start(Work work) {
    ::pid_t const child = ::fork();
    REQUIRE(child >= 0);
    if (child > 0) return child;
    try {
        work();
    } catch (...) {
        ::_exit(1);
    }
    ::_exit(0);
}
int wait_for(::pid_t child) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}
void kill_now(::pid_t child) {
    ::kill(child, SIGKILL);
    int const status = wait_for(child);
    REQUIRE(WIFSIGNALED(status));
}
/// Kills `work()` where it enters a system call or returns from one, for the `stop`th time. False
/// where it ended before.
template <class Work>
bool kill_at(int stop, Work work) {
    ::pid_t const child = start([&] {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
        ::raise(SIGSTOP);
        work();
    });
    int status = wait_for(child);
    REQUIRE_MESSAGE(WIFSTOPPED(status), "expected a process that may be traced");
    for (int i = 0; i < stop; ++i) {
        REQUIRE(::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) == 0);
        status = wait_for(child);
        if (WIFSTOPPED(status)) continue;
        REQUIRE(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
        return false;
    }
    kill_now(child);
    return true;
}

/// While it lives, no file of this process grows beyond `bytes`: writes fail as on a full disk.
class full_disk {
public:
    explicit full_disk(::rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
        ::rlimit const small{bytes, before_.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    }
    full_disk(full_disk const&) = delete;
    full_disk& operator=(full_disk const&) = delete;
    ~full_disk() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

private:
    ::rlimit before_{};
    void (*handler_)(int);
};

}  // namespace

TEST_CASE("checkpoint: killed at any system call of a save, the folder holds whole ones alone") {
    int stops = 0, with_temporary = 0, with_new = 0;
    for (bool killed = true; killed; ++stops) {
        temporary_folder folder;
        checkpoint_folder const checkpoints(folder.path());
        for (index_t step : {1, 2}) write_file(checkpoints.path_of(step), bytes_of(step));
        killed = kill_at(stops + 1, [&] {
            save(checkpoints, 3);
            checkpoints.keep_last(2);
        });
        index_t const latest = check_whole(checkpoints);
        CHECK((latest == 2 || latest == 3));
        CHECK((killed || latest == 3));
        with_new += killed && latest == 3;
        with_temporary += !temporaries_in(folder).empty();
        save(checkpoints, 4);
        CHECK(temporaries_in(folder).empty());
        CHECK(check_whole(checkpoints) == 4);
    }
    CHECK(stops > 20);          // opening, writing, synchronising, renaming, removing
    CHECK(with_temporary > 5);  // half-written files were left, and passed over
    CHECK(with_new > 5);        // killed behind the rename, too
}

TEST_CASE("checkpoint: killed at any byte of a save, the one before stays") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder.path());
    save(checkpoints, 1);
    std::size_t const size = bytes_of(2).size();
    for (std::size_t bytes = 0; bytes < size; bytes += size / 60) {
        int const status = wait_for(start([&] {
            ::rlimit const none{0, 0}, small{bytes, bytes};
            ::setrlimit(RLIMIT_CORE, &none);
            ::setrlimit(RLIMIT_FSIZE, &small);  // the system kills whoever writes more
            std::signal(SIGXFSZ, SIG_DFL);
            save(checkpoints, 2);
        }));
        REQUIRE(WIFSIGNALED(status));
        CHECK(WTERMSIG(status) == SIGXFSZ);
        auto const left = temporaries_in(folder);  // that of the kill before was swept
        REQUIRE(left.size() == 1);
        CHECK(std::filesystem::file_size(left[0]) == bytes);
        CHECK(check_whole(checkpoints) == 1);
    }
    save(checkpoints, 2);
    CHECK(check_whole(checkpoints) == 2);
    CHECK(folder.size() == 2);
}

TEST_CASE("checkpoint: killed at random moments, what save returned from is there and whole") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder.path());
    save(checkpoints, 0);
    std::mt19937 random(11);
    for (int kill = 0; kill < 30; ++kill) {
        index_t const first = check_whole(checkpoints) + 1;
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ::pid_t const child = start([&] {
            for (index_t step = first;; ++step) {
                save(checkpoints, step);
                checkpoints.keep_last(2);
                if (::write(ends[1], "", 1) != 1) return;
            }
        });
        ::close(ends[1]);
        index_t saved = first - 1;
        char saved_one;
        for (auto n = random() % 3 + 1; n > 0; --n) saved += ::read(ends[0], &saved_one, 1);
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
        kill_now(child);
        ::close(ends[0]);
        CHECK(saved >= first);
        CHECK(check_whole(checkpoints) >= saved);
    }
}

TEST_CASE("checkpoint: a full disk is io_error at any byte, and costs nothing that was there") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder.path());
    for (index_t step : {1, 2}) save(checkpoints, step);
    write_file(folder / ".step-000003.grove.99-0.tmp", "half");
    std::size_t const size = bytes_of(2).size();
    for (std::size_t bytes = 0; bytes < size; bytes += size / 60)
        for (index_t step : {2, 3}) {  // in the place of one, and beside them
            std::string reason;
            {
                full_disk const full(bytes);
                reason = message_of<io_error>([&] { save(checkpoints, step); });
            }
            CHECK(contains(reason, "expected to write"));
            CHECK(contains(reason, "too large"));
            CHECK(folder.size() == 2);  // no temporary, and the old one was swept
            CHECK(check_whole(checkpoints) == 2);
        }
    save(checkpoints, 3);
    CHECK(check_whole(checkpoints) == 3);
}
