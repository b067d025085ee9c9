// SPDX-License-Identifier: Apache-2.0
// Published architectures: what a decoder computes from a checkpoint, beside what the
// implementation that wrote it computed (tests/data/huggingface/README.md).
#pragma once

#include <doctest/doctest.h>

#include <map>

#include "grove/io/huggingface.hpp"
#include "grove/ops/lm_head.hpp"
#include "grove/optim/adamw.hpp"
#include "grove/rollout/generate.hpp"

namespace published {

using namespace grove;
using ids = std::vector<std::int32_t>;
using numbers = std::vector<double>;

/// The largest differences that are allowed.
struct tolerances {
    double logits = 2e-5;    ///< also of log-probabilities
    double gradient = 1e-4;  ///< ‖difference‖ / ‖reference‖ of each tensor …
    double zero = 1e-7;      ///< … and ‖difference‖ where the reference is zero
    double loss = 1e-5;
    double step = 1e-5;  ///< of the loss after a step of AdamW, for which a weight of no
                         ///< gradient but rounding's is as good as any other
    bool greedy = true;  ///< whether a continuation has to be the same
};

inline std::filesystem::path folder_of(std::string const& name) {
    return std::filesystem::path(GROVE_SOURCE_DIRECTORY) / "tests/data/huggingface" / name;
}

/// What the fixture's implementation was given and what it computed.
struct reference_pass {
    safetensors_file file;
    std::vector<ids> sequences;  // without padding
    index_t width, vocabulary;

    explicit reference_pass(std::string const& name)
        : file(folder_of(name) / "reference.safetensors") {
        width = file.tensor("input_ids").extents[1];
        vocabulary = file.tensor("logits").extents[2];
        auto const tokens = file.get<std::int64_t>("input_ids");
        auto const mask = file.get<std::int64_t>("attention_mask");
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            if (i % static_cast<std::size_t>(width) == 0) sequences.emplace_back();
            if (mask[i] == 1) sequences.back().push_back(static_cast<std::int32_t>(tokens[i]));
        }
    }
    /// Rows of a tensor [sequences, `columns` positions, …] where tokens are real.
    numbers real_rows(std::string const& name, index_t positions) const {
        auto const all = file.get<double>(name);
        auto const row = all.size() / (sequences.size() * static_cast<std::size_t>(positions));
        numbers rows;
        for (std::size_t s = 0; s < sequences.size(); ++s) {
            auto const begin = all.begin() + static_cast<std::ptrdiff_t>(
                                                 s * static_cast<std::size_t>(positions) * row);
            auto const count = sequences[s].size() - (positions < width ? 1 : 0);
            rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(count * row));
        }
        return rows;
    }
};

template <class T>
double worst(std::vector<T> const& got, numbers const& expected) {
    REQUIRE(got.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(got[i]) - expected[i]));
    return worst;
}

template <class B, class T>
std::vector<T> logits_of(B& on, decoder<B, T> const& model, std::vector<ids> const& sequences,
                         pass_options const& options = {}) {
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    return to_host(model.logits(model.forward(on, batch, keys, options).hidden));
}
/// The experts that a model chooses.
template <class B>
chosen_experts experts_of(B& on, decoder<B, float> const& model,
                          std::vector<ids> const& sequences) {
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    chosen_experts experts;
    for (auto const& routing : model.forward(on, batch, keys).routings)
        experts.push_back(to_host(routing.experts));
    return experts;
}
/// Log-probabilities of every token but the first of its sequence.
template <class On, class Model>
auto log_probabilities(On& on, Model const& model, std::vector<ids> const& sequences,
                       pass_options const& options = {}) {
    auto const batch = packed_tokens::of(sequences);
    fresh_keys keys{batch.layout};
    auto const hidden = model.forward(on, batch, keys, options).hidden;
    ids rows, targets;
    std::int32_t row = 0;
    for (auto const& sequence : sequences)
        for (std::size_t i = 0; i < sequence.size(); ++i, ++row) {
            if (i + 1 == sequence.size()) continue;
            rows.push_back(row);
            targets.push_back(sequence[i + 1]);
        }
    return lm_head(gather_rows(hidden, indices_from(on, rows)),
                   [&](auto const& x) { return model.logits(x); }, targets, {})[0];
}
template <class On, class Model>
auto loss_of(On& on, Model const& model, reference_pass const& reference,
             pass_options const& options = {}) {
    return affine(mean(log_probabilities(on, model, reference.sequences, options)), -1.0f);
}

