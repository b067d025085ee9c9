// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string text_of(std::string const& path) {
    std::ifstream file(std::filesystem::path(GROVE_SOURCE_DIRECTORY) / path);
    REQUIRE_MESSAGE(file.good(), path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace

TEST_CASE("the README's programs are the examples that the tests run") {
    std::string const readme = text_of("README.md");
    for (std::string const path : {"examples/01_custom_reward.cpp", "examples/02_own_policy.cpp"}) {
        std::string const program = text_of(path);
        std::string const body = program.substr(program.find('\n') + 1);  // behind the licence line
        CHECK_MESSAGE(readme.find("```cpp\n" + body + "```") != std::string::npos, path);
    }
}
