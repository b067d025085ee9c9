// SPDX-License-Identifier: Apache-2.0
// The rules that every public header keeps.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

fs::path const root = GROVE_SOURCE_DIRECTORY;
std::string const license = "// SPDX-License-Identifier: Apache-2.0";
constexpr std::size_t most_lines = 500;
constexpr std::size_t most_columns = 100;

std::vector<std::string> lines_of(fs::path const& file) {
    std::ifstream stream(file);
    REQUIRE_MESSAGE(stream.good(), file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

struct header {
    std::string path;  // relative to include/grove/
    std::vector<std::string> lines;
};

std::vector<header> all_headers() {
    fs::path const include = root / "include" / "grove";
    std::vector<header> headers;
    for (auto const& entry : fs::recursive_directory_iterator(include)) {
        if (!entry.is_regular_file()) continue;
        headers.push_back({fs::relative(entry.path(), include).string(), lines_of(entry.path())});
    }
    return headers;
}

std::vector<std::string> layers() {
    std::vector<std::string> names = lines_of(root / "tests" / "house" / "layers.txt");
    std::erase_if(names, [](std::string const& name) { return name.empty() || name[0] == '#'; });
    return names;
}

/// The first folder of a path; empty for a header that lies in include/grove/ itself.
std::string folder_of(std::string_view path) {
    auto const slash = path.find('/');
    return std::string(slash == path.npos ? "" : path.substr(0, slash));
}

/// "core/shape.hpp" of a line that includes "grove/core/shape.hpp".
std::optional<std::string> included(std::string_view line) {
    std::string_view constexpr quoted = "#include \"grove/", angled = "#include <grove/";
    if (!line.starts_with(quoted) && !line.starts_with(angled)) return std::nullopt;
    line.remove_prefix(quoted.size());
    return std::string(line.substr(0, line.find_first_of("\">")));
}

/// Number of characters of UTF-8 text: the bytes that do not continue one.
std::size_t columns(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// What is wrong with the form of a header.
std::vector<std::string> faults_of(header const& file) {
    auto const& [path, lines] = file;
    std::vector<std::string> faults;
    if (lines.size() > most_lines)
        faults.push_back(path + " has " + std::to_string(lines.size()) + " lines");
    if (lines.empty() || lines[0] != license)
        faults.push_back(path + " does not begin with its license");
    if (std::count(lines.begin(), lines.end(), "#pragma once") != 1)
        faults.push_back(path + " does not say #pragma once");
    for (std::size_t i = 0; i < lines.size(); ++i) {
        auto const place = path + ":" + std::to_string(i + 1);
        if (auto const width = columns(lines[i]); width > most_columns)
            faults.push_back(place + " has " + std::to_string(width) + " columns");
        if (lines[i].ends_with(' ') || lines[i].ends_with('\t'))
            faults.push_back(place + " ends in white space");
    }
    return faults;
}

/// What is wrong with an include, or nothing.
std::optional<std::string> layering_fault(std::vector<std::string> const& order,
                                          std::string const& from, std::string const& to) {
    if (folder_of(from).empty()) return std::nullopt;
    if (folder_of(to).empty()) {
        if (to == "version.hpp") return std::nullopt;
        return from + " includes the umbrella header " + to;
    }
    auto const position = [&](std::string const& path) {
        return std::find(order.begin(), order.end(), folder_of(path));
    };
    if (position(to) == order.end()) return to + " lies in no folder of layers.txt";
    if (position(to) > position(from)) return from + " includes " + to + " from a layer below";
    return std::nullopt;
}

}  // namespace

TEST_CASE("a header includes only its own folder and those above it") {
    auto const order = layers();
    for (auto const& file : all_headers()) {
        auto const folder = folder_of(file.path);
        CHECK_MESSAGE((folder.empty() || std::count(order.begin(), order.end(), folder) == 1),
                      file.path, " lies in no folder of tests/house/layers.txt");
        for (auto const& line : file.lines) {
            auto const target = included(line);
            auto const fault = target ? layering_fault(order, file.path, *target) : std::nullopt;
            if (fault) FAIL_CHECK(*fault);
        }
    }
}

TEST_CASE("the layer rule catches what it should") {
    auto const order = layers();
    REQUIRE(order.size() > 10);
    CHECK_FALSE(layering_fault(order, "ops/softmax.hpp", "core/math.hpp"));
    CHECK_FALSE(layering_fault(order, "ops/softmax.hpp", "ops/reduce.hpp"));
    CHECK_FALSE(layering_fault(order, "grove.hpp", "train/trainer.hpp"));
    CHECK_FALSE(layering_fault(order, "io/checkpoint.hpp", "version.hpp"));
    CHECK(layering_fault(order, "core/math.hpp", "ops/softmax.hpp"));
    CHECK(layering_fault(order, "core/math.hpp", "grove.hpp"));
    CHECK(layering_fault(order, "core/math.hpp", "misc/helpers.hpp"));
    CHECK(included("#include \"grove/core/math.hpp\"") == "core/math.hpp");
    CHECK(included("#include <grove/core/math.hpp>  // why") == "core/math.hpp");
    CHECK_FALSE(included("#include <cmath>"));
}

TEST_CASE("headers are short, narrow, licensed and included once") {
    auto const headers = all_headers();
    REQUIRE(headers.size() > 5);
    for (auto const& file : headers)
        for (auto const& fault : faults_of(file)) FAIL_CHECK(fault);
}

TEST_CASE("the rules of form catch what they should") {
    header const good{"core/good.hpp", {license, "#pragma once"}};
    CHECK(faults_of(good).empty());

    CHECK(faults_of({"core/empty.hpp", {}}).size() == 2);
    CHECK(faults_of({"core/bare.hpp", {"int x;"}}).size() == 2);
    header wide = good, blank = good, lengthy = good;
    wide.lines.push_back(std::string(most_columns + 1, 'x'));
    CHECK(faults_of(wide) == std::vector<std::string>{"core/good.hpp:3 has 101 columns"});
    blank.lines.push_back("int x; ");
    CHECK(faults_of(blank) == std::vector<std::string>{"core/good.hpp:3 ends in white space"});
    lengthy.lines.resize(most_lines + 1);
    CHECK(faults_of(lengthy) == std::vector<std::string>{"core/good.hpp has 501 lines"});
}

TEST_CASE("columns counts characters, not bytes") {
    CHECK(columns("∂f/∂x") == 5);
    CHECK(columns("") == 0);
}
