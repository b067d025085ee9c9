// SPDX-License-Identifier: Apache-2.0
/// @file
/// The fused operations of the CUDA backend, float and double: backend/refinement.hpp says what
/// each computes. None waits for the device but `update`; a row's bits depend on that row alone.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "grove/backend/cuda/activation.hpp"
#include "grove/backend/cuda/attention_launch.hpp"
#include "grove/backend/cuda/expert_rows.hpp"
#include "grove/backend/cuda/norm.hpp"
#include "grove/backend/cuda/precision.hpp"
#include "grove/backend/cuda/rope.hpp"
#include "grove/backend/cuda/rows.hpp"
#include "grove/backend/cuda/statistics.hpp"
#include "grove/backend/cuda/strided.hpp"
#include "grove/backend/cuda/update.hpp"
#include "grove/backend/thrust/thrust.hpp"

namespace grove::inline GROVE_ISA {

/// Thrust on a CUDA device, and the fused operations.
class cuda_refinements : public thrust_backend<thrust_cuda> {
public:
    /// With what operands of attention's products are rounded to; then as the Thrust backend.
    template <class... Arguments>
    explicit cuda_refinements(product_precision precision, Arguments&&... arguments)
        : thrust_backend<thrust_cuda>(std::forward<Arguments>(arguments)...),
          precision_(precision) {}

    template <class T>
    std::array<buffer<T>, 2> rms_norm(buffer<T> const& x, buffer<T> const& w, index_t rows,
                                      index_t columns, T epsilon) {
        auto y = activations<T>(rows * columns), inverse = allocate<T>(rows);
        bool const aligned = detail::all_rows_aligned(columns, x.input(), w.input());
        detail::norm_rows<T> const norm{{rows},  x.input(),  w.input(),      columns,  epsilon,
                                        aligned, y.output(), inverse.data(), x.input()};
        detail::launch_norm(system(), norm);
        return {y, inverse};
    }
    template <class T>
    std::array<buffer<T>, 2> rms_norm_backward(buffer<T> const& g, buffer<T> const& x,
                                               buffer<T> const& w, buffer<T> const& inverse,
                                               index_t rows, index_t columns) {
        return norm_backward({}, g, x, w, inverse, rows, columns);
    }
    template <class T>
    std::array<buffer<T>, 3> add_rms_norm(buffer<T> const& x, buffer<T> const& y,
                                          buffer<T> const& w, index_t rows, index_t columns,
                                          T epsilon) {
        bool const rounds = x.is_rounded() && y.is_rounded();
        auto sum = rounds ? rounded<T>(rows * columns) : allocate<T>(rows * columns);
        auto normed = activations<T>(rows * columns), inverse = allocate<T>(rows);
        auto const written = sum.output();
        bool const aligned =
            detail::all_rows_aligned(columns, x.input(), y.input(), w.input(), written);
        detail::norm_rows<T> const norm{{rows},          {written.full, written.half},
                                        w.input(),       columns,
                                        epsilon,         aligned,
                                        normed.output(), inverse.data(),
                                        x.input(),       y.input(),
                                        written};
        detail::launch_norm(system(), norm);
        return {sum, normed, inverse};
    }
    template <class T>
    std::array<buffer<T>, 2> add_rms_norm_backward(buffer<T> const& g_sum, buffer<T> const& g,
                                                   buffer<T> const& sum, buffer<T> const& w,
                                                   buffer<T> const& inverse, index_t rows,
                                                   index_t columns) {
        return norm_backward(g_sum, g, sum, w, inverse, rows, columns);
    }

    template <class T>
    buffer<T> swiglu(buffer<T> const& x, index_t rows, index_t columns) {
        auto y = activations<T>(rows * columns);
        detail::swiglu_runs<T> const runs{
            {rows, columns}, x.input(), x.input().rows_are_aligned(columns), y.output()};
        system().each_block(runs.blocks(), runs);
        return y;
    }
    template <class T>
    buffer<T> swiglu_backward(buffer<T> const& g, buffer<T> const& x, index_t rows,
                              index_t columns) {
        auto dx = activations<T>(2 * rows * columns);
        detail::swiglu_gradient_runs<T> const runs{
            {rows, columns},
            g.input(),
            x.input(),
            detail::all_rows_aligned(columns, g.input(), x.input()),
            dx.output()};
        system().each_block(runs.blocks(), runs);
        return dx;
    }

