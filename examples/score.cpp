// SPDX-License-Identifier: Apache-2.0
// Log-probabilities of tokens under a published model.
//
//   score MODEL --tokens 1,403,407,261,378
//   score MODEL --tokens 1,403,407 --json --logits
//
// MODEL is a folder in Hugging Face's layout or a file in llama2.c's. With --json, one object:
//   tokens   [n]              as given
//   logprobs [n]              of token i given those before it; null for the first
//   logits   [n][vocabulary]  behind token i, with --logits
#include <CLI/CLI.hpp>
#include <iomanip>
#include <iostream>
#include <limits>

#include "grove/io/json.hpp"
#include "grove/ops/lm_head.hpp"
#include "load_model.hpp"

namespace {

using ids = std::vector<std::int32_t>;

struct scores {
    std::vector<float> logprobs;  // [n − 1], of tokens 1 …
    std::vector<float> logits;    // [n · vocabulary]
};

scores score(model_type const& model, ids const& tokens, bool with_logits) {
    auto& backend = model.backend();
    auto const batch = grove::packed_tokens::of({tokens});
    grove::fresh_keys keys{batch.layout};
    auto const hidden = model.forward(backend, batch, keys).hidden;
    scores result;
    if (with_logits) result.logits = grove::to_host(model.logits(hidden));
    if (tokens.size() > 1) {
        auto const before =
            grove::slice_rows(hidden, 0, static_cast<grove::index_t>(tokens.size()) - 1);
        result.logprobs =
            grove::to_host(grove::lm_head(before, [&](auto const& x) { return model.logits(x); },
                                          ids(tokens.begin() + 1, tokens.end()), {})[0]);
    }
    return result;
}

void print_json(ids const& tokens, scores const& s, bool with_logits) {
    grove::json object{{"tokens", tokens}, {"logprobs", grove::json::array({nullptr})}};
    for (float x : s.logprobs) object["logprobs"].push_back(x);
    if (with_logits) {
        auto const vocabulary = s.logits.size() / tokens.size();
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            auto const row = s.logits.begin() + static_cast<std::ptrdiff_t>(i * vocabulary);
            object["logits"].push_back(
                std::vector<float>(row, row + static_cast<std::ptrdiff_t>(vocabulary)));
        }
    }
    std::cout << object << '\n';
}
void print_table(ids const& tokens, scores const& s) {
    std::cout << std::setprecision(std::numeric_limits<float>::max_digits10);
    double total = 0;
    for (std::size_t i = 1; i < tokens.size(); ++i) {
        total += static_cast<double>(s.logprobs[i - 1]);
        std::cout << std::setw(8) << tokens[i] << ' ' << s.logprobs[i - 1] << '\n';
    }
    std::cout << "     sum " << total << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    std::string path;
    ids tokens;
    bool as_json = false, with_logits = false;
    CLI::App app("Log-probabilities of tokens under a published model");
    app.add_option("model", path, "folder in Hugging Face's layout, or llama2.c file")->required();
    app.add_option("--tokens", tokens, "token ids, separated by commas")
        ->delimiter(',')
        ->required();
    app.add_flag("--json", as_json, "print one JSON object");
    app.add_flag("--logits", with_logits, "add the logits behind every token (with --json)");
    CLI11_PARSE(app, argc, argv);
    try {
        grove::eigen_backend backend;
        auto const model = load_model(path, backend);
        auto const result = score(*model.weights, tokens, with_logits && as_json);
        if (as_json) {
            print_json(tokens, result, with_logits);
        } else {
            print_table(tokens, result);
        }
        return 0;
    } catch (std::exception const& e) {
        std::cerr << "score: " << e.what() << '\n';
        return 1;
    }
}
