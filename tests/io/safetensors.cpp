// SPDX-License-Identifier: Apache-2.0
#include "grove/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "huggingface_models.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

/// A file of this header and `size` bytes that count up.
std::string file_of(std::string const& header, std::size_t size) {
    std::string bytes;
    append_number<std::uint64_t>(bytes, header.size());
    bytes += header;
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i);
    return bytes;
}
safetensors_header parsed(std::string const& bytes) {
    return parse_safetensors_header(std::as_bytes(std::span(bytes)), "w");
}
/// The message with which a file of this header and size is refused.
std::string refusal(std::string const& header, std::size_t size) {
    return message_of<io_error>([&] { parsed(file_of(header, size)); });
}
std::string entry(std::string const& dtype, std::string const& shape, std::string const& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           '}';
}

/// The elements of one tensor of this type and these bytes, read as T.
template <class T>
std::vector<T> elements(safetensors_dtype dtype, std::string const& bytes, index_t size) {
    safetensors_tensor const tensor{"t", dtype, {size}, 0, bytes.size()};
    std::vector<T> numbers;
    detail::with_elements<T>(tensor, reinterpret_cast<std::byte const*>(bytes.data()),
                             [&](auto const& element) {
                                 for (index_t i = 0; i < size; ++i) numbers.push_back(element(i));
                             });
    return numbers;
}
template <class T>
std::string bytes_of(std::vector<T> const& numbers) {
    return {reinterpret_cast<char const*>(numbers.data()), numbers.size() * sizeof(T)};
}

void write_index(std::filesystem::path const& path, json const& map) {
    write_file(path, json{{"weight_map", map}}.dump());
}

}  // namespace

TEST_CASE("safetensors header: tensors in the order of their bytes, and the metadata") {
    std::string const text =
        R"({"b":)" + entry("F32", "[2,3]", "[6,30]") + R"(,"a":)" + entry("BF16", "[3]", "[0,6]") +
        R"(,"none":)" + entry("I64", "[0,5]", "[30,30]") + R"(,"é":)" +
        entry("F16", "[]", "[30,32]") + R"(,"nibbles":)" + entry("F4", "[3,2]", "[32,35]") +
        R"(,"__metadata__":{"format":"pt","k":"ü"}}   )";
    auto const header = parsed(file_of(text, 35));
    CHECK(header.data == 8 + text.size());
    CHECK(header.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"k", "ü"}});
    REQUIRE(header.tensors.size() == 5);
    CHECK(header.tensors[0].name == "a");
    CHECK(header.tensors[0].dtype == safetensors_dtype::bf16);
    CHECK(header.tensors[1].extents == std::vector<index_t>{2, 3});
    CHECK(header.tensors[1].begin == 6);
    CHECK(header.tensors[2].size() == 0);
    CHECK(header.tensors[3].name == "é");
    CHECK(header.tensors[3].size() == 1);
    CHECK(header.tensors[4].size() == 6);
    CHECK(parsed(file_of("{}", 0)).tensors.empty());
    CHECK(parsed(file_of(R"({"__metadata__":{}})", 0)).metadata.empty());
}

TEST_CASE("safetensors header: every dtype of the format, by name and size") {
    for (auto const& [name, bits] : detail::safetensors_dtypes) {
        std::string const end = std::to_string(bits);
        auto const header = parsed(
            file_of(R"({"t":)" + entry(std::string(name), "[8]", "[0," + end + "]") + '}', bits));
        CHECK(safetensors_name(header.tensors[0].dtype) == name);
        CHECK(header.tensors[0].size() == 8);
    }
}

