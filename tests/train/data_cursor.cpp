// SPDX-License-Identifier: Apache-2.0
#include "grove/train/data_cursor.hpp"

#include <doctest/doctest.h>

#include <map>

#include "../io/temporary_folder.hpp"
#include "grove/io/checkpoint.hpp"

using namespace grove;

namespace {

void save(std::filesystem::path const& path, data_cursor const& cursor) {
    write_checkpoint(path, [&](checkpoint_writer& file) { cursor.save(file, "cursor."); });
}

}  // namespace

TEST_CASE("data_cursor: problems in order, again from the first, each visit numbered") {
    data_cursor cursor(3);
    std::vector<problem_visit> seen;
    for (int i = 0; i < 7; ++i) seen.push_back(cursor.next());
    CHECK(seen ==
          std::vector<problem_visit>{{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 1}, {2, 1}, {0, 2}});
    CHECK(cursor.position() == 7);
}

TEST_CASE("data_cursor: visits counts what next returned") {
    for (index_t count : {0, 1, 4, 9}) {
        data_cursor cursor(count);
        std::map<index_t, index_t> counted;
        for (int i = 0; i < 30; ++i) {
            auto const [problem, visit] = cursor.next();
            CHECK(visit == counted[problem]++);
            for (auto const& [p, n] : counted) CHECK(cursor.visits(p) == n);
        }
        CHECK_THROWS_AS(cursor.visits(-1), value_error);
        if (count > 0) CHECK_THROWS_AS(cursor.visits(count), value_error);
        if (count != 1) CHECK(data_cursor(count).visits(1) == 0);
    }
}

TEST_CASE("data_cursor: goes on from a checkpoint, over as many problems only") {
    temporary_folder folder;
    data_cursor cursor(5);
    for (int i = 0; i < 8; ++i) cursor.next();
    save(folder / "c", cursor);
    data_cursor resumed(5);
    resumed.load(checkpoint_reader(folder / "c"), "cursor.");
    CHECK(resumed.position() == 8);
    CHECK(resumed.next() == cursor.next());
    for (index_t count : {0, 6}) {
        data_cursor other(count);
        CHECK_THROWS_AS(other.load(checkpoint_reader(folder / "c"), "cursor."),
                        configuration_error);
        CHECK(other.position() == 0);
    }
    CHECK_THROWS_AS(resumed.load(checkpoint_reader(folder / "c"), "other."), io_error);
    write_checkpoint(folder / "negative", [](checkpoint_writer& file) {
        file.put_value<index_t>("position", -1);
        file.put_value<index_t>("problem_count", 5);
    });
    CHECK_THROWS_AS(resumed.load(checkpoint_reader(folder / "negative"), ""), io_error);
    CHECK(resumed.position() == 9);
    CHECK_THROWS_AS(data_cursor(-1), configuration_error);
}
