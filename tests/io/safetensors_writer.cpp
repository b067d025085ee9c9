// SPDX-License-Identifier: Apache-2.0
#include "grove/io/safetensors_writer.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "huggingface_models.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

/// What a file holds, as what is to be written.
std::vector<safetensors_output> outputs_of(safetensors_file const& file) {
    std::vector<safetensors_output> outputs;
    for (auto const& tensor : file.tensors())
        outputs.push_back({tensor.name, tensor.dtype, tensor.extents});
    std::ranges::reverse(outputs);  // the writer has an order of its own
    return outputs;
}

}  // namespace

TEST_CASE("write_safetensors: bytes by the book") {
    temporary_folder folder;
    write_safetensors(folder / "w",
                      {{"b", safetensors_dtype::bf16, {2}},
                       {"z", safetensors_dtype::f32, {1, 2}},
                       {"a", safetensors_dtype::bf16, {}},
                       {"none", safetensors_dtype::f32, {0, 3}}},
                      [](safetensors_output const& tensor) {
                          if (tensor.name == "none") return std::vector<double>{};
                          if (tensor.name == "a") return std::vector<double>{-2.5};
                          return std::vector<double>{1.0, 3.14159274};
                      });
    std::string header = R"({"__metadata__":{"format":"pt"},)"
                         R"("none":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},)"
                         R"("z":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                         R"("a":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},)"
                         R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[10,14]}})";
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string expected;
    append_number<std::uint64_t>(expected, header.size());
    expected +=
        header + std::string("\x00\x00\x80\x3f\xdb\x0f\x49\x40\x20\xc0\x80\x3f\x49\x40", 14);
    CHECK(read_file(folder / "w") == expected);
    CHECK(safetensors_file(folder / "w").get<float>("a")[0] == -2.5f);
    write_safetensors(folder / "nothing", {}, [](auto&) { return std::vector<float>{}; });
    CHECK(safetensors_file(folder / "nothing").tensors().empty());
}

TEST_CASE("write_safetensors: what the reference implementation wrote is written the same") {
    temporary_folder folder;
    for (auto const& name : published_models) {
        CAPTURE(name);
        if (name == "qwen2-tiny-bf16") continue;
        safetensors_file const file(published_model(name) / "model.safetensors");
        write_safetensors(folder / "w", outputs_of(file),
                          [&](auto const& tensor) { return file.get<float>(tensor.name); });
        CHECK(read_file(folder / "w") == read_file(file.path()));
    }
}

TEST_CASE("write_safetensors: blocks of large tensors join without seams") {
    temporary_folder folder;
    std::vector<float> numbers((1 << 20) + 3);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
    write_safetensors(folder / "w",
                      {{"w", safetensors_dtype::f32, {static_cast<index_t>(numbers.size())}}},
                      [&](auto const&) -> std::span<float const> { return numbers; });
    CHECK(safetensors_file(folder / "w").get<float>("w") == numbers);
}

TEST_CASE("write_safetensors: refusals leave the old file") {
    temporary_folder folder;
    write_file(folder / "w", "old");
    auto const writing = [&](std::vector<safetensors_output> tensors) {
        return [&folder, tensors] {
            write_safetensors(folder / "w", tensors, [](auto const&) {
                return std::vector<float>{1, 2};
            });
        };
    };
    using enum safetensors_dtype;
    CHECK(contains(message_of<value_error>(writing({{"a", f16, {2}}})),
                   "expected F32 or BF16 for 'a', got F16"));
    CHECK(contains(message_of<value_error>(writing({{"a", f32, {2}}, {"a", bf16, {2}}})),
                   "got 'a' again"));
    CHECK_THROWS_AS(writing({{"__metadata__", f32, {2}}})(), value_error);
    CHECK(contains(message_of<shape_error>(writing({{"a", f32, {3}}})),
                   "expected 3 elements of 'a', got 2"));
    CHECK_THROWS_AS(writing({{"\xff", f32, {2}}})(), value_error);
    CHECK(read_file(folder / "w") == "old");
    CHECK(folder.size() == 1);
}

TEST_CASE("write_safetensors_folder: shards as the reference cut them, and their index") {
    temporary_folder folder;
    auto const published = published_model("qwen2-tiny-bf16");
    safetensors_file const first(published / "model-00001-of-00002.safetensors");
    safetensors_file const second(published / "model-00002-of-00002.safetensors");
    auto outputs = outputs_of(second);
    for (auto const& output : outputs_of(first)) outputs.push_back(output);
    auto const elements = [&](safetensors_output const& tensor) {
        return (first.find(tensor.name) ? first : second).get<float>(tensor.name);
    };
    std::uint64_t const shard = first.tensors().back().end;
    write_safetensors_folder(folder.path(), outputs, elements, shard);
    for (auto const* file : {&first, &second})
        CHECK(read_file(folder.path() / file->path().filename()) == read_file(file->path()));
    CHECK(read_json(folder / "model.safetensors.index.json") ==
          read_json(published / "model.safetensors.index.json"));
    CHECK(safetensors_folder(folder.path()).tensors().size() == 26);

    write_safetensors_folder(folder.path(), outputs, elements, 1);
    CHECK(safetensors_folder(folder.path()).tensors().size() == 26);
    CHECK(std::filesystem::exists(folder / "model-00026-of-00026.safetensors"));
    CHECK_THROWS_AS(write_safetensors_folder(folder.path(), outputs, elements, 0), value_error);
}

TEST_CASE("write_safetensors_folder: one kind of weights replaces the other") {
    temporary_folder folder;
    std::vector<safetensors_output> const outputs{{"a", safetensors_dtype::f32, {1}},
                                                  {"b", safetensors_dtype::f32, {1}}};
    auto const write = [&](std::uint64_t shard_bytes, float number) {
        write_safetensors_folder(
            folder.path(), outputs, [&](auto const&) { return std::vector{number}; }, shard_bytes);
        safetensors_folder const files(folder.path());
        return detail::load_element<float>(files.tensors().at("b").bytes(), 0);
    };
    CHECK(write(8, 1) == 1);
    CHECK(folder.size() == 1);
    CHECK(write(7, 2) == 2);
    CHECK(folder.size() == 3);
    CHECK(write(8, 3) == 3);
    CHECK(folder.size() == 3);  // the shards of before are left, but nothing names them
    CHECK_FALSE(std::filesystem::exists(folder / "model.safetensors.index.json"));

    // Until all shards are complete, those of before stay as they are.
    write(7, 4);
    auto const failing = [&] {
        write_safetensors_folder(
            folder.path(), outputs,
            [](auto const& tensor) { return std::vector<float>(tensor.name == "a" ? 1 : 2); }, 7);
    };
    CHECK_THROWS_AS(failing(), shape_error);
    CHECK(folder.size() == 3);
    safetensors_folder const files(folder.path());
    CHECK(detail::load_element<float>(files.tensors().at("a").bytes(), 0) == 4);
}
