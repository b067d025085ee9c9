// SPDX-License-Identifier: Apache-2.0
// What the programs that read published models share.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "grove/backend/eigen/eigen.hpp"
#include "grove/io/huggingface.hpp"
#include "grove/io/llama2c.hpp"

using model_type = grove::decoder<grove::eigen_backend, float>;

struct published_model {
    std::unique_ptr<model_type> weights;
    std::vector<std::int32_t> end_tokens;
};

/// A folder in Hugging Face's layout, or a file in llama2.c's.
inline published_model load_model(std::filesystem::path const& path,
                                  grove::eigen_backend& backend) {
    if (!std::filesystem::is_directory(path)) return {grove::load_llama2c(path, backend), {2}};
    published_model model{grove::load_huggingface(path, backend), {}};
    for (auto id : grove::read_huggingface_config(path).eos_token_ids)
        model.end_tokens.push_back(static_cast<std::int32_t>(id));
    return model;
}