    template <class T>
    buffer<T> rope(buffer<T> const& x, buffer<T> const& table, indices const& positions,
                   index_t heads, index_t dim, rope_pairs pairs, bool inverse) {
        auto y = activations<T>(x.size());
        int const count = static_cast<int>(heads), width = static_cast<int>(dim);
        detail::launch_rope<T>(system(), {{x.input()}, {count}, width},
                               {{y.output()}, {count}, width}, count, table, positions, pairs,
                               inverse);
        return y;
    }
    template <class T>
    std::array<buffer<T>, 3> rope_split(buffer<T> const& x, buffer<T> const& table,
                                        indices const& positions, attention_shape const& shape,
                                        rope_pairs pairs) {
        index_t const tokens = positions.size(), keys = tokens * shape.key_columns();
        std::array const y{activations<T>(tokens * shape.query_columns()), activations<T>(keys),
                           activations<T>(keys)};
        auto const [all, parts, rotated, dim] = heads_of(shape);
        detail::launch_rope<T>(
            system(), {{x.input()}, {all}, dim},
            {{y[0].output(), y[1].output(), y[2].output()}, {parts[0], parts[1], parts[1]}, dim},
            rotated, table, positions, pairs, false);
        return y;
    }
    template <class T>
    buffer<T> rope_join(std::array<buffer<T>, 3> const& x, buffer<T> const& table,
                        indices const& positions, attention_shape const& shape, rope_pairs pairs) {
        auto y = activations<T>(x[0].size() + x[1].size() + x[2].size());
        auto const [all, parts, rotated, dim] = heads_of(shape);
        detail::launch_rope<T>(
            system(),
            {{x[0].input(), x[1].input(), x[2].input()}, {parts[0], parts[1], parts[1]}, dim},
            {{y.output()}, {all}, dim}, rotated, table, positions, pairs, true);
        return y;
    }

    /// One launch for up to 16 parts.
    template <class T>
    buffer<T> join(std::vector<buffer<T>> const& parts, std::vector<strided_view> const& views,
                   index_t size) {
        bool const rounded =
            std::ranges::all_of(parts, [](auto const& x) { return x.is_rounded(); });
        auto y = rounded ? activations<T>(size) : allocate<T>(size);
        std::vector<detail::strided_copy> copies;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            auto const x = rounded ? parts[i].input() : detail::input<T>{parts[i].numbers()};
            copies.push_back(detail::strided_copy::place(x, views[i], y.output()));
        }
        detail::queue_copies(system(), copies);
        return y;
    }

    template <class T>
    std::array<buffer<T>, 2> attention(attention_shape const& shape, buffer<T> const& q,
                                       buffer<T> const& k, buffer<T> const& v,
                                       indices const& offsets, indices const& key_first,
                                       indices const& key_counts) {
        auto const e =
            extents("attention", shape, q.size(), k.size(), offsets, key_first, key_counts);
        auto out = activations<T>(e.tokens * e.output_columns),
             sums = allocate<T>(e.tokens * e.heads);
        if constexpr (std::is_same_v<T, float>) {
            if (out.is_rounded()) {
                auto const rounded_q = system().rounded(q), rounded_k = system().rounded(k),
                           rounded_v = system().rounded(v);
                if (detail::launch_rounded_attention(system(), e, shape.score_factor<T>(),
                                                     rounded_q.data, rounded_k.data, rounded_v.data,
                                                     out.output().half, sums.data()))
                    return {out, sums};
                out = allocate<T>(out.size());
            }
        }
        detail::launch_attention(system(), unrounded(), e, shape.score_factor<T>(), q.numbers(),
                                 k.numbers(), v.numbers(), out.data(), sums.data());
        return {out, sums};
    }
    template <class T>
    std::array<buffer<T>, 3> attention_backward(attention_shape const& shape, buffer<T> const& g,
                                                buffer<T> const& q, buffer<T> const& k,
                                                buffer<T> const& v, buffer<T> const& out,
                                                buffer<T> const& log_normalizer,
                                                indices const& offsets, indices const& key_first,
                                                indices const& key_counts) {
        auto const e = extents("attention_backward", shape, q.size(), k.size(), offsets, key_first,
                               key_counts);
        auto const mean = allocate<T>(log_normalizer.size());
        if constexpr (std::is_same_v<T, float>) {
            if (precision_ == product_precision::bf16 && !detail::heads_are_wide(e))
                return rounded_attention_backward<T>(e, shape.score_factor<T>(), {g, q, k, v, out},
                                                     log_normalizer, mean);
        }
        std::array y{allocate<T>(q.size()), zeros<T>(k.size()), zeros<T>(v.size())};
        detail::launch_attention_backward(
            system(), unrounded(), e, shape.score_factor<T>(),
            detail::attention_operands<T>{g.numbers(), q.numbers(), k.numbers(), v.numbers(),
                                          out.numbers(), log_normalizer.numbers(), mean.data(),
                                          y[0].data(), y[1].data(), y[2].data()});
        return y;
    }