TEST_CASE("safetensors header: lengths that cannot be") {
    auto const mistake = [](std::string const& bytes) {
        return message_of<io_error>([&] { parsed(bytes); });
    };
    CHECK(mistake("") ==
          "[safetensors] expected w to begin with the length of its header, got 0 bytes");
    CHECK(contains(mistake("1234567"), "got 7 bytes"));
    std::string length;
    append_number<std::uint64_t>(length, 100'000'001);
    CHECK(mistake(length + "{}") ==
          "[safetensors] expected w to have a header of at most 100000000 bytes, got 100000001");
    CHECK(contains(mistake(std::string(8, '\xff') + "{}"), "got 18446744073709551615"));
    length.clear();
    append_number<std::uint64_t>(length, 3);
    CHECK(mistake(length + "{}") ==
          "[safetensors] expected w to hold its header of 3 bytes, got 2");
    CHECK(contains(refusal("", 0), "starts with '{'"));
    CHECK(contains(refusal(" {}", 0), "starts with '{'"));
    CHECK(contains(refusal("[]", 0), "starts with '{'"));
}

TEST_CASE("safetensors header: every kind of damage is an io_error with a sentence") {
    auto const one = [](std::string const& dtype, std::string const& shape,
                        std::string const& offsets, std::size_t size) {
        return refusal(R"({"t":)" + entry(dtype, shape, offsets) + '}', size);
    };
    std::string const good = entry("U8", "[2]", "[0,2]");
    CHECK(one("F32", "[2]", "[0,8]", 8).empty());
    struct damage {
        std::string message, part;
    };
    std::vector<damage> const cases{
        {refusal("{", 0), "expected the header of w to be JSON in UTF-8, got a mistake at byte 2"},
        {refusal("{\"\xff\":1}", 0), "to be JSON in UTF-8"},
        {refusal("{}x", 0), "to be JSON in UTF-8"},
        {refusal(R"({"t":[]})", 0), R"("t" in the header of w to hold an object, got an array)"},
        {refusal(R"({"t":3})", 0), "to hold an object, got a number"},
        {refusal(R"({"t":null})", 0), "got null"},
        {refusal(R"({"t":true})", 0), "got true or false"},
        {refusal(R"({"__metadata__":{"a":1}})", 0),
         R"("a" of "__metadata__" in the header of w to hold a string, got a number)"},
        {refusal(R"({"__metadata__":{"a":{}}})", 0), "to hold a string, got an object"},
        {refusal(R"({"t":{"dtype":{},"shape":[],"data_offsets":[0,1]}})", 1), "got an object"},
        {refusal(R"({"t":{"dtype":"U8","shape":"[]","data_offsets":[0,1]}})", 1),
         "to hold an array of integers, got a string"},
        {refusal(R"({"t":{"dtype":["U8"],"shape":[],"data_offsets":[0,1]}})", 1), "got an array"},
        {refusal(R"({"t":{"dtype":"U8","shape":[1]}})", 1), "got fewer"},
        {refusal(R"({"t":{}})", 0), "to have dtype, shape and data_offsets, got fewer"},
        {refusal(R"({"t":{"dtype":"U8","size":[1]}})", 1), R"(got "size")"},
        {refusal(R"({"t":)" + good + R"(,"t":)" + entry("U8", "[2]", "[2,4]") + '}', 4),
         R"(each name once, got "t" again)"},
        {refusal(R"({"t":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1),
         R"(got "dtype" again)"},
        {refusal(R"({"__metadata__":{"a":"1","a":"2"}})", 0), R"(got "a" again)"},
        {refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), "again"},
        {one("F33", "[2]", "[0,8]", 8), R"(a known dtype, got "F33")"},
        {one("f32", "[2]", "[0,8]", 8), "a known dtype"},
        {one("F32", "[-2]", "[0,8]", 8), "integers ≥ 0, got a number below 0"},
        {one("F32", "[2.0]", "[0,8]", 8), "got a number that is not an integer"},
        {one("F32", "[1e300]", "[0,8]", 8), "got a number that is not an integer"},
        {one("F32", "[18446744073709551616]", "[0,8]", 8), "not an integer in range"},
        {one("F32", "[18446744073709551615]", "[0,8]", 8), "at most 63 bits"},
        {one("F32", "[[2]]", "[0,8]", 8), "got an array"},
        {one("F32", "[\"2\"]", "[0,8]", 8), "got a string"},
        {one("F32", "[1,1,1,1,1,1,2]", "[0,8]", 8), "at most 6 extents"},
        {one("U8", "[4611686018427387904,4,1]", "[0,0]", 0), "the bytes of its shape"},
        {one("F64", "[2305843009213693952]", "[0,0]", 0), "the bytes of its shape"},
        {one("U8", "[4294967296,4294967296]", "[0,0]", 0), "the bytes of its shape"},
        {one("F4", "[3]", "[0,1]", 1), "the bytes of its shape and dtype, got 1"},
        {one("F32", "[2]", "[0,9]", 9), "the bytes of its shape and dtype, got 9"},
        {one("F32", "[2]", "[8,0]", 8), "begin ≤ end"},
        {one("F32", "[2]", "[0]", 8), "data_offsets [begin, end]"},
        {one("F32", "[2]", "[0,4,8]", 8), "data_offsets [begin, end]"},
        {one("F32", "[2]", "[0,8]", 7), "to end with its last tensor, after 8 bytes, got 7"},
        {one("F32", "[2]", "[0,8]", 9), "to end with its last tensor, after 8 bytes, got 9"},
        {one("F32", "[2]", "[1,9]", 9), R"(to hold "t" from byte 0, )"},
        {refusal(R"({"t":)" + good + R"(,"u":)" + entry("U8", "[2]", "[1,3]") + '}', 3),
         R"(to hold "u" from byte 2, where the tensors before it end, got byte 1)"},
        {refusal(R"({"t":)" + good + R"(,"u":)" + entry("U8", "[2]", "[3,5]") + '}', 5),
         R"(to hold "u" from byte 2, where the tensors before it end, got byte 3)"},
        {refusal(R"({"t":)" + good + R"(,"u":)" + good + '}', 2), "from byte 2"},
        {refusal("{\"t\":" + std::string(100000, '['), 0), "to hold an object, got an array"},
        {refusal("{\"" + std::string(100000, 'x') + "\":1}", 0), "…"},
    };
    for (auto const& [message, part] : cases) {
        CAPTURE(part);
        CAPTURE(message);
        CHECK(contains(message, part));
        CHECK(message.size() < 400);
    }
}