template <class B>
void check_gradients(reference_pass const& reference, decoder<B, float>& model,
                     tolerances const& allowed) {
    for (auto const& [name, extents, elements] :
         published_tensors(model, published_part::gradients)) {
        CAPTURE(name);
        auto const expected = reference.file.get<double>("grad." + name);
        REQUIRE(expected.size() == elements.size());
        double error = 0, norm = 0;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            double const difference = static_cast<double>(elements[i]) - expected[i];
            error += difference * difference;
            norm += expected[i] * expected[i];
        }
        CHECK(std::sqrt(error) <= (norm > 0 ? allowed.gradient * std::sqrt(norm) : allowed.zero));
    }
}
template <class B>
void check_greedy(reference_pass const& reference, decoder<B, float> const& model) {
    auto const expected = reference.file.get<std::int64_t>("greedy");
    index_t const columns = reference.file.tensor("greedy").extents[1], prompt = 8;
    std::vector<generation_request> requests;
    for (auto const& sequence : reference.sequences)
        requests.push_back({ids(sequence.begin(), sequence.begin() + prompt), {}});
    auto const made = generator(
        model, {.sampling = {.temperature = 0}, .max_new_tokens = columns - prompt})(requests);
    for (std::size_t s = 0; s < made.size(); ++s) {
        auto const begin = expected.begin() + static_cast<std::ptrdiff_t>(s) * columns;
        CHECK(std::equal(made[s].tokens.begin(), made[s].tokens.end(), begin + prompt,
                         begin + columns));
    }
}

/// Logits, log-probabilities, gradients, a step of AdamW and a continuation. A backend that rounds
/// may choose other experts, which is no matter of tolerance: it is given those of `exact`.
template <class B>
void check_all(std::string const& name, B& backend, tolerances const& allowed = {},
               B* exact = nullptr) {
    CAPTURE(name);
    reference_pass const reference(name);
    auto const model = load_huggingface(folder_of(name), backend);
    chosen_experts experts;
    if (exact != nullptr)
        experts =
            experts_of(*exact, *load_huggingface(folder_of(name), *exact), reference.sequences);
    pass_options const chosen{.replay = experts.empty() ? nullptr : &experts};
    numbers const logits = reference.real_rows("logits", reference.width);
    CHECK(worst(logits_of(backend, *model, reference.sequences, chosen), logits) <= allowed.logits);
    CHECK(worst(to_host(log_probabilities(backend, *model, reference.sequences, chosen)),
                reference.real_rows("logprobs", reference.width - 1)) <= allowed.logits);
    if (allowed.greedy) check_greedy(reference, *model);

    auto const loss = reference.file.get<double>("loss");
    auto learn = [&](pass_options const& options) {
        model->visit([](auto& p) { p.clear_gradient(); });
        autodiff<B> tape(backend);
        auto const y = loss_of(tape, *model, reference, options);
        CHECK(worst(to_host(y), loss) <= allowed.loss);
        backward(y);
        check_gradients(reference, *model, allowed);
    };
    learn({.expand_latents = true, .replay = chosen.replay});
    learn({.recompute = true, .replay = chosen.replay});
    adamw<B, float> optimizer({.weight_decay = 0.1, .decay_vectors = true, .max_gradient_norm = 0});
    optimizer.step(*model, 1e-3);
    CHECK(worst(to_host(loss_of(backend, *model, reference, chosen)),
                reference.file.get<double>("adamw_loss")) <= allowed.step);
}

inline std::vector<std::string> const architectures{"llama-tiny", "qwen2-tiny", "qwen3-moe-tiny",
                                                    "deepseek-v3-noqlora-tiny", "deepseek-v3-tiny"};

}  // namespace published