    template <class T>
    buffer<T> spread_rows(buffer<T> const& x, index_t columns, indices const& places, index_t top) {
        auto y = alike(x, places.size() * columns);
        detail::spread_runs<T> const runs{{places.size(), columns},
                                          x.input(),
                                          choice_places("spread_rows", places, top),
                                          x.input().rows_are_aligned(columns),
                                          y.output()};
        system().each_block(runs.blocks(), runs);
        return y;
    }
    template <class T>
    buffer<T> combine_rows(buffer<T> const& y, buffer<T> const& weights, index_t columns,
                           indices const& places, index_t top) {
        auto out = alike(y, places.size() / top * columns);
        detail::combine_runs<T> const runs{{places.size() / top, columns},
                                           y.input(),
                                           weights.numbers(),
                                           choice_places("combine_rows", places, top),
                                           y.input().rows_are_aligned(columns),
                                           out.output()};
        system().each_block(runs.blocks(), runs);
        return out;
    }
    template <class T>
    std::array<buffer<T>, 2> combine_rows_backward(buffer<T> const& g, buffer<T> const& y,
                                                   buffer<T> const& weights, index_t columns,
                                                   indices const& places, index_t top) {
        auto dy = alike(y, y.size()), dweights = allocate<T>(weights.size());
        detail::combine_gradient_rows<T> const rows{
            places.size(),
            columns,
            g.input(),
            y.input(),
            weights.numbers(),
            choice_places("combine_rows_backward", places, top),
            detail::all_rows_aligned(columns, g.input(), y.input()),
            dy.output(),
            dweights.data()};
        system().each_block(rows.blocks(), rows);
        return {dy, dweights};
    }

    template <class T>
    std::array<buffer<T>, 3> token_statistics(buffer<T> const& logits, index_t vocabulary,
                                              indices const& targets, T inverse_temperature,
                                              indices const& kept_offsets, indices const& kept) {
        index_t const rows = targets.size();
        auto log_probability = allocate<T>(rows), entropy = allocate<T>(rows),
             log_normalizer = allocate<T>(rows);
        detail::by_vocabulary(vocabulary, [&]<int Threads>() {
            detail::statistics_rows<T, Threads> const all{
                {rows},
                logits.numbers(),
                vocabulary,
                targets.data(),
                inverse_temperature,
                kept_sets(kept_offsets, kept, vocabulary),
                detail::rows_are_aligned(vocabulary, {logits.numbers()}),
                system().faults("token_statistics"),
                log_probability.data(),
                entropy.data(),
                log_normalizer.data()};
            system().each_block(all.blocks(), all);
        });
        return {log_probability, entropy, log_normalizer};
    }
    template <class T>
    buffer<T> token_statistics_backward(buffer<T> const& logits, index_t vocabulary,
                                        indices const& targets, T inverse_temperature,
                                        indices const& kept_offsets, indices const& kept,
                                        buffer<T> const& log_normalizer, buffer<T> const& entropy,
                                        buffer<T> const& g_log_probability,
                                        buffer<T> const& g_entropy) {
        auto dx = activations<T>(logits.size());
        detail::by_vocabulary(vocabulary, [&]<int Threads>() {
            detail::statistics_gradient_rows<T, Threads> const all{
                {targets.size()},
                logits.numbers(),
                vocabulary,
                targets.data(),
                inverse_temperature,
                kept_sets(kept_offsets, kept, vocabulary),
                detail::rows_are_aligned(vocabulary, {logits.numbers()}),
                log_normalizer.numbers(),
                entropy.numbers(),
                g_log_probability.numbers(),
                g_entropy.numbers(),
                dx.output()};
            system().each_block(all.blocks(), all);
        });
        return dx;
    }

