// SPDX-License-Identifier: Apache-2.0
/// @file
/// The language-model head: what is computed from logits, without [tokens, vocabulary] in memory.
///
/// It runs over chunks of tokens, never of the vocabulary, so that a row's bits do not know the
/// chunk. `lm_head` gives statistics whose gradient is asked for later, and computes the logits
/// again for it, unless they are few and the backend has memory to keep them; `lm_head_pass` knows
/// the weights of a loss beforehand, and takes value and gradient from the same logits.
#pragma once

#include <numeric>

#include "grove/ops/product.hpp"
#include "grove/ops/token_divergence.hpp"
#include "grove/ops/token_statistics.hpp"

namespace grove::inline GROVE_ISA {

/// How a row of logits becomes a distribution.
template <class T>
struct head_options {
    T temperature = T(1);
    kept_tokens kept{};
    /// Rows of logits in memory at a time; 0: 1024, or fewer where these would take more than
    /// 56 MiB (a device says otherwise, and may keep all for the gradient). A row's bits do not
    /// depend on it.
    index_t chunk = 0;
    /// The smaller of two vocabularies gets tokens of probability 0 at its end.
    bool pad_vocabulary = false;
};

/// Another model's view of the same tokens: its hidden states [tokens, hidden], of any width, and
/// its `logits(x)`. It does not learn.
template <class Hidden, class Logits>
struct head_teacher {
    Hidden hidden;
    Logits logits;
};
template <class Hidden, class Logits>
head_teacher(Hidden, Logits) -> head_teacher<Hidden, Logits>;

namespace detail {

/// Rows and bytes of logits that a backend works on at a time: what a host's caches and memory
/// bear, or what the backend says.
template <class B>
struct head_limits {
    static constexpr index_t rows = 1024, bytes = index_t{56} << 20;
};
template <class B>
    requires requires { B::head_rows + B::head_bytes; }
struct head_limits<B> {
    static constexpr index_t rows = B::head_rows, bytes = B::head_bytes;
};
template <class B>
struct head_limits<autodiff<B>> : head_limits<B> {};

/// Bytes of logits that a learning pass keeps for their gradient, instead of computing them again:
/// none, unless the backend says so.
template <class B>
index_t kept_head_bytes(B& b) {
    if constexpr (is_autodiff<B>) {
        if constexpr (requires { b.inner().kept_head_bytes(); }) return b.inner().kept_head_bytes();
    }
    return 0;
}

/// Where chunks begin, with the number of tokens behind it.
struct head_chunks {
    std::vector<index_t> cuts{0};
    bool keeps_logits = false;  ///< for their gradient
};
/// Every `wanted` tokens, or as head_options says. All are one chunk where a learning pass
/// `may_keep` its logits, and they fit.
template <class Tensor, class Logits>
head_chunks head_cuts(index_t wanted, Tensor const& hidden, Logits const& logits,
                      bool may_keep = false) {
    using T = typename Tensor::value_type;
    using limits = head_limits<typename Tensor::backend_type>;
    require<configuration_error>(wanted >= 0, "lm_head", "expected a chunk ≥ 0, got ", wanted);
    constexpr index_t most = limits::rows, block = 48, tile = 16;
    constexpr index_t numbers = limits::bytes / static_cast<index_t>(sizeof(T));
    index_t const tokens = hidden.rows();
    head_chunks chunks;
    auto& cuts = chunks.cuts;
    index_t chunk = wanted > 0 ? wanted : most;
    if (wanted == 0 && tokens > 1) {
        // No rows at all tell how wide the logits are, too.
        index_t const columns = logits(slice_rows(value_of(hidden), 0, 0)).columns();
        index_t const width = std::max<index_t>(columns, 1);
        index_t const kept = may_keep ? kept_head_bytes(hidden.backend()) : 0;
        if (tokens <= kept / static_cast<index_t>(sizeof(T)) / width) return {{0, tokens}, true};
        index_t const rows = numbers / width;
        if (rows < most) {  // even chunks, which use the same memory again, in whole tiles
            chunk = rows < block ? std::max<index_t>(rows, 1) : rows / block * block;
            index_t const count = (tokens + chunk - 1) / chunk;
            chunk = std::min(chunk, ((tokens + count - 1) / count + tile - 1) / tile * tile);
        }
    }
    while (cuts.back() < tokens) cuts.push_back(std::min(tokens, cuts.back() + chunk));
    if (tokens == 0) cuts.push_back(0);
    return chunks;
}
/// first, first + 1, …
template <class B>
index_tensor<B> row_numbers(B& b, index_t first, index_t count) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(count));
    std::iota(rows.begin(), rows.end(), static_cast<std::int32_t>(first));
    return indices_from(b, rows);
}
inline std::vector<std::int32_t> part_of(std::vector<std::int32_t> const& x, index_t first,
                                         index_t rows) {
    return {x.begin() + first, x.begin() + first + rows};
}
template <class T>
void check_head(index_t tokens, std::size_t targets, head_options<T> const& options) {
    require<shape_error>(static_cast<index_t>(targets) == tokens, "lm_head", "expected ", tokens,
                         " targets, got ", targets);
    options.kept.check("lm_head", tokens);
}
inline void check_teacher(index_t tokens, index_t teacher) {
    require<shape_error>(teacher == tokens, "lm_head", "expected ", tokens,
                         " hidden states of the teacher, got ", teacher);
}

