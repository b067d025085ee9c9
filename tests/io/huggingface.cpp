// SPDX-License-Identifier: Apache-2.0
#include "grove/io/huggingface.hpp"

#include <doctest/doctest.h>

#include "grove/backend/reference/reference.hpp"
#include "huggingface_models.hpp"
#include "temporary_folder.hpp"

using namespace grove;

namespace {

using model = decoder<reference_backend, float>;

/// The parameters of a model by name.
std::map<std::string, std::vector<float>> numbers_of(model& m) {
    std::map<std::string, std::vector<float>> numbers;
    detail::visit_published(
        m, [&](std::string const& name, auto& parameter) { numbers[name] = to_host(parameter); });
    return numbers;
}

/// A folder with the config.json of a published model and these weights.
class model_folder {
public:
    explicit model_folder(std::string const& name) {
        std::filesystem::copy(published_model(name) / "config.json", folder_ / "config.json");
        safetensors_folder const files(published_model(name));
        for (auto const& [tensor, source] : files.tensors()) {
            tensors[tensor] = {source.tensor->extents, source.file->get<float>(tensor)};
        }
    }
    struct entry {
        std::vector<index_t> extents;
        std::vector<float> elements;
    };
    std::map<std::string, entry> tensors;

    void write(safetensors_dtype dtype = safetensors_dtype::f32) const {
        std::vector<safetensors_output> outputs;
        for (auto const& [name, tensor] : tensors) outputs.push_back({name, dtype, tensor.extents});
        write_safetensors(folder_ / "model.safetensors", outputs,
                          [&](auto const& output) { return tensors.at(output.name).elements; });
    }
    std::filesystem::path const& path() const { return folder_.path(); }
    std::unique_ptr<model> load() {
        write();
        return load_huggingface(path(), backend_);
    }
    std::string refusal() {
        return message_of<io_error>([&] { load(); });
    }

private:
    temporary_folder folder_;
    reference_backend backend_;
};

}  // namespace

TEST_CASE("published_layout: every element of every parameter and tensor, exactly once") {
    reference_backend backend;
    for (auto const& name : published_models)
        for (auto const storage : {expert_storage::separate, expert_storage::fused}) {
            CAPTURE(name);
            auto config = read_huggingface_config(published_model(name)).decoder;
            config.attention_output_bias = config.attention_bias;
            model m(backend, config, 0);
            std::map<std::string, std::vector<int>> parameters;
            detail::visit_published(m, [&](std::string const& parameter, auto& value) {
                parameters[parameter].resize(static_cast<std::size_t>(value.size()));
            });
            for (auto const& tensor : published_layout(config, storage)) {
                index_t size = 1;
                for (index_t const extent : tensor.extents) size *= extent;
                std::vector<int> file(static_cast<std::size_t>(size));
                for (auto const& b : tensor.blocks) {
                    auto& parameter = parameters.at(b.parameter);
                    for (index_t i = 0; i < b.extents[0]; ++i)
                        for (index_t j = 0; j < b.extents[1]; ++j)
                            for (index_t k = 0; k < b.extents[2]; ++k) {
                                auto const own = b.offset + i * b.strides[0] + j * b.strides[1] + k;
                                auto const other = b.file_offset + i * b.file_strides[0] +
                                                   j * b.file_strides[1] + k * b.file_strides[2];
                                ++parameter.at(static_cast<std::size_t>(own));
                                ++file.at(static_cast<std::size_t>(other));
                            }
                }
                CHECK(std::ranges::all_of(file, [](int count) { return count == 1; }));
            }
            bool const biased = config.scoring_func == scoring_function::sigmoid;
            for (auto const& [parameter, counts] : parameters) {
                if (!biased && parameter.ends_with("e_score_correction_bias")) continue;
                CAPTURE(parameter);
                CHECK(std::ranges::all_of(counts, [](int count) { return count == 1; }));
            }
        }
}