    /// A buffer that nobody else holds is written in place; a weight's copy in bf16 is written with
    /// it. Waits for the norm, not for the update.
    template <class T, class Law, class Clip>
    double update(std::vector<parameter_update<device_buffer<T>, Law>> const& all,
                  Clip const& clip) {
        using slot_type = detail::update_slot<T, Law>;
        std::vector<slot_type> slots;
        std::vector<buffer<T>> replaced;  // kept until the kernel is queued
        index_t runs = 0;
        auto const writable = [&](buffer<T>& x) {
            if (!x.is_unshared()) {
                replaced.push_back(x);
                x = allocate<T>(x.size());
            }
            return x.data();
        };
        for (auto const& u : all) {
            auto &w = *u.weight, &m = *u.first_moment, &v = *u.second_moment;
            bool const has_half = w.size() > 0 && w.has_half();
            slot_type slot{{runs, w.size()}, u.law};
            slot.g = u.gradient.numbers();
            slot.w = w.numbers(), slot.m = m.numbers(), slot.v = v.numbers();
            slot.next_w = writable(w), slot.next_m = writable(m), slot.next_v = writable(v);
            if (has_half) slot.next_half = w.writes_both();
            runs += detail::runs_of(w.size());
            slots.push_back(slot);
        }
        auto const table = system().upload(std::span<slot_type const>(slots));
        auto const sums = allocate<double>(runs), norm = allocate<double>(1);
        system().each_block(
            runs, detail::square_runs<slot_type>{table.data(), table.size(), sums.data()});
        system().each_block(1, detail::square_total{sums.data(), runs, norm.data()});
        system().fetch(norm, norm_);
        system().each_block(
            runs, detail::update_runs<T, Law, Clip>{table.data(), table.size(), norm.data(), clip,
                                                    system().faults("update").claimed});
        return system().await(norm_)[0];
    }