TEST_CASE("safetensors header: a file cut short anywhere is refused") {
    std::string const whole = file_of(R"({"t":)" + entry("F32", "[2]", "[0,8]") + '}', 8);
    CHECK_NOTHROW(parsed(whole));
    for (std::size_t size = 0; size < whole.size(); ++size)
        CHECK_THROWS_AS(parsed(whole.substr(0, size)), io_error);
}

TEST_CASE("half precision: golden values, and every finite number in order") {
    using bits = std::uint16_t;
    std::vector<std::pair<bits, float>> const golden{
        {0x0001, 0x1p-24f}, {0x03ff, 0x1.ff8p-15f}, {0x0400, 0x1p-14f}, {0x3c00, 1.0f},
        {0xc000, -2.0f},    {0x3555, 0x1.554p-2f},  {0x7bff, 65504.0f}, {0x83ff, -0x1.ff8p-15f},
        {0x7c00, INFINITY}, {0xfc00, -INFINITY}};
    for (auto const& [half, number] : golden) CHECK(half_to_float(half) == number);
    CHECK(std::signbit(half_to_float(0x8000)));
    CHECK(std::isnan(half_to_float(0x7e01)));
    for (bits half = 0; half < 0x7c00; ++half)
        CHECK(half_to_float(half) < half_to_float(static_cast<bits>(half + 1)));
}

TEST_CASE("bfloat16: nearest, ties to even, infinities and NaN") {
    // Found by exact rational arithmetic.
    std::vector<std::pair<float, std::uint16_t>> const golden{
        {1.0f, 0x3f80},          {-2.5f, 0xc020},       {3.14159274f, 0x4049},
        {1.00390625f, 0x3f80},   {1.01171875f, 0x3f82}, {-1.01171875f, 0xbf82},
        {1.00390637f, 0x3f81},   {0.1f, 0x3dcd},        {3.3895314e38f, 0x7f7f},
        {3.4028235e38f, 0x7f80}, {1e-40f, 0x0001},      {-0.0f, 0x8000},
        {65280.0f, 0x477f},      {-INFINITY, 0xff80}};
    for (auto const& [number, bits] : golden) {
        CAPTURE(number);
        CHECK(float_to_bfloat16(number) == bits);
    }
    CHECK(bfloat16_to_float(0x4049) == 3.140625f);
    float const quiet = std::numeric_limits<float>::quiet_NaN();
    CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(quiet))));
    CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        auto const narrow = static_cast<std::uint16_t>(bits);
        float const number = bfloat16_to_float(narrow);
        if (number == number) CHECK(float_to_bfloat16(number) == narrow);
    }
}