TEST_CASE("load_huggingface: each kind of tensor lies where it belongs") {
    reference_backend backend;
    auto const loaded = load_huggingface(published_model("deepseek-v3-tiny"), backend);
    auto const numbers = numbers_of(*loaded);
    safetensors_file const file(published_model("deepseek-v3-tiny") / "model.safetensors");
    auto const own = [&](std::string const& name, std::size_t i) { return numbers.at(name)[i]; };
    auto const theirs = [&](std::string const& name, std::size_t i) {
        return file.get<float>(name)[i];
    };
    // Extents of this model: hidden 64, dense width 128, expert width 32, 4 heads of 16 + 8 columns
    // and values of 16, latent 16, compressed query 24, 8 experts, vocabulary 320.
    CHECK(own("model.embed_tokens.weight", 7 * 64 + 5) ==
          theirs("model.embed_tokens.weight", 7 * 64 + 5));
    CHECK(own("lm_head.weight", 5 * 320 + 7) == theirs("lm_head.weight", 7 * 64 + 5));
    CHECK(own("model.norm.weight", 9) == theirs("model.norm.weight", 9));
    std::string const dense = "model.layers.0.mlp.", moe = "model.layers.2.mlp.";
    CHECK(own(dense + "gate_up_proj.weight", 3 * 256 + 100) ==
          theirs(dense + "gate_proj.weight", 100 * 64 + 3));
    CHECK(own(dense + "gate_up_proj.weight", 3 * 256 + 128 + 100) ==
          theirs(dense + "up_proj.weight", 100 * 64 + 3));
    CHECK(own(dense + "down_proj.weight", 100 * 64 + 3) ==
          theirs(dense + "down_proj.weight", 3 * 128 + 100));
    CHECK(own(moe + "gate.weight", 3 * 8 + 6) == theirs(moe + "gate.weight", 6 * 64 + 3));
    CHECK(own(moe + "gate.e_score_correction_bias", 6) ==
          theirs(moe + "gate.e_score_correction_bias", 6));
    CHECK(own(moe + "experts.gate_up_proj", (6 * 64 + 3) * 64 + 20) ==
          theirs(moe + "experts.6.gate_proj.weight", 20 * 64 + 3));
    CHECK(own(moe + "experts.gate_up_proj", (6 * 64 + 3) * 64 + 32 + 20) ==
          theirs(moe + "experts.6.up_proj.weight", 20 * 64 + 3));
    CHECK(own(moe + "experts.down_proj", (6 * 32 + 20) * 64 + 3) ==
          theirs(moe + "experts.6.down_proj.weight", 3 * 32 + 20));
    CHECK(own(moe + "shared_experts.gate_up_proj.weight", 3 * 64 + 32 + 20) ==
          theirs(moe + "shared_experts.up_proj.weight", 20 * 64 + 3));
    std::string const attention = "model.layers.1.self_attn.";
    CHECK(own(attention + "q_b_proj.weight", 20 * 96 + 70) ==
          theirs(attention + "q_b_proj.weight", 70 * 24 + 20));
    CHECK(own(attention + "kv_a_proj_with_mqa.weight", 30 * 24 + 17) ==
          theirs(attention + "kv_a_proj_with_mqa.weight", 17 * 64 + 30));
    CHECK(own(attention + "k_b_proj.weight", (2 * 16 + 11) * 16 + 5) ==
          theirs(attention + "kv_b_proj.weight", (2 * 32 + 11) * 16 + 5));
    CHECK(own(attention + "v_b_proj.weight", (2 * 16 + 5) * 16 + 11) ==
          theirs(attention + "kv_b_proj.weight", (2 * 32 + 16 + 11) * 16 + 5));
}

