// SPDX-License-Identifier: Apache-2.0
#include "grove/io/checkpoint_folder.hpp"

#include <doctest/doctest.h>

#include "temporary_folder.hpp"

using namespace grove;

namespace {

void save(checkpoint_folder const& folder, index_t step) {
    folder.save(step, [&](checkpoint_writer& file) { file.put_value("step", step); });
}

}  // namespace

TEST_CASE("checkpoint_folder: names sort as steps do and only they count") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder / "run/checkpoints");
    CHECK(checkpoints.steps().empty());
    CHECK(!checkpoints.latest());
    CHECK(checkpoints.path_of(123).filename() == "step-000123.grove");
    CHECK(checkpoints.path_of(12345678).filename() == "step-12345678.grove");
    CHECK_THROWS_AS(checkpoints.path_of(-1), value_error);
    for (index_t step : {200, 1000000, 0, 30}) save(checkpoints, step);
    for (char const* other : {"step-000007.grove.tmp", "step-7.grove", "step-00000x.grove",
                              "step-99999999999999999999.grove", "notes.txt", "step-.grove"})
        write_file(folder / "run/checkpoints" / other, "");
    CHECK(checkpoints.steps() == std::vector<index_t>{0, 30, 200, 1000000});
    auto const point = checkpoints.latest();
    REQUIRE(point);
    CHECK(point->step == 1000000);
    CHECK(point->damaged.empty());
    CHECK(checkpoint_reader(point->path).get_value<index_t>("step") == 1000000);
}

TEST_CASE("checkpoint_folder: damaged files are passed over, with their reasons") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder.path());
    for (index_t step : {1, 2, 3}) save(checkpoints, step);
    std::string bytes = read_file(checkpoints.path_of(3));
    write_file(checkpoints.path_of(3), bytes.substr(0, bytes.size() - 1));
    bytes = read_file(checkpoints.path_of(2));
    auto const payload = checkpoint_reader(checkpoints.path_of(2)).sections()[0].offset;
    bytes[payload] ^= 1;
    write_file(checkpoints.path_of(2), bytes);
    auto const point = checkpoints.latest();
    REQUIRE(point);
    CHECK(point->step == 1);
    REQUIRE(point->damaged.size() == 2);
    CHECK(contains(point->damaged[0], "step-000003.grove"));
    CHECK(contains(point->damaged[1], "section 'step' of"));
    write_file(checkpoints.path_of(1), "");
    CHECK(contains(message_of<io_error>([&] { checkpoints.latest(); }), "got 3 damaged ones"));
}

TEST_CASE("checkpoint_folder: keep_last removes the oldest, save what killed runs left") {
    temporary_folder folder;
    checkpoint_folder const checkpoints(folder.path());
    for (index_t step : {10, 20, 30}) save(checkpoints, step);
    write_file(folder / ".step-000040.grove.99-0.tmp", "half");
    write_file(folder / "metrics.jsonl", "");
    write_file(folder / ".notes.tmp", "another's");
    save(checkpoints, 40);
    CHECK(folder.size() == 6);
    checkpoints.keep_last(2);
    CHECK(checkpoints.steps() == std::vector<index_t>{30, 40});
    CHECK(folder.size() == 4);
    checkpoints.keep_last(5);
    CHECK(checkpoints.steps().size() == 2);
    CHECK_THROWS_AS(checkpoints.keep_last(0), value_error);
}

TEST_CASE("checkpoint_folder: a file in the folder's place is io_error") {
    temporary_folder folder;
    write_file(folder / "file", "");
    checkpoint_folder const checkpoints(folder / "file");
    CHECK_THROWS_AS(checkpoints.steps(), io_error);
    CHECK_THROWS_AS(save(checkpoints, 1), io_error);
}
