// SPDX-License-Identifier: Apache-2.0
/// @file
/// The fused operations of the CUDA backend, float and double: backend/refinement.hpp says what
/// each computes. None waits for the device but `norm`; a row's bits depend on that row alone.
#pragma once

#include <array>
#include <span>
#include <utility>
#include <vector>

#include "grove/backend/cuda/activation.hpp"
#include "grove/backend/cuda/attention_launch.hpp"
#include "grove/backend/cuda/expert_rows.hpp"
#include "grove/backend/cuda/norm.hpp"
#include "grove/backend/cuda/precision.hpp"
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
        auto y = allocate<T>(rows * columns), inverse = allocate<T>(rows);
        bool const aligned = detail::rows_are_aligned(columns, {x.data(), w.data()});
        detail::norm_rows<T> const norm{{rows},  x.data(), w.data(), columns,
                                        epsilon, aligned,  y.data(), inverse.data()};
        system().each_block(norm.blocks(), norm);
        return {y, inverse};
    }
    template <class T>
    std::array<buffer<T>, 2> rms_norm_backward(buffer<T> const& g, buffer<T> const& x,
                                               buffer<T> const& w, buffer<T> const& inverse,
                                               index_t rows, index_t columns) {
        auto dx = allocate<T>(rows * columns), dw = allocate<T>(columns);
        bool const aligned = detail::rows_are_aligned(columns, {g.data(), x.data(), w.data()});
        detail::norm_gradient_rows<T> const norm{{rows},         g.data(), x.data(), w.data(),
                                                 inverse.data(), columns,  aligned,  dx.data()};
        system().each_block(norm.blocks(), norm);
        index_t const count = detail::norm_weight_strips<T>::strips(rows);
        auto const partial = allocate<T>(count * columns);
        detail::norm_weight_strips<T> const strips{g.data(), x.data(), inverse.data(), rows,
                                                   columns,  aligned,  partial.data()};
        system().each_block(strips.blocks(), strips);
        detail::strip_sums<T> const sums{partial.data(), count, columns, dw.data()};
        system().each_block(sums.blocks(), sums);
        return {dx, dw};
    }

    template <class T>
    buffer<T> swiglu(buffer<T> const& x, index_t rows, index_t columns) {
        auto y = allocate<T>(rows * columns);
        detail::swiglu_runs<T> const runs{
            {rows, columns}, x.data(), detail::rows_are_aligned(columns, {x.data()}), y.data()};
        system().each_block(runs.blocks(), runs);
        return y;
    }
    template <class T>
    buffer<T> swiglu_backward(buffer<T> const& g, buffer<T> const& x, index_t rows,
                              index_t columns) {
        auto dx = allocate<T>(2 * rows * columns);
        detail::swiglu_gradient_runs<T> const runs{
            {rows, columns},
            g.data(),
            x.data(),
            detail::rows_are_aligned(columns, {g.data(), x.data()}),
            dx.data()};
        system().each_block(runs.blocks(), runs);
        return dx;
    }

    template <class T>
    buffer<T> rope(buffer<T> const& x, buffer<T> const& table, indices const& positions,
                   index_t heads, index_t dim, rope_pairs pairs, bool inverse) {
        auto y = allocate<T>(x.size());
        system().each_block(
            positions.size(),
            detail::rope_rows<T>{x.data(), table.data(), positions.data(), table.size() / dim,
                                 static_cast<int>(heads), static_cast<int>(dim),
                                 pairs == rope_pairs::halves, inverse ? T(-1) : T(1),
                                 system().faults("rope"), y.data()});
        return y;
    }

    /// One launch for up to 16 parts.
    template <class T>
    buffer<T> join(std::vector<buffer<T>> const& parts, std::vector<strided_view> const& views,
                   index_t size) {
        auto y = allocate<T>(size);
        std::vector<detail::strided_copy> copies;
        for (std::size_t i = 0; i < parts.size(); ++i)
            copies.push_back(detail::strided_copy::place(parts[i].data(), views[i], y.data()));
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
        auto out = allocate<T>(e.tokens * e.output_columns), sums = allocate<T>(e.tokens * e.heads);
        detail::launch_attention(system(), precision_, e, shape.score_factor<T>(), q.data(),
                                 k.data(), v.data(), out.data(), sums.data());
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
        auto dq = allocate<T>(q.size()), dk = zeros<T>(k.size()), dv = zeros<T>(v.size());
        auto const mean = allocate<T>(log_normalizer.size());
        detail::row_dots<T> const dots{g.data(), out.data(), mean.size(), e.width, mean.data()};
        system().each_block(dots.blocks(), dots);
        detail::launch_attention_backward(
            system(), precision_, e, shape.score_factor<T>(),
            detail::attention_operands<T>{g.data(), q.data(), k.data(), v.data(),
                                          log_normalizer.data(), mean.data(), dq.data(), dk.data(),
                                          dv.data()});
        return {dq, dk, dv};
    }

    template <class T>
    buffer<T> spread_rows(buffer<T> const& x, index_t columns, indices const& places, index_t top) {
        auto y = allocate<T>(places.size() * columns);
        detail::spread_runs<T> const runs{{places.size(), columns},
                                          x.data(),
                                          choice_places("spread_rows", places, top),
                                          detail::rows_are_aligned(columns, {x.data()}),
                                          y.data()};
        system().each_block(runs.blocks(), runs);
        return y;
    }
    template <class T>
    buffer<T> combine_rows(buffer<T> const& y, buffer<T> const& weights, index_t columns,
                           indices const& places, index_t top) {
        auto out = allocate<T>(places.size() / top * columns);
        detail::combine_runs<T> const runs{{places.size() / top, columns},
                                           y.data(),
                                           weights.size() > 0 ? weights.data() : nullptr,
                                           choice_places("combine_rows", places, top),
                                           detail::rows_are_aligned(columns, {y.data()}),
                                           out.data()};
        system().each_block(runs.blocks(), runs);
        return out;
    }
    template <class T>
    std::array<buffer<T>, 2> combine_rows_backward(buffer<T> const& g, buffer<T> const& y,
                                                   buffer<T> const& weights, index_t columns,
                                                   indices const& places, index_t top) {
        auto dy = allocate<T>(y.size()), dweights = allocate<T>(weights.size());
        detail::combine_gradient_rows<T> const rows{
            places.size(),
            columns,
            g.data(),
            y.data(),
            weights.data(),
            choice_places("combine_rows_backward", places, top),
            detail::rows_are_aligned(columns, {g.data(), y.data()}),
            dy.data(),
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
        auto const launch = [&]<int Threads>() {
            system().each_block(rows,
                                detail::statistics_rows<T, Threads>{
                                    logits.data(), vocabulary, targets.data(), inverse_temperature,
                                    kept_sets(kept_offsets, kept, vocabulary),
                                    detail::rows_are_aligned(vocabulary, {logits.data()}),
                                    system().faults("token_statistics"), log_probability.data(),
                                    entropy.data(), log_normalizer.data()});
        };
        constexpr index_t narrow = 2048;
        if (vocabulary <= narrow)
            launch.template operator()<64>();
        else
            launch.template operator()<512>();
        return {log_probability, entropy, log_normalizer};
    }
    template <class T>
    buffer<T> token_statistics_backward(buffer<T> const& logits, index_t vocabulary,
                                        indices const& targets, T inverse_temperature,
                                        indices const& kept_offsets, indices const& kept,
                                        buffer<T> const& log_normalizer, buffer<T> const& entropy,
                                        buffer<T> const& g_log_probability,
                                        buffer<T> const& g_entropy) {
        auto dx = allocate<T>(logits.size());
        system().each_block(
            targets.size(),
            detail::statistics_gradient_rows<T>{
                logits.data(), vocabulary, targets.data(), inverse_temperature,
                kept_sets(kept_offsets, kept, vocabulary),
                detail::rows_are_aligned(vocabulary, {logits.data()}), log_normalizer.data(),
                entropy.data(), g_log_probability.data(), g_entropy.data(), dx.data()});
        return dx;
    }

    /// One launch. A buffer that nobody else holds is written in place.
    template <class T, class Law>
    void update(std::vector<parameter_update<device_buffer<T>, Law>> const& all) {
        std::vector<detail::update_slot<T, Law>> slots;
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
            detail::update_slot<T, Law> slot{{runs, w.size()}, u.law};
            slot.g = u.gradient.data();
            slot.w = w.data(), slot.m = m.data(), slot.v = v.data();
            slot.next_w = writable(w), slot.next_m = writable(m), slot.next_v = writable(v);
            runs += detail::runs_of(w.size());
            slots.push_back(slot);
        }
        auto const table = system().upload(std::span<detail::update_slot<T, Law> const>(slots));
        system().each_block(runs, detail::update_runs<T, Law>{table.data(), table.size()});
    }
    /// Waits for the device.
    template <class T>
    double norm(std::vector<buffer<T>> const& all) {
        std::vector<detail::square_slot<T>> slots;
        index_t runs = 0;
        for (auto const& x : all) {
            slots.push_back({{runs, x.size()}, x.data()});
            runs += detail::runs_of(x.size());
        }
        auto const table = system().upload(std::span<detail::square_slot<T> const>(slots));
        auto const sums = allocate<double>(runs), total = allocate<double>(1);
        system().each_block(runs, detail::square_runs<T>{table.data(), table.size(), sums.data()});
        system().each_block(1, detail::square_total{sums.data(), runs, total.data()});
        double y = 0;
        download(total, std::span(&y, 1));
        return y;
    }

protected:
    template <class T>
    buffer<T> zeros(index_t size) {
        auto y = allocate<T>(size);
        detail::check(cudaMemsetAsync(y.data(), 0, static_cast<std::size_t>(size) * sizeof(T),
                                      system().stream()),
                      "cudaMemsetAsync");
        return y;
    }

private:
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
};

}  // namespace grove::inline GROVE_ISA
