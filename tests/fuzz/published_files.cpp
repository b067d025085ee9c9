// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: whatever the bytes are, the readers of published models throw a grove::error or
// return something consistent. Each input is tried as a safetensors file and as each of the JSON
// files beside it.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "grove/io/huggingface_config_writer.hpp"
#include "grove/io/huggingface_layout.hpp"
#include "grove/io/safetensors.hpp"

using namespace grove;

namespace {

void must(bool condition) {
    if (!condition) std::abort();
}

template <class Call>
void survives(Call&& call) {
    try {
        call();
    } catch (error const&) {
    }
}

void read_tensors(std::span<std::byte const> bytes) {
    auto const header = parse_safetensors_header(bytes);
    std::uint64_t position = 0;
    for (auto const& tensor : header.tensors) {
        must(tensor.begin == position && tensor.end >= tensor.begin);
        must(tensor.end <= bytes.size() - header.data);
        position = tensor.end;
        auto const sum = [&]<class T>(T total) {
            survives([&] {
                detail::with_elements<T>(tensor, bytes.data() + header.data + tensor.begin,
                                         [&](auto const& element) {
                                             for (index_t i = 0; i < tensor.size(); ++i)
                                                 total = static_cast<T>(element(i));
                                         });
            });
        };
        sum(0.0f);
        sum(std::int32_t{0});
    }
    must(position == bytes.size() - header.data);
}

void read_config(json const& document) {
    auto const config = parse_huggingface_config(document);
    survives([&] {
        auto const text = format_json(format_huggingface_config(config));
        auto const again = format_huggingface_config(parse_huggingface_config(parse_json(text)));
        must(format_json(again) == text);
    });
    decoder_config const& c = config.decoder;
    if (c.num_hidden_layers * std::max<index_t>(1, c.n_routed_experts) > 64) return;
    for (auto const& tensor : published_layout(c)) {
        index_t size = 1, covered = 0;
        for (index_t const extent : tensor.extents)
            must(!__builtin_mul_overflow(size, extent, &size));
        for (auto const& block : tensor.blocks)
            covered += block.extents[0] * block.extents[1] * block.extents[2];
        must(covered == size);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    survives([&] { read_tensors(std::as_bytes(std::span(data, size))); });
    survives([&] {
        auto const document = parse_json({reinterpret_cast<char const*>(data), size});
        survives([&] { read_config(document); });
        survives([&] { parse_safetensors_index(document); });
        survives([&] {
            huggingface_config config;
            apply_generation_config(config, document);
        });
    });
    return 0;
}