/// `head_of(first, rows)` is a function of the chunk's hidden states; the `Count` statistics that
/// it returns, [rows] each, of all chunks one after another.
template <std::size_t Count, class B, class T, class HeadOf>
std::array<tensor<B, T>, Count> by_chunks(tensor<B, T> const& hidden, head_chunks const& chunks,
                                          HeadOf const& head_of) {
    auto const& cuts = chunks.cuts;
    std::array<std::vector<tensor<B, T>>, Count> parts;
    for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
        index_t const first = cuts[c], rows = cuts[c + 1] - first;
        auto const chunk = slice_rows(hidden, first, rows);
        auto const head = head_of(first, rows);
        auto const y = chunks.keeps_logits ? head(chunk) : checkpoint(head, chunk);
        for (std::size_t k = 0; k < Count; ++k) parts[k].push_back(y[k].reshape({rows, 1}));
    }
    std::array<tensor<B, T>, Count> result;
    for (std::size_t k = 0; k < Count; ++k)
        result[k] = concatenate_rows(parts[k]).reshape({hidden.rows()});
    return result;
}

}  // namespace detail

/// {log-probability [tokens], entropy [tokens]} of `targets` under `logits(x)`, a function from
/// rows of hidden [tokens, hidden] to [rows, vocabulary] on whatever backend x is. Runs over chunks
/// of tokens and recomputes their logits for the gradient.
/// @code
/// auto y = grove::lm_head(hidden, [&](auto const& x) { return model.logits(x); }, targets);
/// @endcode
template <class B, class T, class Logits>
std::array<tensor<B, T>, 2> lm_head(tensor<B, T> const& hidden, Logits const& logits,
                                    std::vector<std::int32_t> const& targets,
                                    head_options<T> const& options = {}) {
    detail::check_head(hidden.rows(), targets.size(), options);
    auto const chunks = detail::head_cuts(options.chunk, hidden, logits, true);
    return detail::by_chunks<2>(hidden, chunks, [&](index_t first, index_t rows) {
        return [part = detail::part_of(targets, first, rows), logits,
                temperature = options.temperature,
                kept = options.kept.rows(first, rows)](auto const& x) {
            return token_statistics(logits(x), indices_from(x.backend(), part), temperature, kept);
        };
    });
}

/// {log-probability, entropy, divergence} [tokens]: the same, and Σ law(log q, log p) over the
/// vocabulary between this model and `teacher` (token_divergence), whose logits are computed chunk
/// by chunk as well. The divergence is between the whole distributions, also where `kept` truncates
/// the others.
/// @code
/// auto y = grove::lm_head(hidden, logits, targets, grove::head_teacher{other_hidden,
/// other_logits},
///                         grove::distill::reverse_kl{});
/// @endcode
template <class B, class T, class Logits, class Hidden, class TeacherLogits, class Law>
std::array<tensor<B, T>, 3> lm_head(tensor<B, T> const& hidden, Logits const& logits,
                                    std::vector<std::int32_t> const& targets,
                                    head_teacher<Hidden, TeacherLogits> const& teacher,
                                    Law const& law, head_options<T> const& options = {}) {
    detail::check_head(hidden.rows(), targets.size(), options);
    detail::check_teacher(hidden.rows(), teacher.hidden.rows());
    auto const chunks = detail::head_cuts(options.chunk, hidden, logits);
    return detail::by_chunks<3>(hidden, chunks, [&](index_t first, index_t rows) {
        return [part = detail::part_of(targets, first, rows), logits, law,
                other = slice_rows(teacher.hidden, first, rows), teach = teacher.logits,
                temperature = options.temperature, kept = options.kept.rows(first, rows),
                pad = options.pad_vocabulary](auto const& x) {
            auto const z = logits(x);
            auto const y = token_statistics_and_normalizer(z, indices_from(x.backend(), part),
                                                           temperature, kept);
            return std::array{
                y[0], y[1],
                token_divergence(z, constant(x.backend(), teach(other)), law, temperature, pad,
                                 kept.all() ? y[2] : std::remove_const_t<decltype(z)>{})};
        };
    });
}

/// Weights of a loss Σ w·statistic, [tokens] each, or empty where a statistic has none.
template <class T>
struct head_weights {
    std::vector<T> log_probability{}, entropy{}, divergence{};
};

/// What one pass over a head found.
template <class B, class T>
struct head_pass {
    std::vector<T> log_probability{}, entropy{}, divergence{};  ///< [tokens]
    tensor<B, T> gradient{};                                    ///< [tokens, hidden]
};