TEST_CASE("load_huggingface, save_huggingface: the same bytes come back") {
    reference_backend backend;
    for (auto const& name : published_models) {
        CAPTURE(name);
        auto const published = published_model(name);
        bool const narrow = name == "qwen2-tiny-bf16";
        auto const loaded = load_huggingface(published, backend);
        huggingface_save_options options{.eos_token_ids = {3, 4}};
        if (narrow) {
            options.dtype = safetensors_dtype::bf16;
            options.shard_bytes = safetensors_file(published / "model-00001-of-00002.safetensors")
                                      .tensors()
                                      .back()
                                      .end;
        }
        temporary_folder folder;
        save_huggingface(*loaded, folder / "a/b", options);
        save_huggingface(*load_huggingface(folder / "a/b", backend), folder / "again", options);
        for (auto const& entry : std::filesystem::directory_iterator(folder / "a/b")) {
            auto const file = entry.path().filename();
            CAPTURE(file);
            CHECK(read_file(entry.path()) == read_file(folder / "again" / file.string()));
            if (file.extension() == ".safetensors")
                CHECK(read_file(entry.path()) == read_file(published / file));
        }
        auto const config = read_huggingface_config(folder / "again");
        CHECK(same_config(config.decoder, loaded->config()));
        CHECK(config.eos_token_ids == std::vector<index_t>{3, 4});
        CHECK(config.dtype == (narrow ? "bfloat16" : "float32"));
    }
}

TEST_CASE("load_huggingface: in double, from sixteen bits") {
    reference_backend backend;
    auto const loaded = load_huggingface<double>(published_model("qwen2-tiny-bf16"), backend);
    safetensors_file const file(published_model("qwen2-tiny-bf16") /
                                "model-00002-of-00002.safetensors");
    auto const values = published_tensors(*loaded, published_part::values);
    auto const norm =
        std::ranges::find(values, "model.norm.weight", &published_values<double>::name);
    CHECK(norm->elements == file.get<double>("model.norm.weight"));
    temporary_folder folder;
    save_huggingface(*loaded, folder.path(), {.dtype = safetensors_dtype::bf16});
    CHECK(safetensors_file(folder / "model.safetensors").get<double>("model.norm.weight") ==
          norm->elements);
}

TEST_CASE("save_huggingface: in BF16 routers' biases stay F32") {
    reference_backend backend;
    auto const loaded = load_huggingface(published_model("deepseek-v3-tiny"), backend);
    temporary_folder folder;
    save_huggingface(*loaded, folder.path(), {.dtype = safetensors_dtype::bf16});
    safetensors_file const file(folder / "model.safetensors");
    safetensors_file const before(published_model("deepseek-v3-tiny") / "model.safetensors");
    std::string const bias = "model.layers.1.mlp.gate.e_score_correction_bias";
    CHECK(file.tensors().front().name == bias);
    CHECK(file.tensor(bias).dtype == safetensors_dtype::f32);
    CHECK(file.get<float>(bias) == before.get<float>(bias));
    std::string const weight = "model.layers.1.mlp.gate.weight";
    CHECK(file.tensor(weight).dtype == safetensors_dtype::bf16);
    CHECK(file.get<float>(weight)[3] ==
          bfloat16_to_float(float_to_bfloat16(before.get<float>(weight)[3])));
    CHECK(load_huggingface(folder.path(), backend)->parameter_count() == loaded->parameter_count());
}

TEST_CASE("load_huggingface: parameters that are filled in parts have no seams") {
    reference_backend backend;
    for (char const* name : {"deepseek-v3-tiny", "qwen3-moe-tiny"}) {
        auto const folder = published_model(name);
        auto const whole = load_huggingface(folder, backend);
        safetensors_folder const files(folder);
        detail::published_sources const sources(read_huggingface_config(folder), files, folder);
        model parts(backend, whole->config(), 0);
        for (index_t const most : {1, 100, 1000}) {
            detail::visit_published(parts, [&](std::string const& parameter, auto& value) {
                value = zeros<float>(backend, value.extents());
                detail::fill_from_files(value, sources.of(parameter), most);
            });
            CHECK(numbers_of(parts) == numbers_of(*whole));
        }
    }
}

