// SPDX-License-Identifier: Apache-2.0
/// @file
/// Gradient rules of the fused operations, offered exactly where a backend offers these with their
/// gradients.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "grove/autodiff/tape.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA::detail {

/// The part of `autodiff<B>`, given as Tape, that decorates fused operations.
template <class Tape, class B>
class fused_rules {
public:
    template <class T>
    using value = typename B::template buffer<T>;
    template <class T>
    using buffer = tracked_buffer<value<T>>;
    using indices = buffer<std::int32_t>;

    template <class T>
        requires has_join<B, T>
    buffer<T> join(std::vector<buffer<T>> const& parts, std::vector<strided_view> const& views,
                   index_t size) {
        std::vector<value<T>> values;
        bool tracked = false;
        for (auto const& part : parts) {
            values.push_back(part.value);
            tracked = tracked || part.tracked();
        }
        auto y = inner().join(values, views, size);
        if (!tracked) return {y};
        return self().template record<T>(y, [=, this](value<T> const& g) {
            for (std::size_t p = 0; p < parts.size(); ++p)
                if (parts[p].tracked())
                    self().accumulate(parts[p], inner().strided_read(g, views[p]));
        });
    }

    /// The parts of x at these views, which fill all of it: reads whose gradients are joined.
    template <class T, std::size_t N>
        requires has_join<B, T>
    std::array<buffer<T>, N> split(buffer<T> const& x, std::array<strided_view, N> const& views) {
        std::array<value<T>, N> y;
        for (std::size_t i = 0; i < N; ++i) y[i] = inner().strided_read(x.value, views[i]);
        if (!x.tracked()) return plain(y);
        return self().template record_joint<T>(std::move(y), [=, this](
                                                                 std::array<value<T>, N> const& g) {
            self().accumulate(x, inner().join(std::vector(g.begin(), g.end()),
                                              std::vector(views.begin(), views.end()), x.size()));
        });
    }

