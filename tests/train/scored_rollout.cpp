// SPDX-License-Identifier: Apache-2.0
#include "grove/train/scored_rollout.hpp"

#include <doctest/doctest.h>

#include "../io/temporary_folder.hpp"
#include "grove/io/checkpoint.hpp"

using namespace grove;

namespace {

scored_rollout<float> example() {
    scored_rollout<float> rollout;
    rollout.responses = {
        {{1, 2}, {3, 4, 5}, {{0, 2, 2, 3}, {3, 9, 5}}, {{1, 0, 2, 3}, {0, 1, 5, 4}}},
        {{7}, {8}, {}, {{6}, {7}}}};
    rollout.log_probability = {{-0.5f, -0.0f, -3.25f}, {-1e-30f}};
    rollout.completions = {
        {"q", std::string("a\0\xff", 3), "r", 0.25f, true, finish_reason::end, 3},
        {"", "", "", 0.0f, false, finish_reason::length, 1}};
    rollout.advantage = {0.75f, -0.75f};
    return rollout;
}
void save(std::filesystem::path const& path, scored_rollout<float> const& rollout) {
    write_checkpoint(path, [&](checkpoint_writer& file) { save_rollout(file, "r/", rollout); });
}
scored_rollout<float> load(std::filesystem::path const& path, std::size_t count) {
    return load_rollout<float>(checkpoint_reader(path), "r/", count);
}

}  // namespace

TEST_CASE("scored_rollout: comes back from a checkpoint, field by field") {
    temporary_folder folder;
    auto const put = example();
    save(folder / "c", put);
    auto const got = load(folder / "c", 2);
    REQUIRE(got.size() == 2);
    CHECK(got.tokens() == 4);
    CHECK(got.rewards() == std::vector<float>{0.25f, 0.0f});
    CHECK(got.scored() == std::vector<std::uint8_t>{1, 0});
    CHECK(got.log_probability == put.log_probability);
    CHECK(got.advantage == put.advantage);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(got.responses[i].prompt == put.responses[i].prompt);
        CHECK(got.responses[i].tokens == put.responses[i].tokens);
        CHECK(got.responses[i].kept.offsets == put.responses[i].kept.offsets);
        CHECK(got.responses[i].kept.tokens == put.responses[i].kept.tokens);
        CHECK(got.responses[i].experts == put.responses[i].experts);
        CHECK(got.completions[i].prompt == put.completions[i].prompt);
        CHECK(got.completions[i].text == put.completions[i].text);
        CHECK(got.completions[i].reference == put.completions[i].reference);
        CHECK(got.completions[i].reason == put.completions[i].reason);
        CHECK(got.completions[i].length == put.completions[i].length);
    }
    save(folder / "again", got);
    CHECK(read_file(folder / "c") == read_file(folder / "again"));
}

TEST_CASE("scored_rollout: what does not fit together is io_error") {
    temporary_folder folder;
    save(folder / "c", example());
    CHECK_THROWS_AS(load(folder / "c", 1), io_error);
    CHECK_THROWS_AS(load(folder / "c", 3), io_error);
    auto const refused = [&](auto change) {
        auto rollout = example();
        change(rollout);
        save(folder / "other", rollout);
        CHECK_THROWS_AS(load(folder / "other", 2), io_error);
    };
    refused([](auto& r) { r.log_probability[0].pop_back(); });
    refused([](auto& r) { r.log_probability.pop_back(); });
    refused([](auto& r) { r.advantage.pop_back(); });
    refused([](auto& r) { r.completions.pop_back(); });
    refused([](auto& r) { r.responses[1].tokens.push_back(3); });
    refused([](auto& r) { r.completions[0].reason = static_cast<finish_reason>(7); });

    auto some = example();
    some.responses[1].experts.clear();
    CHECK_THROWS_AS(save(folder / "some", some), value_error);

    auto const with_offsets = [&](std::vector<index_t> const& offsets) {
        write_checkpoint(folder / "rows", [&](checkpoint_writer& file) {
            file.put("x", std::vector<float>{1, 2, 3});
            file.put("x.offsets", offsets);
        });
        return detail::get_rows<std::vector<float>>(checkpoint_reader(folder / "rows"), "x", 2);
    };
    CHECK(with_offsets({0, 1, 3}) == std::vector<std::vector<float>>{{1}, {2, 3}});
    for (std::vector<index_t> const& offsets :
         {std::vector<index_t>{0, 4, 3}, {0, 1, 2}, {1, 2, 3}, {0, 3}, {}, {0, -1, 3}})
        CHECK_THROWS_AS(with_offsets(offsets), io_error);
}
