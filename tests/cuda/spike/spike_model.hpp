// SPDX-License-Identifier: Apache-2.0
/// @file
/// What the spike computes, written once and instantiated for every backend: each primitive, a law
/// with its derivative, a network that learns, and an attention layer that decodes.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "grove/autodiff/checkpoint.hpp"
#include "grove/core/random.hpp"
#include "grove/nn/decoder.hpp"
#include "grove/ops/lm_head.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/surrogate.hpp"

/// The eigen backend's share, compiled for the host alone (spike_host.cpp).
namespace spike_host {
using results = std::vector<std::vector<float>>;
using token_lists = std::vector<std::vector<std::int32_t>>;

results primitives();
results policy_law();
results gradients(int threads, bool recompute);
results decode(int threads, bool cached);
results decoder_acts(token_lists const& sequences);
results decoder_learns(token_lists const& sequences);
}  // namespace spike_host

namespace spike::inline GROVE_ISA {

using grove::autodiff, grove::index_t, grove::index_tensor, grove::operand, grove::tensor;
using numbers = std::vector<float>;
using results = std::vector<numbers>;
using token_lists = std::vector<std::vector<std::int32_t>>;
template <class B, class T = float>
using buffer_of = typename B::template buffer<T>;

/// `size` normal numbers; equal for equal `prompt`, on every backend.
inline numbers normals(index_t size, std::uint32_t prompt, double scale = 1) {
    grove::random_key const key{.seed = 7, .prompt = prompt};
    numbers x(static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(scale * key.normal(static_cast<std::uint32_t>(i)));
    return x;
}
template <class B>
buffer_of<B> upload_normals(B& b, index_t size, std::uint32_t prompt, double scale = 1) {
    return b.upload(std::span<float const>(normals(size, prompt, scale)));
}
template <class B>
buffer_of<B, std::int32_t> upload_indices(B& b, std::vector<std::int32_t> const& x) {
    return b.upload(std::span<std::int32_t const>(x));
}
template <class B, class T>
std::vector<T> download(B& b, grove::tensor<B, T> const& x) {
    std::vector<T> y(static_cast<std::size_t>(x.size()));
    b.download(x.buffer(), std::span<T>(y));
    return y;
}
template <class B, class Buffer>
numbers download_buffer(B& b, Buffer const& x) {
    numbers y(static_cast<std::size_t>(x.size()));
    b.download(b.template cast<float>(x), std::span<float>(y));
    return y;
}

template <class Buffer>
operand<Buffer> full(Buffer const& x, index_t columns) {
    return {x, columns, 1};
}
template <class Buffer>
operand<Buffer> row(Buffer const& x) {
    return {x, 0, 1};
}
template <class Buffer>
operand<Buffer> column(Buffer const& x) {
    return {x, 1, 0};
}

/// silu(x + bias).
struct biased_silu {
    template <class Number>
    GROVE_HD Number operator()(Number x, Number bias) const {
        Number const z = x + bias;
        return z * grove::math::sigmoid(z);
    }
};
struct shifted_exponential {
    template <class Number>
    GROVE_HD Number operator()(Number z, Number top) const {
        return grove::math::exp(z - top);
    }
};
/// −log softmax(z)[target] of Σ e^(z − max z), max z and z[target].
struct negative_log_likelihood {
    template <class Number>
    GROVE_HD Number operator()(Number sum, Number top, Number picked) const {
        return grove::math::log(sum) + top - picked;
    }
};
struct scaled {
    float factor;
    template <class Number>
    GROVE_HD Number operator()(Number x) const {
        return Number(factor) * x;
    }
};
struct descended {
    float rate;
    template <class Number>
    GROVE_HD Number operator()(Number weight, Number gradient) const {
        return weight - Number(rate) * gradient;
    }
};
struct counted {
    index_t first;
    template <class Number>
    GROVE_HD Number operator()(index_t i) const {
        return static_cast<Number>(first + i);
    }
};
struct zeroed {
    template <class Number>
    GROVE_HD Number operator()(index_t) const {
        return Number(0);
    }
};
/// The clipped surrogate and the k3 divergence of one token, as a loss.
struct policy_loss {
    double beta = 0.04;
    template <class Number>
    GROVE_HD Number operator()(Number log_probability, Number old, Number reference,
                               Number advantage) const {
        Number const ratio = grove::math::exp(log_probability - old);
        return Number(beta) * grove::rl::k3{}(log_probability, reference) -
               grove::rl::clipped{0.2, 0.28}(ratio, advantage);
    }
};

/// Each primitive's result, on extents that no vector width or block divides.
template <class B>
results primitives(B& b) {
    using grove::product_shape, grove::grouped_shape, grove::reduction;
    index_t const rows = 7, columns = 37, m = 5, n = 9, k = 13;
    auto const x = upload_normals(b, rows * columns, 1), bias = upload_normals(b, columns, 2);
    auto const places = upload_indices(b, {2, 0, 5, 2, 2, 6}),
               offsets = upload_indices(b, {0, 3, 3, 7});
    auto const a = upload_normals(b, 2 * m * k, 3), w = upload_normals(b, 3 * k * n, 4);
    auto const tokens = upload_normals(b, rows * k, 5), outputs = upload_normals(b, rows * n, 6);
    grove::strided_view const transposed{2, {columns - 4, rows}, {1, columns}};

    results y;
    auto keep = [&](auto const& buffer) { y.push_back(download_buffer(b, buffer)); };
    keep(b.map(biased_silu{}, rows, columns, full(x, columns), row(bias))[0]);
    keep(b.template tabulate<float>(counted{3}, 11));
    keep(b.template cast<double>(x));
    keep(b.reduce_columns(reduction::sum, x, rows, columns));
    keep(b.reduce_columns(reduction::max, x, rows, columns));
    keep(b.sum_segments(x, columns, offsets));
    keep(b.repeat_segments(b.slice(x, 0, 3 * columns), columns, offsets, rows));
    keep(b.top_k(x, rows, columns, 5));
    keep(b.argsort(places));
    keep(b.segment_offsets(places, rows));
    keep(b.gather(x, columns, places));
    keep(b.scatter_add(b.slice(x, columns, 6 * columns), columns, places, rows));
    auto target = b.template tabulate<float>(zeroed{}, rows * columns);
    b.write_rows(target, b.slice(x, 0, 2 * columns), columns, upload_indices(b, {4, 1}));
    keep(target);
    keep(b.strided_read(x, transposed));
    keep(b.strided_place(b.slice(x, 0, (columns - 4) * rows), transposed, rows * columns));
    for (bool left : {false, true})
        for (bool right : {false, true})
            keep(b.matmul(product_shape{m, n, k, left, right, 2}, a, w));
    for (bool right : {false, true}) {
        grouped_shape const groups{rows, n, k, 3, right};
        keep(b.grouped_matmul(groups, tokens, w, offsets));
        keep(b.grouped_outer(groups, tokens, outputs, offsets));
    }
    return y;
}

/// Value and four derivatives of `policy_loss` at 4096 tokens.
template <class B>
results policy_law(B& b) {
    index_t const size = 4096;
    auto const p = upload_normals(b, size, 1, 0.5), old = upload_normals(b, size, 2, 0.5);
    auto const reference = upload_normals(b, size, 3, 0.5), advantage = upload_normals(b, size, 4);
    auto const seed = b.template tabulate<float>(counted{1}, 1);
    results y{download_buffer(
        b, b.map(policy_loss{}, 1, size, row(p), row(old), row(reference), row(advantage))[0])};
    for (auto const& slope :
         b.map(grove::gradient_law<policy_loss, 1, 4>{}, 1, size, operand<buffer_of<B>>{seed},
               row(p), row(old), row(reference), row(advantage)))
        y.push_back(download_buffer(b, slope));
    return y;
}

struct network_extents {
    index_t rows, inputs, hidden, classes;
};

/// A classifier softmax(silu(x · W₁ + b) · W₂) with its batch, trained by gradient descent.
template <class B>
class network {
public:
    network(B& b, network_extents e)
        : weight{"weight", make(b, {e.inputs, e.hidden}, 11)},
          bias{"bias", make(b, {e.hidden}, 12)},
          output{"output", make(b, {e.hidden, e.classes}, 13)},
          inputs(make(b, {e.rows, e.inputs}, 14)),
          last_loss(make(b, {1}, 15)),
          picks_(b, {}, {0}),
          first_(upload_indices(b, {0})) {
        std::vector<std::int32_t> picks(static_cast<std::size_t>(e.rows));
        for (std::size_t i = 0; i < picks.size(); ++i)
            picks[i] = static_cast<std::int32_t>(i * static_cast<std::size_t>(e.classes) +
                                                 i * 5 % static_cast<std::size_t>(e.classes));
        picks_ = {b, upload_indices(b, picks), {e.rows}};
    }

    /// Mean cross-entropy on `x`, on the backend or on a tape over it.
    template <class Any>
    tensor<Any> loss(tensor<Any> const& x, bool recompute) {
        auto layer = [this](auto const& input) { return std::array{this->hidden(input)}; };
        auto const h = recompute ? checkpoint(layer, x)[0] : layer(x)[0];
        return cross_entropy(product(h, lift(h.backend(), output)));
    }
    /// One step of gradient descent on static buffers: nothing that it allocates outlives it.
    void step(B& b, float rate) {
        autodiff<B> tape(b);
        auto const y = loss(constant(tape, inputs), false);
        backward(y);
        for (grove::parameter<B>* p : {&weight, &bias, &output}) {
            auto const next = b.map(descended{rate}, 1, p->value.size(), row(p->value.buffer()),
                                    row(p->gradient.buffer()))[0];
            b.write_rows(p->value.buffer(), next, p->value.size(), first_);
            p->clear_gradient();
        }
        b.write_rows(last_loss.buffer(), y.buffer().value, 1, first_);
    }

    grove::parameter<B> weight, bias, output;
    tensor<B> inputs, last_loss;

private:
    static tensor<B> make(B& b, grove::shape extents, std::uint32_t prompt) {
        return {b, upload_normals(b, extents.size(), prompt, 0.3), extents};
    }
    template <class Any>
    static tensor<Any> product(tensor<Any> const& x, tensor<Any> const& w) {
        auto& b = x.backend();
        return {b,
                b.matmul({x.rows(), w.columns(), x.columns()}, x.buffer(), w.buffer()),
                {x.rows(), w.columns()}};
    }
    template <class Any>
    tensor<Any> hidden(tensor<Any> const& x) {
        auto& b = x.backend();
        auto const z = product(x, lift(b, weight));
        return {b,
                b.map(biased_silu{}, z.rows(), z.columns(), full(z.buffer(), z.columns()),
                      row(lift(b, bias).buffer()))[0],
                z.extents()};
    }
    template <class Any>
    tensor<Any> cross_entropy(tensor<Any> const& z) {
        using grove::reduction;
        auto& b = z.backend();
        index_t const rows = z.rows(), columns = z.columns();
        auto const top = b.reduce_columns(reduction::max, z.buffer(), rows, columns);
        auto const e =
            b.map(shifted_exponential{}, rows, columns, full(z.buffer(), columns), column(top))[0];
        auto const sum = b.reduce_columns(reduction::sum, e, rows, columns);
        auto const picked = b.gather(z.buffer(), 1, constant(b, picks_).buffer());
        auto const each =
            b.map(negative_log_likelihood{}, 1, rows, row(sum), row(top), row(picked))[0];
        auto const total = b.reduce_columns(reduction::sum, each, 1, rows);
        return {b, b.map(scaled{1.0F / static_cast<float>(rows)}, 1, 1, row(total))[0], {1}};
    }

    tensor<B, std::int32_t> picks_;  // element numbers of the target logits
    buffer_of<B, std::int32_t> first_;
};

/// Loss and gradients of input, weights and bias.
template <class B>
results gradients(B& b, bool recompute) {
    network<B> net(b, {33, 20, 24, 11});
    autodiff<B> tape(b);
    tensor<B> slope;
    auto const x = leaf(tape, net.inputs, [&](tensor<B> const& g) { slope = g; });
    auto const loss = net.loss(x, recompute);
    backward(loss);
    return {download(b, value_of(loss)), download(b, slope), download(b, net.weight.gradient),
            download(b, net.bias.gradient), download(b, net.output.gradient)};
}

/// Attention over 40 tokens of one sequence: in one pass, or token by token through a cache of
/// keys.
template <class B>
results decode(B& b, bool cached) {
    grove::attention_shape const shape{4, 2, 16};
    index_t const tokens = 40, hidden = 48, wide = shape.query_columns(),
                  narrow = shape.key_columns();
    auto const x = upload_normals(b, tokens * hidden, 21);
    auto const wq = upload_normals(b, hidden * wide, 22, 0.2);
    auto const wk = upload_normals(b, hidden * narrow, 23, 0.2);
    auto const wv = upload_normals(b, hidden * narrow, 24, 0.2);
    auto keys = b.template tabulate<float>(zeroed{}, tokens * narrow);
    auto values = b.template tabulate<float>(zeroed{}, tokens * narrow);

    index_t const count = cached ? 1 : tokens;
    results y(2);
    for (index_t first = 0; first < tokens; first += count) {
        auto const rows = b.slice(x, first * hidden, count * hidden);
        auto const places = b.template tabulate<std::int32_t>(counted{first}, count);
        b.write_rows(keys, b.matmul({count, narrow, hidden}, rows, wk), narrow, places);
        b.write_rows(values, b.matmul({count, narrow, hidden}, rows, wv), narrow, places);
        auto const last = static_cast<std::int32_t>(count);
        auto const [out, normalizer] =
            b.attention(shape, b.matmul({count, wide, hidden}, rows, wq), keys, values,
                        upload_indices(b, {0, last}), upload_indices(b, {0}),
                        upload_indices(b, {static_cast<std::int32_t>(first) + last}));
        for (float number : download_buffer(b, out)) y[0].push_back(number);
        for (float number : download_buffer(b, normalizer)) y[1].push_back(number);
    }
    return y;
}

/// Log-probabilities of each next token under a decoder with a mixture of experts, per sequence;
/// then, from a tape, the gradient of every weight.
template <class On, class B>
results run_decoder(On& on, B& b, token_lists const& sequences) {
    grove::decoder<B> model(b,
                            {.vocab_size = 29,
                             .hidden_size = 32,
                             .intermediate_size = 48,
                             .num_hidden_layers = 2,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .max_position_embeddings = 16,
                             .initializer_range = 0.2,
                             .n_routed_experts = 4,
                             .moe_intermediate_size = 16},
                            3);
    auto const batch = grove::packed_tokens::of(sequences);
    std::vector<std::int32_t> targets;
    for (auto token : batch.tokens) targets.push_back((token + 11) % 29);
    grove::fresh_keys keys{batch.layout};
    auto const log_probability = lm_head(
        model.forward(on, batch, keys).hidden, [&](auto const& x) { return model.logits(x); },
        targets)[0];
    numbers const packed = download(b, value_of(log_probability));
    results y;
    auto from = packed.begin();
    for (auto const& sequence : sequences) {
        auto const to = from + static_cast<std::ptrdiff_t>(sequence.size());
        y.emplace_back(from, to);
        from = to;
    }
    if constexpr (grove::is_autodiff<On>) {
        backward(grove::sum(log_probability));
        model.visit([&](auto& p) { y.push_back(download(b, p.gradient)); });
    }
    return y;
}
template <class B>
results decoder_acts(B& b, token_lists const& sequences) {
    return run_decoder(b, b, sequences);
}
template <class B>
results decoder_learns(B& b, token_lists const& sequences) {
    autodiff<B> tape(b);
    return run_decoder(tape, b, sequences);
}

}  // namespace spike::inline GROVE_ISA