TEST_CASE("load_huggingface: experts stored as one tensor") {
    for (char const* name : {"qwen3-moe-tiny", "deepseek-v3-tiny"}) {
        CAPTURE(name);
        model_folder separate(name), fused(name);
        bool const deepseek = std::string(name) == "deepseek-v3-tiny";
        for (std::string const layer : {deepseek ? "2" : "0", "1"}) {
            std::string const prefix = "model.layers." + layer + ".mlp.experts.";
            // [E, 2I, H]: an expert's gate rows, then its up rows; [E, H, I].
            model_folder::entry gate_up{{8, 64, 64}, {}}, down{{8, 64, 32}, {}};
            auto const move = [&](std::string const& from, std::vector<float>& to) {
                auto const& elements = fused.tensors.at(from).elements;
                to.insert(to.end(), elements.begin(), elements.end());
                fused.tensors.erase(from);
            };
            for (int e = 0; e < 8; ++e) {
                std::string const expert = prefix + std::to_string(e);
                move(expert + ".gate_proj.weight", gate_up.elements);
                move(expert + ".up_proj.weight", gate_up.elements);
                move(expert + ".down_proj.weight", down.elements);
            }
            fused.tensors[prefix + "gate_up_proj"] = gate_up;
            fused.tensors[prefix + "down_proj"] = down;
        }
        CHECK(numbers_of(*fused.load()) == numbers_of(*separate.load()));
    }
}

TEST_CASE("load_huggingface: tensors that are known to be passed over") {
    model_folder folder("deepseek-v3-tiny");
    folder.tensors["model.layers.3.eh_proj.weight"] = {{2}, {1, 2}};
    folder.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{1}, {1}};
    CHECK_NOTHROW(folder.load());
    folder.tensors["model.layers.4.eh_proj.weight"] = {{2}, {1, 2}};
    folder.tensors["model.layers.3x.eh_proj.weight"] = {{2}, {1, 2}};
    CHECK(contains(folder.refusal(),
                   "got others; 2 unexpected: \"model.layers.3x.eh_proj.weight\", "
                   "\"model.layers.4.eh_proj.weight\""));
}

TEST_CASE("load_huggingface: all differences in one error, by name") {
    model_folder folder("llama-tiny");
    folder.tensors.erase("model.norm.weight");
    folder.tensors.erase("model.layers.1.mlp.up_proj.weight");
    folder.tensors["norm.weight"] = {{64}, std::vector<float>(64)};
    folder.tensors["lm_head.weight"].extents = {64, 320};
    CHECK(contains(folder.refusal(),
                   " to hold the tensors that its config.json describes, got others"
                   "; 2 missing: model.layers.1.mlp.up_proj.weight, model.norm.weight"
                   "; 1 unexpected: \"norm.weight\""
                   "; 1 of another shape or type: lm_head.weight (F32 [64, 320] instead of F64, "
                   "F32, F16 or BF16 [320, 64])"));
    model_folder many("llama-tiny");
    for (int i = 0; i < 25; ++i) many.tensors["extra." + std::to_string(i)] = {{1}, {0}};
    CHECK(contains(many.refusal(), "; 25 unexpected: \"extra.0\""));
    CHECK(contains(many.refusal(), " and 5 more"));
    model_folder biased("llama-tiny");
    biased.tensors["model.layers.0.self_attn.q_proj.bias"] = {{64}, std::vector<float>(64)};
    CHECK(contains(biased.refusal(), "1 unexpected"));
}

TEST_CASE("load_huggingface: integers are no weights") {
    model_folder folder("llama-tiny");
    folder.write();
    std::string bytes = read_file(folder.path() / "model.safetensors");
    auto const at = bytes.find("F32");
    bytes.replace(at, 3, "I32");
    write_file(folder.path() / "model.safetensors", bytes);
    reference_backend backend;
    CHECK(contains(message_of<io_error>([&] { load_huggingface(folder.path(), backend); }),
                   "lm_head.weight (I32 [320, 64] instead of"));
}

TEST_CASE("load_huggingface: a config.json that describes more than the files hold") {
    model_folder folder("llama-tiny");
    folder.write();
    reference_backend backend;
    auto config = read_json(folder.path() / "config.json");
    auto const refusal = [&](char const* name, index_t value) {
        auto hostile = config;
        hostile[name] = value;
        write_file(folder.path() / "config.json", hostile.dump());
        return message_of<io_error>([&] { load_huggingface(folder.path(), backend); });
    };
    CHECK(contains(refusal("num_hidden_layers", 65536),
                   "to hold the tensors of 65536 layers, at least 131072, got 21"));
    CHECK(contains(refusal("num_hidden_layers", 40), "342 missing"));
    CHECK(contains(refusal("vocab_size", 1 << 24), "2 of another shape or type"));
    CHECK(contains(refusal("intermediate_size", 1 << 20), "6 of another shape or type"));
    config = {{"model_type", "deepseek_v3"}};
    CHECK(contains(refusal("n_routed_experts", 65536), "tensors of 61 layers, at least 3801210"));
}