TEST_CASE("safetensors elements: every type that is converted, and those that are not") {
    auto const doubles = bytes_of(std::vector<double>{1.5, -0.1});
    auto const floats = bytes_of(std::vector<float>{1.5f, -0.1f});
    CHECK(elements<double>(safetensors_dtype::f64, doubles, 2) == std::vector{1.5, -0.1});
    CHECK(elements<float>(safetensors_dtype::f64, doubles, 2) == std::vector{1.5f, -0.1f});
    CHECK(elements<double>(safetensors_dtype::f32, floats, 2) == std::vector<double>{1.5, -0.1f});
    CHECK(elements<float>(safetensors_dtype::bf16, std::string("\x49\x40", 2), 1)[0] == 3.140625f);
    CHECK(elements<float>(safetensors_dtype::f16, std::string("\x00\xc0", 2), 1)[0] == -2.0f);
    // Bytes need no alignment.
    safetensors_tensor const tensor{"t", safetensors_dtype::f32, {2}, 1, 9};
    std::string const shifted = 'x' + floats;
    detail::with_elements<float>(tensor, reinterpret_cast<std::byte const*>(shifted.data()) + 1,
                                 [](auto const& element) { CHECK(element(1) == -0.1f); });

    auto const wide = bytes_of(std::vector<std::int64_t>{7, -8, std::int64_t{1} << 31});
    CHECK(elements<std::int64_t>(safetensors_dtype::i64, wide, 3)[2] == std::int64_t{1} << 31);
    CHECK(elements<std::int32_t>(safetensors_dtype::i64, wide, 2) ==
          std::vector<std::int32_t>{7, -8});
    CHECK(contains(
        message_of<io_error>([&] { elements<std::int32_t>(safetensors_dtype::i64, wide, 3); }),
        R"(expected "t" to hold integers of 32 bits, got 2147483648)"));
    CHECK(elements<std::int64_t>(safetensors_dtype::i32, std::string("\xff\xff\xff\xff"), 1)[0] ==
          -1);
    CHECK(contains(message_of<io_error>([&] { elements<float>(safetensors_dtype::i64, wide, 3); }),
                   R"(expected "t" to hold F64, F32, F16 or BF16, got I64)"));
    CHECK(contains(
        message_of<io_error>([&] { elements<std::int32_t>(safetensors_dtype::f32, floats, 2); }),
        "to hold I64 or I32, got F32"));
}

TEST_CASE("safetensors_file: a published file") {
    safetensors_file const file(published_model("qwen2-tiny") / "model.safetensors");
    CHECK(file.metadata().at("format") == "pt");
    CHECK(file.tensors().size() == 26);
    CHECK(file.tensors().front().name == "model.embed_tokens.weight");
    auto const bias = file.get<float>("model.layers.1.self_attn.k_proj.bias");
    CHECK(bias.size() == 32);
    CHECK(bias[1] == doctest::Approx(0.05656036362051964).epsilon(1e-12));
    double sum = 0;
    for (double const x : file.get<double>("model.embed_tokens.weight")) sum += x;
    CHECK(sum == doctest::Approx(1.8978780303368694).epsilon(1e-12));
    CHECK(file.bytes(file.tensor("model.norm.weight")).size() == 256);
    CHECK(file.find("model.norm") == nullptr);
    CHECK(contains(message_of<io_error>([&] { file.get<float>("lm_head.weight"); }),
                   R"(to hold "lm_head.weight", got no such tensor)"));
    std::vector<float> narrow(31);
    auto const get_into = [&] {
        file.get_into("model.layers.1.self_attn.k_proj.bias", std::span(narrow));
    };
    CHECK(contains(message_of<shape_error>(get_into), "expected room for the 32 elements"));
    safetensors_file const reference(published_model("qwen2-tiny") / "reference.safetensors");
    std::int32_t ids = 0;
    for (auto const id : reference.get<std::int32_t>("input_ids")) ids += id;
    CHECK(ids == 15674);
}