    /// Models has_activation_storage.
    template <class T>
    buffer<T> as_activations(buffer<T> const& x) {
        if constexpr (std::is_same_v<T, float>) {
            if (precision_ == product_precision::bf16 && !x.is_rounded()) {
                auto const y = rounded<T>(x.size());
                detail::convert(x.input(), y.output(), x.size(), system().stream());
                return y;
            }
        }
        return x;
    }

protected:
    product_precision precision() const { return precision_; }
    /// For results that are kept rounded where operands of products are.
    template <class T>
    buffer<T> activations(index_t size) {
        return precision_ == product_precision::bf16 ? rounded<T>(size) : allocate<T>(size);
    }
    /// For results that are kept as x is.
    template <class T>
    buffer<T> alike(buffer<T> const& x, index_t size) {
        return x.is_rounded() ? rounded<T>(size) : allocate<T>(size);
    }
    template <class T>
    buffer<T> rounded(index_t size) {
        if constexpr (std::is_same_v<T, float>)
            return system().allocate_rounded(size);
        else
            return allocate<T>(size);
    }
    template <class T>
    buffer<T> zeros(index_t size) {
        return cleared(allocate<T>(size));
    }
    template <class T>
    buffer<T> cleared(buffer<T> const& x) {
        auto const y = x.output();
        auto const bytes = static_cast<std::size_t>(x.size()) *
                           (y.half != nullptr ? sizeof(detail::bf16) : sizeof(T));
        void* const memory = y.half != nullptr ? static_cast<void*>(y.half) : y.full;
        detail::check(cudaMemsetAsync(memory, 0, bytes, system().stream()), "cudaMemsetAsync");
        return x;
    }

private:
    /// Heads of queries, keys and values side by side.
    struct joint_heads {
        int all;
        std::array<int, 2> parts;  ///< of queries, and of keys as of values
        int rotated, dim;
    };
    static joint_heads heads_of(attention_shape const& shape) {
        auto const heads = static_cast<int>(shape.heads),
                   keys = static_cast<int>(shape.key_value_heads);
        return {heads + 2 * keys, {heads, keys}, heads + keys, static_cast<int>(shape.head_dim)};
    }
    /// {dx, dw}; `of_x`, which may be empty, is x's own gradient.
    template <class T>
    std::array<buffer<T>, 2> norm_backward(buffer<T> const& of_x, buffer<T> const& g,
                                           buffer<T> const& x, buffer<T> const& w,
                                           buffer<T> const& inverse, index_t rows,
                                           index_t columns) {
        auto dx = alike(x, rows * columns), dw = allocate<T>(columns);
        bool const aligned =
            detail::all_rows_aligned(columns, g.input(), x.input(), w.input(), of_x.input());
        detail::norm_gradient_rows<T> norm{{rows},    g.input(),         x.input(),
                                           w.input(), inverse.numbers(), columns,
                                           aligned,   dx.output(),       of_x.input()};
        // A stream's gradient is full; the products of the branch before it read it rounded.
        if constexpr (std::is_same_v<T, float>) {
            if (precision_ == product_precision::bf16 && !dx.is_rounded() && dx.size() > 0)
                norm.copy = dx.writes_both();
        }
        index_t const count = detail::norm_strips(rows);
        auto const partial = allocate<T>(count * columns);
        if (columns <= 256) {
            system().each_block(count, detail::norm_gradient_block<T, 256>{norm, partial.data()});
        } else if (columns <= 1024) {
            system().each_block(count, detail::norm_gradient_block<T, 1024>{norm, partial.data()});
        } else {
            system().each_block(norm.blocks(), norm);
            detail::norm_weight_strips<T> const strips{
                g.input(), x.input(), inverse.numbers(), rows, columns, aligned, partial.data()};
            system().each_block(strips.blocks(), strips);
        }
        detail::input<T> const strips{partial.numbers()};
        detail::tall_sum<T> const sums{{strips, columns, count, nullptr, nullptr,
                                        strips.rows_are_aligned(columns), dw.data()}};
        system().each_block(sums.blocks(1), sums);
        return {dx, dw};
    }
    /// For attention that does not take bf16.
    product_precision unrounded() const {
        return precision_ == product_precision::bf16 ? product_precision::float32 : precision_;
    }
    template <class T>
    std::array<buffer<T>, 3> rounded_attention_backward(detail::attention_extents const& e,
                                                        float scale,
                                                        std::array<buffer<T>, 5> const& gqkvo,
                                                        buffer<T> const& log_normalizer,
                                                        buffer<T> const& mean) {
        std::array<detail::rounded_numbers, 5> x;
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = system().rounded(gqkvo[i]);
        // No two sequences may share a key here, and none has fewer keys than queries: where there
        // are no more keys than tokens each is some sequence's, and its gradients are written.
        bool const all_written = e.key_rows == e.tokens && e.value_step == e.width;
        auto const of_keys = [&](buffer<T> const& x) {
            auto const y = rounded<T>(x.size());
            return all_written ? y : cleared(y);
        };
        std::array const y{rounded<T>(gqkvo[1].size()), of_keys(gqkvo[2]), of_keys(gqkvo[3])};
        detail::launch_rounded_attention_backward(
            system(), e, scale,
            detail::attention_operands<detail::bf16>{
                x[0].data, x[1].data, x[2].data, x[3].data, x[4].data, log_normalizer.numbers(),
                mean.data(), y[0].output().half, y[1].output().half, y[2].output().half});
        return y;
    }
    detail::choice_places choice_places(char const* operation, indices const& places,
                                        index_t top) const {
        return {{places.data(), places.size()}, system().faults(operation), top};
    }
    detail::attention_extents extents(char const* operation, attention_shape const& shape,
                                      index_t queries, index_t keys, indices const& offsets,
                                      indices const& key_first, indices const& key_counts) {
        auto e = detail::attention_extents::of(shape);
        e.sequences = offsets.size() - 1;
        require<value_error>(
            e.sequences >= 0 && key_first.size() == e.sequences && key_counts.size() == e.sequences,
            operation, "expected keys for each of ", e.sequences, " sequences, got ",
            key_first.size(), " and ", key_counts.size());
        e.tokens = queries / e.query_columns;
        e.key_rows = keys / e.key_columns;
        e.offsets = offsets.data();
        e.key_first = key_first.data();
        e.key_counts = key_counts.data();
        e.report = system().faults(operation);
        return e;
    }
    static detail::kept_sets kept_sets(indices const& offsets, indices const& kept,
                                       index_t vocabulary) {
        return {offsets.data(), kept.data(), kept.size(), vocabulary};
    }
    product_precision precision_;
    cuda_arrival<double> norm_;
};

}  // namespace grove::inline GROVE_ISA