/// A head's weight [hidden, vocabulary], or [vocabulary, hidden] where it is stored transposed, as
/// tied embeddings are: logits(x) = x · W.
template <class B, class T>
struct head_matrix {
    tensor<B, T> weight;
    transpose stored = transpose::no;

    tensor<B, T> operator()(tensor<B, T> const& x) const {
        return matmul(x, weight, transpose::no, stored, results::decisions);
    }
    /// ∂/∂x for ∂/∂logits = g.
    tensor<B, T> backward(tensor<B, T> const& g) const {
        return matmul(g, weight, transpose::no,
                      stored == transpose::no ? transpose::yes : transpose::no);
    }
    /// Adds ∂/∂W to `gradient`, which may be empty: in place where the backend can, so that the sum
    /// over tokens is one chain whatever the chunk.
    void add_gradient(tensor<B, T> const& x, tensor<B, T> const& g, tensor<B, T>& gradient) const {
        bool const plain = stored == transpose::no;
        auto const &a = plain ? x : g, &b = plain ? g : x;
        if constexpr (has_matmul_add<B, T>) {
            if (gradient.empty()) gradient = zeros<T>(x.backend(), weight.extents());
            x.backend().matmul_add({a.columns(), b.columns(), a.rows(), true, false, 1}, a.buffer(),
                                   b.buffer(), gradient.buffer());
        } else {
            auto const part = matmul(a, b, transpose::yes);
            gradient = gradient.empty() ? part : gradient + part;
        }
    }
};
template <class B, class T>
head_matrix(tensor<B, T>) -> head_matrix<B, T>;
template <class B, class T>
head_matrix(tensor<B, T>, transpose) -> head_matrix<B, T>;

/// Statistics of all tokens, and in the same pass the gradient of Σ w·statistic by `hidden`
/// [tokens, hidden] and by the head, which is added to `head_gradient` (or makes it, where it is
/// empty). Neither model's logits are ever in memory for more than a chunk, nor computed twice.
/// @code
/// auto pass = grove::lm_head_pass(hidden, grove::head_matrix{w}, w_gradient, targets,
///                                 grove::head_teacher{other_hidden, other_logits},
///                                 grove::distill::forward_kl{}, {.divergence = weights});
/// @endcode
template <class B, class T, class Hidden, class TeacherLogits, class Law>
head_pass<B, T> lm_head_pass(tensor<B, T> const& hidden, head_matrix<B, T> const& head,
                             tensor<B, T>& head_gradient, std::vector<std::int32_t> const& targets,
                             head_teacher<Hidden, TeacherLogits> const& teacher, Law const& law,
                             head_weights<T> const& weights, head_options<T> const& options = {}) {
    index_t const tokens = hidden.rows();
    detail::check_head(tokens, targets.size(), options);
    detail::check_teacher(tokens, teacher.hidden.rows());
    for (auto const* w : {&weights.log_probability, &weights.entropy, &weights.divergence})
        require<shape_error>(w->empty() || static_cast<index_t>(w->size()) == tokens,
                             "lm_head_pass", "expected ", tokens,
                             " weights of a statistic, or none, got ", w->size());
    B& b = hidden.backend();
    head_pass<B, T> pass{.gradient = zeros<T>(b, hidden.extents())};
    auto const cuts = detail::head_cuts(options.chunk, hidden, head).cuts;
    for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
        index_t const first = cuts[c], rows = cuts[c + 1] - first;
        auto const x = slice_rows(hidden, first, rows);
        tensor<B, T> slope;
        autodiff<B> tape(b);
        auto const seed = [&](auto const& y, std::vector<T> const& w, std::vector<T>& values) {
            auto const host = to_host(y);
            values.insert(values.end(), host.begin(), host.end());
            if (w.empty()) return;
            std::span const part(w.data() + first, static_cast<std::size_t>(rows));
            tape.accumulate(y.buffer(), b.upload(std::span<T const>(part)));
        };
        {
            auto const z = leaf(tape, head(x), [&](tensor<B, T> const& g) { slope = g; });
            auto const y = token_statistics_and_normalizer(
                z, indices_from(tape, detail::part_of(targets, first, rows)), options.temperature,
                options.kept.rows(first, rows));
            auto const other = teacher.logits(slice_rows(teacher.hidden, first, rows));
            auto const d = token_divergence(
                z, constant(tape, other), law, options.temperature, options.pad_vocabulary,
                options.kept.all() ? y[2] : std::remove_const_t<decltype(z)>{});
            seed(y[0], weights.log_probability, pass.log_probability);
            seed(y[1], weights.entropy, pass.entropy);
            seed(d, weights.divergence, pass.divergence);
        }
        tape.tape().run();
        if (slope.empty()) continue;
        b.write_rows(pass.gradient.buffer(), head.backward(slope).buffer(), hidden.columns(),
                     detail::row_numbers(b, first, rows).buffer());
        head.add_gradient(x, slope, head_gradient);
    }
    return pass;
}

}  // namespace grove::inline GROVE_ISA
