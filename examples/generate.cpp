// SPDX-License-Identifier: Apache-2.0
// Continues a text, or token ids, with a published model, as the tokens come.
//
//   generate stories260K.bin --tokenizer tok512.bin --prompt "Once upon a time"
//   generate MODEL --tokens 17,4,9 --temperature 0.6 --top-p 0.95
//
// MODEL is a folder in Hugging Face's layout or a file in llama2.c's. Text needs --tokenizer, a
// tokenizer file of llama2.c; without it, ids are read and written.
#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>

#include "grove/rollout/generate.hpp"
#include "grove/text/llama2c_tokenizer.hpp"
#include "load_model.hpp"

namespace {

struct options {
    std::string model, tokenizer, prompt;
    std::vector<std::int32_t> tokens;
    grove::generation_options generation{.max_new_tokens = 256};
    std::uint64_t seed = 0;
};

void generate(options& o) {
    grove::eigen_backend backend;
    auto const model = load_model(o.model, backend);
    std::optional<grove::llama2c_tokenizer> text;
    if (!o.tokenizer.empty()) text = grove::llama2c_tokenizer::load(o.tokenizer);
    if (text && o.tokens.empty()) o.tokens = text->encode(o.prompt);
    o.generation.end_tokens = model.end_tokens;

    auto const show = [&](std::int32_t previous, std::int32_t id) {
        if (text) {
            std::cout << text->piece(previous, id);
        } else {
            std::cout << id << ' ';
        }
        std::cout.flush();
    };
    std::int32_t previous = -1;
    for (auto id : o.tokens) show(std::exchange(previous, id), id);
    grove::generator engine(*model.weights, o.generation);
    engine({{o.tokens, {.seed = o.seed, .stream = grove::random_stream::rollout}}},
           [&](std::size_t, grove::completion const& c) {
               show(std::exchange(previous, c.tokens.back()), c.tokens.back());
           });
    std::cout << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    auto& sampling = o.generation.sampling;
    CLI::App app("Continues a text with a published model");
    app.add_option("model", o.model, "folder in Hugging Face's layout, or llama2.c file")
        ->required();
    app.add_option("--tokenizer", o.tokenizer, "tokenizer file of llama2.c");
    auto* prompt = app.add_option("--prompt", o.prompt, "text to continue")->needs("--tokenizer");
    app.add_option("--tokens", o.tokens, "token ids to continue, separated by commas")
        ->delimiter(',')
        ->excludes(prompt);
    app.add_option("--max-new-tokens", o.generation.max_new_tokens)->capture_default_str();
    app.add_option("--temperature", sampling.temperature, "0: the most probable token")
        ->capture_default_str();
    app.add_option("--top-k", sampling.top_k)->capture_default_str();
    app.add_option("--top-p", sampling.top_p)->capture_default_str();
    app.add_option("--min-p", sampling.min_p)->capture_default_str();
    app.add_option("--seed", o.seed, "of the draws")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    try {
        generate(o);
        return 0;
    } catch (std::exception const& e) {
        std::cerr << "generate: " << e.what() << '\n';
        return 1;
    }
}
