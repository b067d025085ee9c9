// SPDX-License-Identifier: Apache-2.0
/// @file
/// The one function from which sampler and trainer obtain log-probabilities.
#pragma once

#include <algorithm>
#include <limits>
#include <string_view>

#include "grove/backend/refinement.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/softmax.hpp"

namespace grove::inline GROVE_ISA {

/// Tokens that truncated sampling (top-k, top-p) kept, row by row: kept[offsets[i]] …
/// kept[offsets[i+1]], ascending. Without offsets, or where a row's range is empty, all tokens are
/// kept.
struct kept_tokens {
    std::vector<std::int32_t> offsets;
    std::vector<std::int32_t> tokens;

    bool all() const { return offsets.empty(); }
    /// Throws shape_error unless these are the sets of `rows` rows.
    void check(std::string_view operation, index_t rows) const {
        if (all()) return;
        require<shape_error>(static_cast<index_t>(offsets.size()) == rows + 1, operation,
                             "expected ", rows + 1, " offsets of kept tokens, got ",
                             offsets.size());
        require<shape_error>(offsets.front() == 0 &&
                                 std::is_sorted(offsets.begin(), offsets.end()) &&
                                 offsets.back() == static_cast<index_t>(tokens.size()),
                             operation, "expected offsets ascending from 0 to the ", tokens.size(),
                             " kept tokens, got ", offsets.front(), " … ", offsets.back());
    }
    /// Rows [first, first + count).
    kept_tokens rows(index_t first, index_t count) const {
        if (all()) return {};
        auto const begin = offsets.begin() + first;
        kept_tokens part{{begin, begin + count + 1}, {}};
        part.tokens.assign(tokens.begin() + part.offsets.front(),
                           tokens.begin() + part.offsets.back());
        for (auto& o : part.offsets) o -= *begin;
        return part;
    }
};

namespace detail {
/// log p ↦ p log p, which is 0 for p = 0.
struct entropy_law {
    template <class N>
    GROVE_HD N operator()(N log_p) const {
        N const p = math::exp(log_p);
        return math::select(p == N(0), N(0), p * log_p);
    }
};
}  // namespace detail

/// `token_statistics_and_normalizer` composed from primitives.
template <class B, class T>
std::array<tensor<B, T>, 3> token_statistics_composite(tensor<B, T> const& logits,
                                                       index_tensor<B> const& targets,
                                                       T temperature, kept_tokens const& kept) {
    B& b = logits.backend();
    index_t const rows = logits.rows(), vocabulary = logits.columns();
    auto z = affine(logits, T(1) / temperature);
    if (!kept.all()) {
        std::vector<T> mask(static_cast<std::size_t>(rows * vocabulary), T(0));
        for (index_t i = 0; i < rows; ++i) {
            auto const begin = kept.offsets[static_cast<std::size_t>(i)];
            auto const end = kept.offsets[static_cast<std::size_t>(i) + 1];
            auto row = mask.begin() + i * vocabulary;
            if (begin == end) std::fill_n(row, vocabulary, T(1));
            for (auto at = begin; at < end; ++at)
                row[kept.tokens[static_cast<std::size_t>(at)]] = T(1);
        }
        z = map(law::keep_where<T>{-std::numeric_limits<T>::infinity()}, z,
                from_host(b, z.extents(), mask));
    }
    auto const normalizer = log_sum_exp(z);
    auto const log_p = z - normalizer;
    auto const entropy = affine(sum_columns(map(detail::entropy_law{}, log_p)), T(-1));
    return {take_columns(log_p, targets.reshape({rows, 1})).reshape({rows}),
            entropy.reshape({rows}), detach(normalizer).reshape({rows})};
}

/// What token_statistics gives, and log Σ e^(logits / temperature) [rows] over the same tokens, a
/// constant.
template <class B, class T>
std::array<tensor<B, T>, 3> token_statistics_and_normalizer(
    tensor<B, T> const& logits, index_tensor<B> const& targets,
    std::type_identity_t<T> temperature = T(1), kept_tokens const& kept = {}) {
    index_t const rows = logits.rows();
    require<shape_error>(targets.size() == rows, "token_statistics", "expected ", rows,
                         " targets, got ", targets.size());
    require<value_error>(temperature > T(0), "token_statistics", "expected a temperature > 0, got ",
                         temperature);
    kept.check("token_statistics", rows);
    for (auto token : kept.tokens)
        require<value_error>(token >= 0 && token < logits.columns(), "token_statistics",
                             "expected kept tokens in [0, ", logits.columns(), "), got ", token);
    if constexpr (has_token_statistics<B, T>) {
        B& b = logits.backend();
        auto index = [&](std::vector<std::int32_t> const& x) {
            return b.upload(std::span<std::int32_t const>(x));
        };
        auto y = b.token_statistics(logits.buffer(), logits.columns(), targets.buffer(),
                                    T(1) / temperature, index(kept.offsets), index(kept.tokens));
        return {tensor<B, T>(b, y[0], {rows}), tensor<B, T>(b, y[1], {rows}),
                tensor<B, T>(b, y[2], {rows})};
    } else {
        return token_statistics_composite(logits, targets, T(temperature), kept);
    }
}

/// {log-probability of the target [rows], entropy [rows]} of softmax(logits / temperature) over all
/// tokens or over the kept ones; logits [rows, vocabulary], targets [rows]. A token that was not
/// kept has log-probability −∞; a logit of −∞ adds nothing to the entropy. Throws shape_error,
/// value_error for a temperature ≤ 0 or a target outside the vocabulary.
template <class B, class T>
std::array<tensor<B, T>, 2> token_statistics(tensor<B, T> const& logits,
                                             index_tensor<B> const& targets,
                                             std::type_identity_t<T> temperature = T(1),
                                             kept_tokens const& kept = {}) {
    auto const y = token_statistics_and_normalizer(logits, targets, temperature, kept);
    return {y[0], y[1]};
}

}  // namespace grove::inline GROVE_ISA