TEST_CASE("safetensors_file: what is no file is refused by name") {
    temporary_folder folder;
    CHECK(contains(message_of<io_error>([&] { safetensors_file(folder / "absent"); }), "absent"));
    CHECK(contains(message_of<io_error>([&] { safetensors_file(folder.path()); }), "regular file"));
    write_file(folder / "empty", "");
    CHECK(contains(message_of<io_error>([&] { safetensors_file(folder / "empty"); }),
                   "the length of its header, got 0 bytes"));
    write_file(folder / "text", "not a tensor in sight");
    CHECK_THROWS_AS(safetensors_file(folder / "text"), io_error);
}

TEST_CASE("safetensors index: plain names of files alone") {
    auto const shards = parse_safetensors_index(
        parse_json(R"({"metadata": {"total_size": 1}, "weight_map": {"a": "1.st", "b": "2.st"}})"));
    CHECK(shards == std::map<std::string, std::string>{{"a", "1.st"}, {"b", "2.st"}});
    for (char const* name : {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\\u0000b"}) {
        CAPTURE(name);
        std::string text = R"({"weight_map": {"a": ")";
        for (char const* c = name; *c; ++c)
            text += (*c == '\\' && c[1] != 'u') ? "\\\\" : std::string(1, *c);
        auto const index = parse_json(text + "\"}}");
        CHECK(contains(message_of<io_error>([&] { parse_safetensors_index(index); }),
                       "to name files of its own folder"));
    }
    for (char const* text : {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": {"a": 1}})"})
        CHECK_THROWS_AS(parse_safetensors_index(parse_json(text)), io_error);
}

TEST_CASE("safetensors_folder: one file or the shards of an index") {
    safetensors_folder const single(published_model("qwen2-tiny"));
    safetensors_folder const sharded(published_model("qwen2-tiny-bf16"));
    CHECK(single.tensors().size() == 26);
    REQUIRE(sharded.tensors().size() == 26);
    auto const& source = sharded.tensors().at("model.norm.weight");
    CHECK(source.file->path().filename() == "model-00002-of-00002.safetensors");
    CHECK(source.tensor->dtype == safetensors_dtype::bf16);
}

TEST_CASE("safetensors_folder: folders that contradict themselves") {
    temporary_folder folder;
    auto const mistake = [&] {
        return message_of<io_error>([&] { safetensors_folder{folder.path()}; });
    };
    auto const shard = [&](std::string const& file, std::string const& tensor) {
        write_file(folder / file,
                   file_of(R"({")" + tensor + R"(":)" + entry("U8", "[1]", "[0,1]") + '}', 1));
    };
    std::string const index = "model.safetensors.index.json";
    CHECK(contains(mistake(), "got neither"));
    shard("1.st", "a");
    shard("2.st", "b");
    write_index(folder / index, {{"a", "1.st"}, {"b", "2.st"}});
    CHECK(mistake().empty());
    write_index(folder / index, {{"a", "1.st"}, {"b", "2.st"}, {"c", "2.st"}});
    CHECK(contains(mistake(), R"(to hold "c", got no such tensor)"));
    write_index(folder / index, {{"a", "1.st"}, {"b", "3.st"}});
    CHECK(contains(mistake(), "3.st"));
    write_index(folder / index, {{"a", "2.st"}, {"b", "1.st"}});
    CHECK(contains(mistake(), R"(to place "a" in 1.st, where it is)"));
    shard("2.st", "a");
    write_index(folder / index, {{"a", "1.st"}, {"b", "2.st"}});
    CHECK(contains(mistake(), R"(to place "a" in 2.st)"));
    write_file(folder / index, "{");
    CHECK(contains(mistake(), "to be JSON"));
    shard("model.safetensors", "a");
    CHECK(contains(mistake(), "got both"));
}
