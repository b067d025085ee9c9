// SPDX-License-Identifier: Apache-2.0
#include "grove/io/tensorboard.hpp"

#include <doctest/doctest.h>

#include "temporary_folder.hpp"

using namespace grove;

static_assert(metric_sink<tensorboard_writer>);

namespace {

double fixed_clock() { return 1700000000.25; }

std::string hexadecimal(std::string const& bytes) {
    constexpr char const* digits = "0123456789abcdef";
    std::string text;
    for (unsigned char byte : bytes) (text += digits[byte >> 4]) += digits[byte & 15];
    return text;
}

}  // namespace

// Written by the Python package tensorboard 2.21 (its protobuf classes and its RecordWriter).
TEST_CASE("tensorboard_writer: the bytes that TensorBoard's own writer makes") {
    temporary_folder folder;
    tensorboard_writer log(folder / "events", 300, fixed_clock);
    log.write({301, {{"reward/mean", 0.7109375}, {"kl", -2.5}}});
    CHECK(hexadecimal(read_file(log.path())) ==
          "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9"
          "100000000000000095fbfe180900001040fc54d94110ad023a020801cb79b93b2d00000000000000"
          "3c418afb0900001040fc54d94110ad022a1f0a120a0b7265776172642f6d65616e150000363f0a09"
          "0a026b6c15000020c06c990465");
}

TEST_CASE("tensorboard_writer: a fresh run announces no restart; every writer has its own file") {
    temporary_folder folder;
    tensorboard_writer const first(folder.path(), -1, fixed_clock), second(folder.path());
    CHECK(read_file(first.path()).size() == 40);
    CHECK(first.path() != second.path());
    CHECK(first.path().filename().string().starts_with("events.out.tfevents.1700000000."));
}

TEST_CASE("tensorboard_writer: bad records and bad folders") {
    temporary_folder folder;
    tensorboard_writer log(folder.path());
    CHECK_THROWS_AS(log.write({-1, {{"a", 1}}}), value_error);
    CHECK_THROWS_AS(log.write({1, {{"\xff", 1}}}), value_error);
    write_file(folder / "file", "");
    CHECK_THROWS_AS(tensorboard_writer(folder / "file"), io_error);
}
