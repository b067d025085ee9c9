// SPDX-License-Identifier: Apache-2.0
#include "grove/io/metrics.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "temporary_folder.hpp"

using namespace grove;

static_assert(metric_sink<jsonl_writer>);
static_assert(!metric_sink<int>);

TEST_CASE("jsonl_writer: one line a record, in order, there at once") {
    temporary_folder folder;
    jsonl_writer log(folder / "run/metrics.jsonl");
    log.write({1, {{"reward", 0.5}, {"kl", 1e-3}}});
    CHECK(read_file(folder / "run/metrics.jsonl") == "{\"step\":1,\"reward\":0.5,\"kl\":0.001}\n");
    log.write({2, {{"a \"b\"", -3}}});
    CHECK(
        contains(read_file(folder / "run/metrics.jsonl"), "\n{\"step\":2,\"a \\\"b\\\"\":-3.0}\n"));
}

TEST_CASE("jsonl_writer: doubles come back exactly, what is not finite as NaN") {
    temporary_folder folder;
    std::vector<metric_record> const records{{0, {{"z", 0.1}, {"a", 1.0 / 3}, {"m", 5e-324}}},
                                             {7, {}},
                                             {8, {{"z", 1.7976931348623157e308}}}};
    jsonl_writer log(folder / "m");
    for (auto const& record : records) log.write(record);
    CHECK(read_metrics(folder / "m") == records);
    log.write({9, {{"nan", std::nan("")}, {"infinite", HUGE_VAL}}});
    auto const last = read_metrics(folder / "m").back();
    CHECK(std::isnan(last.values[0].value));
    CHECK(std::isnan(last.values[1].value));
}

TEST_CASE("jsonl_writer: a killed and resumed run holds every step once") {
    temporary_folder folder;
    auto const run = [&](index_t resumed, index_t last) {
        jsonl_writer log(folder / "m", resumed);
        for (index_t step = resumed + 1; step <= last; ++step)
            log.write({step, {{"value", 0.1 * static_cast<double>(step)}}});
    };
    run(-1, 9);
    std::string const uninterrupted = read_file(folder / "m");
    run(-1, 6);
    std::string torn = read_file(folder / "m");
    write_file(folder / "m", torn + "{\"step\":7,\"val");
    run(4, 9);
    CHECK(read_file(folder / "m") == uninterrupted);
    run(-1, 0);
    CHECK(read_metrics(folder / "m").size() == 1);
}

TEST_CASE("jsonl_writer: records without sense are value_error and write nothing") {
    temporary_folder folder;
    jsonl_writer log(folder / "m");
    CHECK_THROWS_AS(log.write({-1, {}}), value_error);
    CHECK_THROWS_AS(log.write({1, {{"", 1}}}), value_error);
    CHECK_THROWS_AS(log.write({1, {{"step", 1}}}), value_error);
    CHECK_THROWS_AS(log.write({1, {{"a", 1}, {"b", 1}, {"a", 2}}}), value_error);
    CHECK_THROWS_AS(log.write({1, {{"\xff", 1}}}), value_error);
    CHECK(read_file(folder / "m").empty());
    CHECK_THROWS_AS(jsonl_writer(folder.path()), io_error);
}

TEST_CASE("read_metrics: other content is io_error that names the line") {
    temporary_folder folder;
    auto const mistake = [&](std::string const& line) {
        write_file(folder / "m", "{\"step\":1}\n" + line + "\n");
        return message_of<io_error>([&] { read_metrics(folder / "m"); });
    };
    CHECK(contains(mistake("{\"step\":2"), "m:2 "));
    CHECK(contains(mistake(""), "m:2 "));
    CHECK(contains(mistake("[2]"), "integer step"));
    CHECK(contains(mistake("{\"reward\":2}"), "integer step"));
    CHECK(contains(mistake("{\"step\":1.5}"), "integer step"));
    CHECK(contains(mistake("{\"step\":2,\"a\":\"b\"}"), "'a' in"));
    CHECK_THROWS_AS(jsonl_writer(folder / "m", 1), io_error);
    CHECK_THROWS_AS(read_metrics(folder / "absent"), io_error);
}