TEST_CASE("load_huggingface: folders without a config.json, or with a broken one") {
    temporary_folder folder;
    reference_backend backend;
    auto const load = [&] { load_huggingface(folder.path(), backend); };
    CHECK(contains(message_of<io_error>(load), "config.json"));
    write_file(folder / "config.json", "{");
    CHECK(contains(message_of<io_error>(load), "to be JSON"));
    write_file(folder / "config.json", R"({"model_type": "llama"})");
    CHECK(contains(message_of<io_error>(load), "got neither"));
    write_file(folder / "generation_config.json", R"({"eos_token_id": "</s>"})");
    CHECK_THROWS_AS(load(), configuration_error);
}

TEST_CASE("save_huggingface: what files cannot hold is refused") {
    reference_backend backend;
    temporary_folder folder;
    auto const loaded = load_huggingface(published_model("qwen3-moe-tiny"), backend);
    auto const save = [&](huggingface_save_options const& options = {}) {
        save_huggingface(*loaded, folder / "m", options);
    };
    loaded->visit_routers([](auto& router) {
        update_expert_bias(router, {1, 0, 0, 0, 0, 0, 0, 0}, 0.5);
    });
    CHECK(contains(message_of<configuration_error>(save),
                   "expected softmax routers without biases, got"));
    loaded->visit_routers(
        [&](auto& router) { router.score_correction_bias = zeros<float>(backend, {8}); });
    CHECK_THROWS_AS(save({.dtype = safetensors_dtype::f16}), value_error);
    CHECK_THROWS_AS(save({.eos_token_ids = {320}}), configuration_error);
    CHECK_FALSE(std::filesystem::exists(folder / "m/model.safetensors"));
    CHECK_NOTHROW(save());
    write_file(folder / "file", "");
    CHECK_THROWS_AS(save_huggingface(*loaded, folder / "file"), io_error);
    model odd(backend,
              {.vocab_size = 8,
               .hidden_size = 8,
               .intermediate_size = 8,
               .num_hidden_layers = 1,
               .rope_interleave = true},
              0);
    CHECK_THROWS_AS(save_huggingface(odd, folder / "odd"), configuration_error);
    CHECK_FALSE(std::filesystem::exists(folder / "odd"));
}

TEST_CASE("published_tensors: weights and gradients in the files' names and layout") {
    reference_backend backend;
    auto const loaded = load_huggingface(published_model("deepseek-v3-tiny"), backend);
    safetensors_file const file(published_model("deepseek-v3-tiny") / "model.safetensors");
    auto const values = published_tensors(*loaded, published_part::values);
    CHECK(values.size() == file.tensors().size());
    for (auto const& tensor : values) {
        CAPTURE(tensor.name);
        CHECK(tensor.extents == file.tensor(tensor.name).extents);
        CHECK(tensor.elements == file.get<float>(tensor.name));
    }
    auto gradients = published_tensors(*loaded, published_part::gradients);
    CHECK(gradients.size() == values.size() - 2);  // two routers' biases have none
    for (auto const& tensor : gradients)
        CHECK(std::ranges::all_of(tensor.elements, [](float x) { return x == 0; }));
    loaded->visit([](auto& p) { p.gradient = affine(p.value, 2.0f); });
    gradients = published_tensors(*loaded, published_part::gradients);
    safetensors_file const reference(published_model("deepseek-v3-tiny") / "reference.safetensors");
    for (auto const& tensor : gradients) {
        CAPTURE(tensor.name);
        CHECK(reference.tensor("grad." + tensor.name).extents == tensor.extents);
        auto expected = file.get<float>(tensor.name);
        for (float& x : expected) x *= 2;
        CHECK(tensor.elements == expected);
    }
}
