// SPDX-License-Identifier: Apache-2.0
#include "grove/io/llama2c.hpp"

#include <doctest/doctest.h>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/rollout/generate.hpp"
#include "grove/text/llama2c_tokenizer.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

using ids = std::vector<std::int32_t>;

std::filesystem::path const folder =
    std::filesystem::path(GROVE_SOURCE_DIRECTORY) / "tests/data/stories260K";

}  // namespace

TEST_CASE("llama2c: stories260K tells the story that an independent program tells") {
    eigen_backend backend(2);
    auto const model = load_llama2c(folder / "stories260K.bin", backend);
    CHECK(model->config().num_key_value_heads == 4);
    CHECK(model->config().tie_word_embeddings);
    auto const tokens = llama2c_tokenizer::load(folder / "tok512.bin");
    auto const prompt = tokens.encode("Once upon a time");
    auto const story = generator(
        *model, {.sampling = {.temperature = 0}, .max_new_tokens = 76})({{prompt, {}}})[0];
    CHECK(story.tokens == ids{432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
                              396, 267, 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433,
                              426, 385, 328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388,
                              426, 338, 391, 266, 267, 337, 335, 312, 432, 398, 312, 286, 267,
                              414, 270, 333, 415, 426, 13,  438, 310, 439, 419, 357, 336, 432,
                              313, 438, 310, 432, 278, 316, 439, 419, 298, 414, 267});
    CHECK(tokens.decode(story.tokens) ==
          ", there was a little girl named Lily. She loved to play outside in the park. One day, "
          "she saw a big, red ball. She wanted to play with it, but it was too high.\nLily's mom "
          "said, \"Lily, let's go to");

    auto const batch = packed_tokens::of({prompt});
    fresh_keys keys{batch.layout};
    auto const logits = to_host(model->logits(model->forward(backend, batch, keys).hidden));
    double const expected[] = {-6.22291391, 8.40434166, -6.22373887, -6.22254398};
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(logits[i] == doctest::Approx(expected[i]).epsilon(1e-5));
}

TEST_CASE("llama2c: damaged files are io_errors, before memory is taken") {
    eigen_backend backend(1);
    temporary_folder const scratch;
    std::string const whole = read_file(folder / "stories260K.bin");
    auto refused = [&](std::string const& bytes) {
        auto const path = scratch.path() / "model.bin";
        atomic_write(path, [&](output_file& file) { file.write(bytes); });
        return [&backend, path] { load_llama2c(path, backend); };
    };
    CHECK_NOTHROW(refused(whole)());
    CHECK_THROWS_AS(refused("")(), io_error);
    CHECK_THROWS_AS(refused(whole.substr(0, 27))(), io_error);
    CHECK_THROWS_AS(refused(whole.substr(0, whole.size() - 1))(), io_error);
    CHECK_THROWS_AS(refused(whole + '\0')(), io_error);
    auto with = [&](std::size_t field, std::int32_t value) {
        std::string bytes = whole;
        std::memcpy(bytes.data() + 4 * field, &value, sizeof value);
        return refused(bytes);
    };
    for (std::size_t field = 0; field < 7; ++field) {
        CHECK_THROWS_AS(with(field, 0)(), io_error);
        CHECK_THROWS_AS(with(field, 1 << 24)(), error);
        CHECK_THROWS_AS(with(field, std::numeric_limits<std::int32_t>::min())(), io_error);
    }
    CHECK_THROWS_AS(with(5, -512)(), io_error);  // a classifier that is not there
    CHECK_THROWS_AS(load_llama2c(scratch.path() / "none.bin", backend), io_error);
}