    template <class T>
        requires has_rms_norm<B, T>
    std::array<buffer<T>, 2> rms_norm(buffer<T> const& x, buffer<T> const& w, index_t rows,
                                      index_t columns, T epsilon) {
        auto [y, inverse] = inner().rms_norm(x.value, w.value, rows, columns, epsilon);
        if (!x.tracked() && !w.tracked()) return {buffer<T>{y}, buffer<T>{inverse}};
        auto out = self().template record<T>(y, [=, this, r = inverse](value<T> const& g) {
            auto [dx, dw] = inner().rms_norm_backward(g, x.value, w.value, r, rows, columns);
            self().accumulate(x, dx);
            self().accumulate(w, dw);
        });
        return {out, buffer<T>{inverse}};
    }
    template <class T>
        requires has_rms_norm<B, T>
    std::array<buffer<T>, 2> rms_norm_backward(buffer<T> const& g, buffer<T> const& x,
                                               buffer<T> const& w, buffer<T> const& inverse,
                                               index_t rows, index_t columns) {
        auto [dx, dw] =
            inner().rms_norm_backward(g.value, x.value, w.value, inverse.value, rows, columns);
        return {buffer<T>{dx}, buffer<T>{dw}};
    }
    template <class T>
        requires has_add_rms_norm<B, T>
    std::array<buffer<T>, 3> add_rms_norm(buffer<T> const& x, buffer<T> const& y,
                                          buffer<T> const& w, index_t rows, index_t columns,
                                          T epsilon) {
        auto [sum, normed, inverse] =
            inner().add_rms_norm(x.value, y.value, w.value, rows, columns, epsilon);
        if (!x.tracked() && !y.tracked() && !w.tracked())
            return {buffer<T>{sum}, buffer<T>{normed}, buffer<T>{inverse}};
        auto out = self().template record_partial<T>(
            std::array{sum, normed},
            [=, this, s = sum, r = inverse](std::array<value<T>, 2> const& g) {
                if (g[1].size() < s.size()) {  // of the sum alone
                    self().accumulate(x, g[0]);
                    self().accumulate(y, g[0]);
                    return;
                }
                auto [ds, dw] =
                    inner().add_rms_norm_backward(g[0], g[1], s, w.value, r, rows, columns);
                self().accumulate(x, ds);
                self().accumulate(y, ds);
                self().accumulate(w, dw);
            });
        return {out[0], out[1], buffer<T>{inverse}};
    }
    /// {x, its norm}, joined on the way back as if x were a sum.
    template <class T>
        requires has_add_rms_norm<B, T>
    std::array<buffer<T>, 2> keep_rms_norm(buffer<T> const& x, buffer<T> const& w, index_t rows,
                                           index_t columns, T epsilon) {
        auto [y, inverse] = inner().rms_norm(x.value, w.value, rows, columns, epsilon);
        if (!x.tracked() && !w.tracked()) return plain(std::array{x.value, y});
        return self().template record_joint<T>(
            std::array{x.value, y}, [=, this, r = inverse](std::array<value<T>, 2> const& g) {
                auto [dx, dw] =
                    inner().add_rms_norm_backward(g[0], g[1], x.value, w.value, r, rows, columns);
                self().accumulate(x, dx);
                self().accumulate(w, dw);
            });
    }
    template <class T>
        requires has_add_rms_norm<B, T>
    std::array<buffer<T>, 2> add_rms_norm_backward(buffer<T> const& g_sum, buffer<T> const& g,
                                                   buffer<T> const& sum, buffer<T> const& w,
                                                   buffer<T> const& inverse, index_t rows,
                                                   index_t columns) {
        auto [ds, dw] = inner().add_rms_norm_backward(g_sum.value, g.value, sum.value, w.value,
                                                      inverse.value, rows, columns);
        return {buffer<T>{ds}, buffer<T>{dw}};
    }
    template <class T>
        requires has_swiglu<B, T>
    buffer<T> swiglu(buffer<T> const& x, index_t rows, index_t columns) {
        auto y = inner().swiglu(x.value, rows, columns);
        if (!x.tracked()) return {y};
        return self().template record<T>(y, [=, this](value<T> const& g) {
            self().accumulate(x, inner().swiglu_backward(g, x.value, rows, columns));
        });
    }
    template <class T>
        requires has_swiglu<B, T>
    buffer<T> swiglu_backward(buffer<T> const& g, buffer<T> const& x, index_t rows,
                              index_t columns) {
        return {inner().swiglu_backward(g.value, x.value, rows, columns)};
    }
    template <class T>
        requires has_rope<B, T>
    buffer<T> rope(buffer<T> const& x, buffer<T> const& table, indices const& positions,
                   index_t heads, index_t dim, rope_pairs pairs, bool inverse) {
        auto y = inner().rope(x.value, table.value, positions.value, heads, dim, pairs, inverse);
        if (!x.tracked()) return {y};
        return self().template record<T>(y, [=, this](value<T> const& g) {
            self().accumulate(
                x, inner().rope(g, table.value, positions.value, heads, dim, pairs, !inverse));
        });
    }
    template <class T>
        requires has_rope_split<B, T>
    std::array<buffer<T>, 3> rope_split(buffer<T> const& x, buffer<T> const& table,
                                        indices const& positions, attention_shape const& shape,
                                        rope_pairs pairs) {
        auto y = inner().rope_split(x.value, table.value, positions.value, shape, pairs);
        if (!x.tracked()) return plain(y);
        return self().template record_joint<T>(std::move(y), [=, this](
                                                                 std::array<value<T>, 3> const& g) {
            self().accumulate(x, inner().rope_join(g, table.value, positions.value, shape, pairs));
        });
    }
    template <class T>
        requires has_rope_split<B, T>
    buffer<T> rope_join(std::array<buffer<T>, 3> const& parts, buffer<T> const& table,
                        indices const& positions, attention_shape const& shape, rope_pairs pairs) {
        return {inner().rope_join(std::array{parts[0].value, parts[1].value, parts[2].value},
                                  table.value, positions.value, shape, pairs)};
    }
    template <class T>
        requires has_attention<B, T>
    std::array<buffer<T>, 2> attention(attention_shape const& shape, buffer<T> const& q,
                                       buffer<T> const& k, buffer<T> const& v,
                                       indices const& offsets, indices const& key_first,
                                       indices const& key_counts) {
        auto const known = inner().attention(shape, q.value, k.value, v.value, offsets.value,
                                             key_first.value, key_counts.value);
        return {known_attention(shape, q, k, v, offsets, key_first, key_counts, known),
                buffer<T>{known[1]}};
    }
    /// The output of `attention` where that and log Σ e^score are `known`: records the gradient.
    template <class T>
        requires has_attention<B, T>
    buffer<T> known_attention(attention_shape const& shape, buffer<T> const& q, buffer<T> const& k,
                              buffer<T> const& v, indices const& offsets, indices const& key_first,
                              indices const& key_counts, std::array<value<T>, 2> const& known) {
        if (!q.tracked() && !k.tracked() && !v.tracked()) return {known[0]};
        return self().template record<T>(known[0], [=, this](value<T> const& g) {
            auto [dq, dk, dv] =
                inner().attention_backward(shape, g, q.value, k.value, v.value, known[0], known[1],
                                           offsets.value, key_first.value, key_counts.value);
            self().accumulate(q, dq);
            self().accumulate(k, dk);
            self().accumulate(v, dv);
        });
    }
    template <class T>
        requires has_attention<B, T>
    std::array<buffer<T>, 3> attention_backward(attention_shape const& shape, buffer<T> const& g,
                                                buffer<T> const& q, buffer<T> const& k,
                                                buffer<T> const& v, buffer<T> const& out,
                                                buffer<T> const& log_normalizer,
                                                indices const& offsets, indices const& key_first,
                                                indices const& key_counts) {
        auto [dq, dk, dv] = inner().attention_backward(
            shape, g.value, q.value, k.value, v.value, out.value, log_normalizer.value,
            offsets.value, key_first.value, key_counts.value);
        return {buffer<T>{dq}, buffer<T>{dk}, buffer<T>{dv}};
    }
    template <class T = float>
        requires has_expert_rows<B, T>
    std::array<indices, 3> group_by_key(indices const& keys, index_t groups) {
        auto const y = inner().group_by_key(keys.value, groups);
        return {indices{y[0]}, indices{y[1]}, indices{y[2]}};
    }
    template <class T>
        requires has_expert_rows<B, T>
    buffer<T> spread_rows(buffer<T> const& x, index_t columns, indices const& places, index_t top) {
        auto y = inner().spread_rows(x.value, columns, places.value, top);
        if (!x.tracked()) return {y};
        return self().template record<T>(y, [=, this](value<T> const& g) {
            self().accumulate(x, inner().combine_rows(g, value<T>{}, columns, places.value, top));
        });
    }
    template <class T>
        requires has_expert_rows<B, T>
    buffer<T> combine_rows(buffer<T> const& y, buffer<T> const& weights, index_t columns,
                           indices const& places, index_t top) {
        auto out = inner().combine_rows(y.value, weights.value, columns, places.value, top);
        if (!y.tracked() && !weights.tracked()) return {out};
        return self().template record<T>(out, [=, this](value<T> const& g) {
            auto [dy, dweights] = inner().combine_rows_backward(g, y.value, weights.value, columns,
                                                                places.value, top);
            self().accumulate(y, dy);
            self().accumulate(weights, dweights);
        });
    }
    template <class T>
        requires has_expert_rows<B, T>
    std::array<buffer<T>, 2> combine_rows_backward(buffer<T> const& g, buffer<T> const& y,
                                                   buffer<T> const& weights, index_t columns,
                                                   indices const& places, index_t top) {
        auto [dy, dweights] = inner().combine_rows_backward(g.value, y.value, weights.value,
                                                            columns, places.value, top);
        return {buffer<T>{dy}, buffer<T>{dweights}};
    }
    template <class T>
        requires has_token_statistics<B, T>
    std::array<buffer<T>, 3> token_statistics(buffer<T> const& logits, index_t vocabulary,
                                              indices const& targets, T inverse_temperature,
                                              indices const& kept_offsets, indices const& kept) {
        auto y = inner().token_statistics(logits.value, vocabulary, targets.value,
                                          inverse_temperature, kept_offsets.value, kept.value);
        if (!logits.tracked()) return {buffer<T>{y[0]}, buffer<T>{y[1]}, buffer<T>{y[2]}};
        auto out = self().template record_joint<T>(
            std::array{y[0], y[1]}, [=, this](std::array<value<T>, 2> const& g) {
                self().accumulate(logits,
                                  inner().token_statistics_backward(
                                      logits.value, vocabulary, targets.value, inverse_temperature,
                                      kept_offsets.value, kept.value, y[2], y[1], g[0], g[1]));
            });
        return {out[0], out[1], buffer<T>{y[2]}};
    }
    template <class T>
        requires has_token_statistics<B, T>
    buffer<T> token_statistics_backward(buffer<T> const& logits, index_t vocabulary,
                                        indices const& targets, T inverse_temperature,
                                        indices const& kept_offsets, indices const& kept,
                                        buffer<T> const& log_normalizer, buffer<T> const& entropy,
                                        buffer<T> const& g_log_probability,
                                        buffer<T> const& g_entropy) {
        return {inner().token_statistics_backward(logits.value, vocabulary, targets.value,
                                                  inverse_temperature, kept_offsets.value,
                                                  kept.value, log_normalizer.value, entropy.value,
                                                  g_log_probability.value, g_entropy.value)};
    }

private:
    /// Results that nothing is learned through.
    template <class Value, std::size_t N>
    static std::array<tracked_buffer<Value>, N> plain(std::array<Value, N> const& y) {
        std::array<tracked_buffer<Value>, N> all;
        for (std::size_t i = 0; i < N; ++i) all[i] = {y[i]};
        return all;
    }
    Tape& self() { return static_cast<Tape&>(*this); }
    B& inner() { return self().inner(); }
};

}  // namespace grove::inline GROVE_ISA::detail
