// SPDX-License-Identifier: Apache-2.0
#include "published.hpp"

#include "grove/backend/eigen/eigen.hpp"

using namespace grove;
using namespace published;

TEST_CASE("published models: logits, log-probabilities, gradients, a step, a continuation") {
    eigen_backend backend(2);
    for (auto const& name : published::architectures) published::check_all(name, backend);
}

TEST_CASE("published models: bfloat16 weights in shards") {
    eigen_backend backend(2);
    reference_pass const reference("qwen2-tiny-bf16");
    auto const model = load_huggingface(folder_of("qwen2-tiny-bf16"), backend);
    CHECK(worst(logits_of(backend, *model, reference.sequences),
                reference.real_rows("logits", reference.width)) <= 2e-5);
}

TEST_CASE("published models: in double, eigen agrees with reference") {
    eigen_backend eigen(2);
    reference_backend oracle;
    for (std::string const name :
         {"llama-tiny", "qwen2-tiny", "qwen3-moe-tiny", "deepseek-v3-tiny"}) {
        CAPTURE(name);
        reference_pass const reference(name);
        auto const ours = load_huggingface<double>(folder_of(name), eigen);
        auto const theirs = load_huggingface<double>(folder_of(name), oracle);
        CHECK(worst(logits_of(eigen, *ours, reference.sequences),
                    logits_of(oracle, *theirs, reference.sequences)) <= 1e-9);
    }
}
