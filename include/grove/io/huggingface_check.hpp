// SPDX-License-Identifier: Apache-2.0
/// @file
/// Whether the tensors of a published model are those that its config.json describes.
#pragma once

#include <charconv>

#include "grove/io/checkpoint_format.hpp"
#include "grove/io/huggingface_config.hpp"
#include "grove/io/huggingface_layout.hpp"
#include "grove/io/safetensors.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A block of a parameter and the file's tensor that it comes from.
struct block_source {
    tensor_block const* block;
    safetensors_folder::source source;
};

/// Names for one error message: all, or the first twenty and a count.
class name_list {
public:
    void add(std::string name) {
        if (++count_ <= most) names_ += (count_ > 1 ? ", " : "") + name;
    }
    /// "; 2 missing: a, b", or nothing where the list is empty.
    std::string describe(std::string_view kind) const {
        if (count_ == 0) return "";
        std::string text = "; " + std::to_string(count_) + ' ' + std::string(kind) + ": " + names_;
        if (count_ > most) text += " and " + std::to_string(count_ - most) + " more";
        return text;
    }
    bool empty() const { return count_ == 0; }

private:
    static constexpr std::size_t most = 20;
    std::size_t count_ = 0;
    std::string names_;
};

/// Whether loading passes over this tensor: buffers that old files carry, which are computed, and
/// DeepSeek-V3's layers that predict further tokens.
inline bool is_skipped(std::string_view name, huggingface_config const& config) {
    constexpr std::string_view prefix = "model.layers.";
    if (name.ends_with(".rotary_emb.inv_freq")) return true;
    if (!name.starts_with(prefix)) return false;
    std::string_view const rest = name.substr(prefix.size());
    std::string_view const digits = rest.substr(0, rest.find('.'));
    index_t layer = 0;
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    index_t const first = config.decoder.num_hidden_layers;
    return error == std::errc() && end == digits.data() + digits.size() && layer >= first &&
           layer - first < config.num_nextn_predict_layers;
}

/// "F32 [2, 3]".
inline std::string describe_tensor(std::string_view type, std::vector<index_t> const& extents) {
    return std::string(type) + ' ' + format_extents(extents);
}

/// Where the parameters of a decoder come from. The constructor compares all tensors of the files
/// with the table and throws one io_error that lists every difference by name.
class published_sources {
public:
    published_sources(huggingface_config const& config, safetensors_folder const& files,
                      std::filesystem::path const& folder) {
        auto const& tensors = files.tensors();
        bool const fused = std::ranges::any_of(tensors, [](auto const& entry) {
            return entry.first.ends_with(".mlp.experts.gate_up_proj");
        });
        refuse_absurd(config.decoder, fused, tensors.size(), folder);
        layout_ = published_layout(config.decoder,
                                   fused ? expert_storage::fused : expert_storage::separate);
        name_list missing, unexpected, misshapen;
        std::set<std::string_view> known;
        for (auto const& expected : layout_) {
            known.insert(expected.name);
            auto const found = tensors.find(expected.name);
            if (found == tensors.end()) {
                missing.add(expected.name);
            } else {
                compare(expected, found->second, misshapen);
                for (auto const& block : expected.blocks)
                    sources_[block.parameter].push_back({&block, found->second});
            }
        }
        for (auto const& [name, source] : tensors)
            if (!known.contains(name) && !is_skipped(name, config))
                unexpected.add(quote_name(name));
        bool const equal = missing.empty() && unexpected.empty() && misshapen.empty();
        require<io_error>(equal, "load_huggingface", "expected ", folder,
                          " to hold the tensors that its config.json describes, got others",
                          missing.describe("missing"), unexpected.describe("unexpected"),
                          misshapen.describe("of another shape or type"));
    }
    published_sources(published_sources const&) = delete;
    published_sources& operator=(published_sources const&) = delete;

    /// The blocks of a parameter; none for what files do not hold.
    std::vector<block_source> of(std::string const& parameter) const {
        auto const at = sources_.find(parameter);
        return at == sources_.end() ? std::vector<block_source>{} : at->second;
    }

private:
    /// Keeps a hostile config.json from making a table that has no end.
    static void refuse_absurd(decoder_config const& c, bool fused, std::size_t tensors,
                              std::filesystem::path const& folder) {
        index_t const layers = c.num_hidden_layers, experts = fused ? 1 : c.n_routed_experts;
        index_t const routed = layers - std::min(layers, c.first_k_dense_replace);
        index_t const least = 2 * layers + routed * experts;
        require<io_error>(least <= 2 * static_cast<index_t>(tensors) + 1000, "load_huggingface",
                          "expected ", folder, " to hold the tensors of ", layers,
                          " layers, at least ", least, ", got ", tensors);
    }
    static void compare(published_tensor const& expected, safetensors_folder::source const& found,
                        name_list& misshapen) {
        auto const dtype = found.tensor->dtype;
        bool const numbers = dtype == safetensors_dtype::f64 || dtype == safetensors_dtype::f32 ||
                             dtype == safetensors_dtype::f16 || dtype == safetensors_dtype::bf16;
        if (numbers && found.tensor->extents == expected.extents) return;
        misshapen.add(
            expected.name + " (" + describe_tensor(safetensors_name(dtype), found.tensor->extents) +
            " instead of " + describe_tensor("F64, F32, F16 or BF16", expected.extents) + ')');
    }

    std::vector<published_tensor> layout_;
    std::map<std::string, std::vector<block_source>> sources_;
};

}  // namespace grove::inline GROVE_ISA::detail
