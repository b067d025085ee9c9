// SPDX-License-Identifier: Apache-2.0
#include "grove/io/checkpoint.hpp"

#include <doctest/doctest.h>

#include <array>
#include <limits>

#include "temporary_folder.hpp"

using namespace grove;

namespace {

void write_example(std::filesystem::path const& path) {
    std::vector<float> const weight{1.5f, -0.0f, std::numeric_limits<float>::infinity(), 4, 5, 6};
    write_checkpoint(path, [&](checkpoint_writer& file) {
        file.put("weight", weight, shape{2, 3});
        file.put("lengths", std::array<std::int32_t, 2>{7, -8});
        file.put("nothing", std::vector<double>{});
        file.put_value<index_t>("step", 42);
        file.put_text("tokens", std::string_view("a\0b", 3));
        file.put_json("cursor", json{{"epoch", 1}});
    });
}

/// What a run does when it resumes: opens, verifies and reads everything.
void read_everything(std::filesystem::path const& path) {
    checkpoint_reader const file(path);
    file.verify();
    file.get<float>("weight");
    file.get_json("cursor");
}

}  // namespace

TEST_CASE("checkpoint: what was put comes back, bit for bit and in order") {
    temporary_folder folder;
    write_example(folder / "c");
    checkpoint_reader const file(folder / "c");
    auto const weight = file.get<float>("weight");
    CHECK(weight.size() == 6);
    CHECK(std::signbit(weight[1]));
    CHECK(std::isinf(weight[2]));
    std::array<float, 6> into{};
    file.get_into("weight", into, shape{2, 3});
    CHECK(std::equal(into.begin(), into.end(), weight.begin()));
    CHECK(file.get<std::int32_t>("lengths") == std::vector<std::int32_t>{7, -8});
    CHECK(file.get<double>("nothing").empty());
    CHECK(file.get_value<index_t>("step") == 42);
    CHECK(file.get_text("tokens") == std::string("a\0b", 3));
    CHECK(file.get_json("cursor")["epoch"] == 1);
    CHECK(file.contains("step"));
    CHECK(!file.contains("steps"));
    CHECK(file.sections().size() == 6);
    CHECK(file.sections()[0].type == "f32");
    CHECK(file.sections()[0].extents == std::vector<index_t>{2, 3});
    CHECK_NOTHROW(file.verify());
}

TEST_CASE("checkpoint: the same content gives the same bytes") {
    temporary_folder folder;
    write_example(folder / "a");
    write_example(folder / "b");
    CHECK(read_file(folder / "a") == read_file(folder / "b"));
}

TEST_CASE("checkpoint: an error while writing leaves the old file") {
    temporary_folder folder;
    write_example(folder / "c");
    std::string const before = read_file(folder / "c");
    auto const refused = [&]<class Error>(Error const*, auto put) {
        auto const write = [&] { write_checkpoint(folder / "c", put); };
        CHECK_THROWS_AS(write(), Error);
        CHECK(read_file(folder / "c") == before);
    };
    value_error const* value = nullptr;
    shape_error const* extents = nullptr;
    refused(value, [](checkpoint_writer& file) { file.put_text("", "x"); });
    refused(value, [](checkpoint_writer& file) {
        file.put_text("a", "x");
        file.put_value("a", 1.0);
    });
    refused(value, [](checkpoint_writer& file) { file.put_json("a", json("\xff")); });
    refused(extents, [](checkpoint_writer& file) {
        file.put("a", std::vector<float>(5), shape{2, 3});
    });
}

TEST_CASE("checkpoint: a missing section, another type or another shape is named") {
    temporary_folder folder;
    write_example(folder / "c");
    checkpoint_reader const file(folder / "c");
    auto const refused = [](auto call) { return message_of<io_error>(call); };
    CHECK(contains(refused([&] { file.get<float>("moment"); }), "section 'moment' of "));
    CHECK(contains(refused([&] { file.get<double>("weight"); }), "'weight'"));
    CHECK(contains(refused([&] { file.get<double>("weight"); }), "to hold f64, got f32"));
    CHECK(contains(refused([&] { file.get_text("weight"); }), "to hold text, got f32"));
    CHECK(contains(refused([&] { file.get_json("tokens"); }), "to hold json, got text"));
    std::vector<float> six(6), five(5);
    CHECK(contains(refused([&] {
                       file.get_into("weight", six, shape{3, 2});
                   }),
                   "to have the shape [3, 2], got [2, 3]"));
    CHECK_THROWS_AS(file.get_value<float>("weight"), io_error);
    CHECK_THROWS_AS(file.get_into("weight", five, shape{2, 3}), shape_error);
}

