// SPDX-License-Identifier: Apache-2.0
#include "grove/io/json.hpp"

#include <doctest/doctest.h>

#include "temporary_folder.hpp"

using namespace grove;

TEST_CASE("parse_json: values, and the order of keys where asked for") {
    CHECK(parse_json(R"({"b": [1, 2.5, "é"], "a": null})")["b"][2] == "é");
    CHECK(parse_json<ordered_json>(R"({"b": 1, "a": 2})").begin().key() == "b");
}

TEST_CASE("parse_json: mistakes are io_error with source, line and column") {
    auto const mistake = [](std::string_view text) {
        return message_of<io_error>([&] { parse_json(text, "config.json"); });
    };
    CHECK(mistake("{\n  \"a\": 1,\n  oops\n}") ==
          "[parse_json] expected config.json to be JSON, got a mistake at line 3, column 3");
    CHECK(contains(mistake(""), "line 1, column 1"));
    CHECK(contains(mistake("[1] 2"), "line 1, column 5"));
    CHECK(contains(mistake("[NaN]"), "line 1"));
    CHECK(contains(mistake("\"\xff\""), "line 1"));
    CHECK(contains(mistake("1e999"), "range of double"));
}

TEST_CASE("parse_json: nesting is bounded") {
    auto const nested = [](int depth) {
        auto const count = static_cast<std::size_t>(depth);
        return std::string(count, '[') + std::string(count, ']');
    };
    CHECK_NOTHROW(parse_json(nested(max_json_depth)));
    auto const deep = message_of<io_error>([&] { parse_json(nested(max_json_depth + 2)); });
    CHECK(contains(deep, "nest at most 256"));
    CHECK_THROWS_AS(parse_json(std::string(1000000, '[')), io_error);
}

TEST_CASE("read_json: names the file") {
    temporary_folder folder;
    write_file(folder / "good.json", "{\"a\": 1}");
    CHECK(read_json(folder / "good.json")["a"] == 1);
    write_file(folder / "bad.json", "{");
    CHECK(contains(message_of<io_error>([&] { read_json(folder / "bad.json"); }), "bad.json"));
    CHECK_THROWS_AS(read_json(folder / "absent.json"), io_error);
}

TEST_CASE("format_json: one line or indented, NaN as null, only UTF-8") {
    json const value{{"a", std::nan("")}, {"b", {1, 2}}};
    CHECK(format_json(value) == R"({"a":null,"b":[1,2]})");
    CHECK(contains(format_json(value, 2), "\n  \"b\""));
    CHECK_THROWS_AS(format_json(json("\xff")), value_error);
}

TEST_CASE("fields: reads every type, and leaves defaults where fields are absent") {
    json const document = parse_json(R"({"layers": 3, "rate": 1, "name": "tiny", "tied": true,
        "sizes": [1, 2, 3], "limit": null, "seed": 18446744073709551615, "extra": {"x": [0]}})");
    int layers = 0;
    float rate = 0;
    std::string name, other = "kept";
    bool tied = false;
    std::vector<std::int64_t> sizes;
    std::optional<double> limit = 1.0;
    std::uint64_t seed = 0;
    json extra;
    fields(document)
        .required("layers", layers)
        .required("rate", rate)
        .required("name", name)
        .optional("tied", tied)
        .optional("sizes", sizes)
        .optional("limit", limit)
        .optional("seed", seed)
        .optional("extra", extra)
        .optional("other", other)
        .done();
    CHECK(layers == 3);
    CHECK(rate == 1.0f);
    CHECK(name == "tiny");
    CHECK(tied);
    CHECK(sizes == std::vector<std::int64_t>{1, 2, 3});
    CHECK(!limit);
    CHECK(seed == 18446744073709551615u);
    CHECK(extra["x"][0] == 0);
    CHECK(other == "kept");
}

TEST_CASE("fields: an unknown field is named beside the known ones") {
    json const document = parse_json(R"({"hiden_size": 64})");
    int hidden_size = 32, layers = 2;
    fields configuration(document, "model");
    configuration.optional("hidden_size", hidden_size).optional("layers", layers);
    CHECK(message_of<configuration_error>([&] { configuration.done(); }) ==
          "[configuration] expected one of model.hidden_size, model.layers, got "
          "'model.hiden_size'");
    CHECK(hidden_size == 32);
}

TEST_CASE("fields: wrong types and ranges are named") {
    json const document =
        parse_json(R"({"text": "4", "real": 3.0, "large": 3000000000, "list": [1, "x"],
        "negative": -1, "huge": 1e300, "object": {}})");
    auto const reading = [&]<class T>(std::string const& name, T value) {
        return message_of<configuration_error>([&] { fields(document).required(name, value); });
    };
    CHECK(reading("text", 0) == "[configuration] expected text to be an integer, got \"4\"");
    CHECK(reading("real", 0) == "[configuration] expected real to be an integer, got 3.0");
    CHECK(reading("large", 0) ==
          "[configuration] expected large from -2147483648 to 2147483647, got 3000000000");
    CHECK(contains(reading("negative", 0u), "from 0 to 4294967295, got -1"));
    CHECK(contains(reading("huge", 0.0f), "huge to be a number within"));
    CHECK(contains(reading("text", 0.0), "text to be a number"));
    CHECK(contains(reading("large", false), "large to be true or false"));
    CHECK(contains(reading("large", std::string()), "large to be a string"));
    CHECK(contains(reading("list", std::vector<int>()), "list[1] to be an integer, got \"x\""));
    CHECK(contains(reading("object", std::vector<int>()), "object to be an array, got an object"));
    CHECK(contains(reading("absent", 0), "expected absent, got no such field"));
    json const array = json::array();
    CHECK_THROWS_AS(fields(array, "model"), configuration_error);
}

TEST_CASE("fields: choices and nested objects") {
    enum class method { adamw, sgd };
    json const document =
        parse_json(R"({"optimizer": {"method": "sgd"}, "bad": {"method": "adm"}})");
    method chosen = method::adamw;
    fields outer(document, "run");
    auto const read = [&](std::string const& name) {
        auto inner = outer.nested(name);
        inner.choice<method>("method", chosen, {{"adamw", method::adamw}, {"sgd", method::sgd}});
        inner.choice<method>("absent", chosen, {{"adamw", method::adamw}});
        inner.done();
    };
    read("optimizer");
    CHECK(chosen == method::sgd);
    CHECK(message_of<configuration_error>([&] { read("bad"); }) ==
          "[configuration] expected run.bad.method to be one of adamw, sgd, got 'adm'");
    outer.done();
}