TEST_CASE("checkpoint: missing files, other formats and other versions are io_error") {
    temporary_folder folder;
    CHECK_THROWS_AS(checkpoint_reader(folder / "absent"), io_error);
    write_file(folder / "text", "this is no checkpoint at all");
    CHECK(contains(message_of<io_error>([&] { checkpoint_reader{folder / "text"}; }),
                   "another format"));
    write_example(folder / "c");
    std::string bytes = read_file(folder / "c");
    std::string header = bytes.substr(0, 8);
    append_number<std::uint32_t>(header, 2);
    append_number<std::uint32_t>(header, crc32c(header));
    write_file(folder / "c", bytes.replace(0, 16, header));
    CHECK(contains(message_of<io_error>([&] { checkpoint_reader{folder / "c"}; }),
                   "to have version 1, got version 2"));
}

TEST_CASE("checkpoint: any change of any byte is io_error") {
    temporary_folder folder;
    write_example(folder / "c");
    std::string const bytes = read_file(folder / "c");
    for (std::size_t i = 0; i < bytes.size(); ++i)
        for (int change : {0x01, 0x80, 0xFF}) {
            std::string damaged = bytes;
            damaged[i] = static_cast<char>(damaged[i] ^ change);
            write_file(folder / "damaged", damaged);
            CHECK_THROWS_AS(read_everything(folder / "damaged"), io_error);
        }
}

TEST_CASE("checkpoint: any truncation and any addition is io_error") {
    temporary_folder folder;
    write_example(folder / "c");
    std::string const bytes = read_file(folder / "c");
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        write_file(folder / "damaged", bytes.substr(0, size));
        CHECK_THROWS_AS(checkpoint_reader(folder / "damaged"), io_error);
    }
    write_file(folder / "damaged", bytes + '\0');
    CHECK_THROWS_AS(checkpoint_reader(folder / "damaged"), io_error);
    write_file(folder / "damaged", bytes + bytes);
    CHECK_THROWS_AS(checkpoint_reader(folder / "damaged"), io_error);
}

TEST_CASE("checkpoint: damage is reported with the section where it is") {
    temporary_folder folder;
    write_checkpoint(folder / "c", [](checkpoint_writer& file) {
        file.put_text("first", "0123456789");
        file.put_text("second", "abcdefghij");
    });
    std::string const bytes = read_file(folder / "c");
    std::size_t const payload = bytes.find("abcdefghij");
    write_file(folder / "cut", bytes.substr(0, payload + 5));
    CHECK(contains(message_of<io_error>([&] { checkpoint_reader{folder / "cut"}; }),
                   "section 'second' of"));
    write_file(folder / "cut", bytes.substr(0, payload - 3));
    CHECK(contains(message_of<io_error>([&] { checkpoint_reader{folder / "cut"}; }),
                   "the section after 'first'"));
    std::string flipped = bytes;
    flipped[payload] = 'A';
    write_file(folder / "flipped", flipped);
    checkpoint_reader const file(folder / "flipped");
    CHECK(file.get_text("first") == "0123456789");
    CHECK(contains(message_of<io_error>([&] { file.get_text("second"); }), "section 'second' of"));
    CHECK(contains(message_of<io_error>([&] { file.verify(); }), "section 'second' of"));
}

TEST_CASE("checkpoint: sizes that a forged file claims are not believed") {
    temporary_folder folder;
    std::string forged("GROVECKP");
    append_number<std::uint32_t>(forged, 1);
    append_number<std::uint32_t>(forged, crc32c(forged));
    SUBCASE("a head of 4 GiB") {
        append_number<std::uint32_t>(forged, 0xFFFFFFFFu);
        write_file(folder / "c", forged + std::string(100, 'x'));
        CHECK_THROWS_AS(checkpoint_reader(folder / "c"), io_error);
    }
    SUBCASE("a payload of 2^63 bytes") {
        checkpoint_section section{"weight", "f32", {1 << 20}, std::uint64_t{1} << 63, 0, 0};
        write_file(folder / "c", forged + detail::encode_section_head(section));
        CHECK(contains(message_of<io_error>([&] { checkpoint_reader{folder / "c"}; }), "'weight'"));
    }
    SUBCASE("extents whose product overflows to the payload's size") {
        index_t const half = index_t{1} << 32;
        checkpoint_section section{"weight", "f32", {half, half}, 0, 0, 0};
        checkpoint_section end{"", "end", {}, 8, 0, 0};
        std::string bytes = forged + detail::encode_section_head(section);
        std::string total;
        append_number<std::uint64_t>(
            total, bytes.size() + detail::encode_section_head(end).size() + end.size);
        end.checksum = crc32c(total);
        write_file(folder / "c", bytes + detail::encode_section_head(end) + total);
        checkpoint_reader const file(folder / "c");
        CHECK_THROWS_AS(file.get<float>("weight"), io_error);
    }
}
