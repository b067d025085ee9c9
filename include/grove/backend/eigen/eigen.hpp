// SPDX-License-Identifier: Apache-2.0
/// @file
/// The CPU backend: packs of Eigen's SIMD types, products on them, oneTBB's threads.
#pragma once

#include "grove/backend/eigen/attention.hpp"
#include "grove/backend/eigen/parallel.hpp"
#include "grove/backend/eigen/product.hpp"
#include "grove/backend/eigen/rows.hpp"
#include "grove/backend/eigen/strided.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA {

/// Eigen + oneTBB. Overrides what is worth tuning and inherits the other loops from the reference.
/// Results have the same bits for every number of threads.
class eigen_backend : public reference_backend {
public:
    template <class T>
    using buffer = host_buffer<T>;

    /// `threads` = 0 takes all that the machine has.
    explicit eigen_backend(int threads = 0) : arena_(threads) {}

    static std::string name() { return "eigen"; }
    int threads() const { return arena_.threads(); }

    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more) {
        constexpr int outputs = law_outputs<Law, T, 1 + sizeof...(More)>;
        std::array<buffer<T>, outputs> y;
        for (auto& out : y) out = allocate<T>(rows * columns);
        auto flat = [&](auto const& o) {
            return (o.row_stride == columns && o.column_stride == 1) ||
                   (o.row_stride == 0 && o.column_stride == 0);
        };
        if (rows > 1 && flat(first) && (flat(more) && ...)) {  // one long row: no tails
            columns *= rows;
            rows = 1;
        }
        if (rows == 1) {
            arena_.parallel(columns, grain_, [&](index_t begin, index_t end) {
                map_rows(law, 0, 1, begin, end, y, columns, first, more...);
            });
        } else {
            arena_.parallel(rows, std::max<index_t>(1, grain_ / (columns + 1)),
                            [&](index_t begin, index_t end) {
                                map_rows(law, begin, end, 0, columns, y, columns, first, more...);
                            });
        }
        return y;
    }
    template <class T>
    buffer<T> reduce_columns(reduction how, buffer<T> const& x, index_t rows, index_t columns) {
        auto y = allocate<T>(rows);
        rows_parallel(rows, columns, [&](index_t i) {
            T const* row = x.data() + i * columns;
            y.data()[i] = how == reduction::sum ? detail::sum_row(row, columns)
                                                : detail::max_row(row, columns);
        });
        return y;
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        check_offsets("sum_segments", offsets, x.size() / std::max<index_t>(columns, 1));
        index_t const segments = offsets.size() - 1;
        auto y = allocate<T>(segments * columns);
        auto sum = [&](index_t s, index_t j, int count) {
            pack<T> total;
            for (index_t i = offsets.data()[s]; i < offsets.data()[s + 1]; ++i)
                total += load_pack(x.data() + i * columns + j, count);
            store_pack(total, y.data() + s * columns + j, count);
        };
        if (segments >= many_segments_) {
            rows_parallel(segments, x.size() / segments, [&](index_t s) {
                for_each_pack<T>(columns, [&](index_t j, int count) { sum(s, j, count); });
            });
        } else {
            columns_parallel<T>(columns, x.size(), [&](index_t j, int count) {
                for (index_t s = 0; s < segments; ++s) sum(s, j, count);
            });
        }
        return y;
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        auto y = allocate<T>(rows * columns);
        check_rows("scatter_add", index, rows);
        std::fill_n(y.data(), y.size(), T(0));
        columns_parallel<T>(columns, x.size(), [&](index_t j, int count) {
            for (index_t i = 0; i < index.size(); ++i) {
                T* target = y.data() + index.data()[i] * columns + j;
                store_pack(
                    load_pack<T>(target, count) + load_pack(x.data() + i * columns + j, count),
                    target, count);
            }
        });
        return y;
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        auto y = allocate<T>(index.size() * columns);
        check_rows("gather", index, x.size() / std::max<index_t>(columns, 1));
        rows_parallel(index.size(), columns, [&](index_t i) {
            std::copy_n(x.data() + index.data()[i] * columns, columns, y.data() + i * columns);
        });
        return y;
    }

    template <class T>
    buffer<T> matmul(product_shape const& p, buffer<T> const& a, buffer<T> const& b) {
        auto c = allocate<T>(p.batch * p.m * p.n);
        auto view_a = [&](index_t s) {
            return view(a.data() + s * p.m * p.k, p.m, p.k, p.transpose_a);
        };
        auto view_b = [&](index_t s) {
            return view(b.data() + s * p.k * p.n, p.k, p.n, p.transpose_b);
        };
        if (p.batch == 1) {
            product(view_a(0), view_b(0), p.m, p.n, p.k, c.data(), false);
        } else {
            arena_.parallel(p.batch, 1, [&](index_t begin, index_t end) {
                for (index_t s = begin; s < end; ++s)
                    detail::multiply(view_a(s), view_b(s), p.m, p.n, p.k, c.data() + s * p.m * p.n,
                                     p.n, false);
            });
        }
        return c;
    }
    /// An element of C goes on as the chain that `matmul` is.
    template <class T>
    void matmul_add(product_shape const& p, buffer<T> const& a, buffer<T> const& b, buffer<T>& c) {
        require<shape_error>(p.batch == 1, "matmul_add", "expected one product, got ", p.batch);
        product(view(a.data(), p.m, p.k, p.transpose_a), view(b.data(), p.k, p.n, p.transpose_b),
                p.m, p.n, p.k, c.data(), true);
    }
    template <class T>
    buffer<T> strided_read(buffer<T> const& x, strided_view const& view) {
        detail::strided_rows const rows(view);
        auto y = allocate<T>(view.extents.size());
        rows_parallel(rows.rows, rows.columns, [&](index_t i) {
            detail::read_strided_row(x.data() + rows.place(i), rows.step, rows.columns,
                                     y.data() + i * rows.columns);
        });
        return y;
    }
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, strided_view const& view, index_t size) {
        detail::strided_rows const rows(view);
        if (!rows.places_differ()) return reference_backend::strided_place(x, view, size);
        auto y = allocate<T>(size);
        rows_parallel(size / grain_ + 1, grain_, [&](index_t i) {
            std::fill_n(y.data() + i * grain_, std::min(grain_, size - i * grain_), T(0));
        });
        write(x, view, y);
        return y;
    }
    template <class T>
    buffer<T> join(std::vector<buffer<T>> const& parts, std::vector<strided_view> const& views,
                   index_t size) {
        auto y = allocate<T>(size);
        for (std::size_t p = 0; p < parts.size(); ++p) write(parts[p], views[p], y);
        return y;
    }
    template <class T>
    buffer<T> grouped_matmul(grouped_shape const& g, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        check_offsets("grouped_matmul", offsets, g.rows);
        auto y = allocate<T>(g.rows * g.n);
        constexpr index_t chunk = 64;
        std::vector<std::array<index_t, 3>> pieces;  // group, first row, rows
        for (index_t e = 0; e < g.groups; ++e)
            for (index_t i = offsets.data()[e]; i < offsets.data()[e + 1]; i += chunk)
                pieces.push_back({e, i, std::min<index_t>(chunk, offsets.data()[e + 1] - i)});
        index_t const grain = small_product_ / (chunk * g.n * g.k + 1);
        arena_.parallel(
            static_cast<index_t>(pieces.size()), grain, [&](index_t begin, index_t end) {
                for (index_t s = begin; s < end; ++s) {
                    auto const [e, first, rows] = pieces[static_cast<std::size_t>(s)];
                    detail::multiply<T>({x.data() + first * g.k, g.k, 1},
                                        view(w.data() + e * g.k * g.n, g.k, g.n, g.transpose_b),
                                        rows, g.n, g.k, y.data() + first * g.n, g.n, false);
                }
            });
        return y;
    }
    template <class T>
    buffer<T> grouped_outer(grouped_shape const& g, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        check_offsets("grouped_outer", offsets, g.rows);
        auto w = allocate<T>(g.groups * g.k * g.n);
        index_t const work = g.rows * g.n * g.k / std::max<index_t>(g.groups, 1);
        arena_.parallel(g.groups, small_product_ / (work + 1), [&](index_t begin, index_t end) {
            for (index_t e = begin; e < end; ++e) outer(g, x, y, w, e, offsets);
        });
        return w;
    }

    template <class T>
    std::array<buffer<T>, 2> rms_norm(buffer<T> const& x, buffer<T> const& w, index_t rows,
                                      index_t columns, T epsilon) {
        auto y = allocate<T>(rows * columns), inverse = allocate<T>(rows);
        rows_parallel(rows, columns, [&](index_t i) {
            T const* xi = x.data() + i * columns;
            T const mean = detail::dot_row(xi, xi, columns) / static_cast<T>(columns);
            T const r = T(1) / math::sqrt(mean + epsilon);
            inverse.data()[i] = r;
            for_each_pack<T>(columns, [&](index_t j, int count) {
                store_pack(load_pack(xi + j, count) * pack<T>(r) * load_pack(w.data() + j, count),
                           y.data() + i * columns + j, count);
            });
        });
        return {y, inverse};
    }
    template <class T>
    std::array<buffer<T>, 2> rms_norm_backward(buffer<T> const& g, buffer<T> const& x,
                                               buffer<T> const& w, buffer<T> const& inverse,
                                               index_t rows, index_t columns) {
        auto dx = allocate<T>(rows * columns), dw = allocate<T>(columns);
        rows_parallel(rows, columns, [&](index_t i) {
            T const *xi = x.data() + i * columns, *gi = g.data() + i * columns;
            T const r = inverse.data()[i];
            T const dot = detail::sum_packs<T>(columns, [&](index_t j, int count) {
                return load_pack(gi + j, count) * load_pack(w.data() + j, count) *
                       load_pack(xi + j, count);
            });
            pack<T> const pull(dot * r * r / static_cast<T>(columns)), scale(r);
            for_each_pack<T>(columns, [&](index_t j, int count) {
                pack<T> const gw = load_pack(gi + j, count) * load_pack(w.data() + j, count);
                store_pack((gw - load_pack(xi + j, count) * pull) * scale,
                           dx.data() + i * columns + j, count);
            });
        });
        columns_parallel<T>(columns, x.size(), [&](index_t j, int count) {
            pack<T> sum;
            for (index_t i = 0; i < rows; ++i)
                sum += load_pack(g.data() + i * columns + j, count) *
                       load_pack(x.data() + i * columns + j, count) * pack<T>(inverse.data()[i]);
            store_pack(sum, dw.data() + j, count);
        });
        return {dx, dw};
    }

    template <class T>
    buffer<T> swiglu(buffer<T> const& x, index_t rows, index_t columns) {
        auto y = allocate<T>(rows * columns);
        rows_parallel(rows, columns, [&](index_t i) {
            detail::swiglu_row(x.data() + i * 2 * columns, columns, y.data() + i * columns);
        });
        return y;
    }
    template <class T>
    buffer<T> swiglu_backward(buffer<T> const& g, buffer<T> const& x, index_t rows,
                              index_t columns) {
        auto dx = allocate<T>(rows * 2 * columns);
        rows_parallel(rows, columns, [&](index_t i) {
            detail::swiglu_backward_row(g.data() + i * columns, x.data() + i * 2 * columns, columns,
                                        dx.data() + i * 2 * columns);
        });
        return dx;
    }

    template <class T>
    buffer<T> rope(buffer<T> const& x, buffer<T> const& table, indices const& positions,
                   index_t heads, index_t dim, rope_pairs pairs, bool inverse) {
        index_t const tokens = positions.size(), half = dim / 2;
        auto y = allocate<T>(x.size());
        check_rows("rope", positions, table.size() / dim);
        rows_parallel(tokens, heads * dim, [&](index_t i) {
            T const* cosine = table.data() + positions.data()[i] * dim;
            T const* sine = cosine + half;
            T const sign = inverse ? T(-1) : T(1);
            for (index_t h = 0; h < heads; ++h) {
                T const* from = x.data() + (i * heads + h) * dim;
                T* to = y.data() + (i * heads + h) * dim;
                if (pairs == rope_pairs::halves) {
                    detail::rotate_halves(from, cosine, sine, sign, half, to);
                } else {
                    detail::rotate_interleaved(from, cosine, sine, sign, half, to);
                }
            }
        });
        return y;
    }

    template <class T>
    std::array<buffer<T>, 2> attention(attention_shape const& shape, buffer<T> const& q,
                                       buffer<T> const& k, buffer<T> const& v,
                                       indices const& offsets, indices const& key_first,
                                       indices const& key_counts) {
        index_t const rows = q.size() / shape.head_dim;  // of all heads
        auto out = allocate<T>(rows * shape.value_width()), log_normalizer = allocate<T>(rows);
        each_key_head(shape, q.size(), offsets, key_first, key_counts,
                      [&](detail::attention_span const& span, index_t head) {
                          detail::attend(shape, span, head, q.data(), k.data(), v.data(),
                                         out.data(), log_normalizer.data());
                      });
        return {out, log_normalizer};
    }
    template <class T>
    std::array<buffer<T>, 3> attention_backward(attention_shape const& shape, buffer<T> const& g,
                                                buffer<T> const& q, buffer<T> const& k,
                                                buffer<T> const& v, buffer<T> const& out,
                                                buffer<T> const& log_normalizer,
                                                indices const& offsets, indices const& key_first,
                                                indices const& key_counts) {
        auto dq = allocate<T>(q.size()), dk = allocate<T>(k.size()), dv = allocate<T>(v.size());
        std::fill_n(dk.data(), dk.size(), T(0));
        std::fill_n(dv.data(), dv.size(), T(0));
        each_key_head(shape, q.size(), offsets, key_first, key_counts,
                      [&](detail::attention_span const& span, index_t head) {
                          detail::attend_backward(shape, span, head, q.data(), k.data(), v.data(),
                                                  out.data(), log_normalizer.data(), g.data(),
                                                  dq.data(), dk.data(), dv.data());
                      });
        return {dq, dk, dv};
    }

    template <class T>
    std::array<buffer<T>, 3> token_statistics(buffer<T> const& logits, index_t vocabulary,
                                              indices const& targets, T inverse_temperature,
                                              indices const& kept_offsets, indices const& kept) {
        index_t const rows = targets.size();
        auto log_probability = allocate<T>(rows), entropy = allocate<T>(rows);
        auto log_normalizer = allocate<T>(rows);
        check_rows("token_statistics", targets, vocabulary);
        rows_parallel(rows, 4 * vocabulary, [&](index_t i) {
            T const* row = logits.data() + i * vocabulary;
            auto const set = detail::kept_set(kept_offsets, kept, i);
            auto const s = detail::logit_statistics(row, vocabulary, inverse_temperature, set,
                                                    detail::scratch<T, 6>(vocabulary));
            auto const token = targets.data()[i];
            T const logit =
                detail::keeps(set, token) ? row[token] : -std::numeric_limits<T>::infinity();
            log_probability.data()[i] = math::fma(logit, inverse_temperature, -s.log_normalizer);
            entropy.data()[i] = s.entropy;
            log_normalizer.data()[i] = s.log_normalizer;
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
        auto dx = allocate<T>(logits.size());
        rows_parallel(targets.size(), 4 * vocabulary, [&](index_t i) {
            T const* row = logits.data() + i * vocabulary;
            T* target = dx.data() + i * vocabulary;
            auto const set = detail::kept_set(kept_offsets, kept, i);
            T const gl = g_log_probability.data()[i], ge = g_entropy.data()[i];
            pack<T> const tau(inverse_temperature), shift(-log_normalizer.data()[i]);
            pack<T> const h(entropy.data()[i]), pl(gl), pe(ge);
            for_each_pack<T>(vocabulary, [&](index_t j, int count) {
                pack<T> const log_p = math::fma(load_pack(row + j, count), tau, shift);
                pack<T> const p = math::exp(log_p), slope = math::fma(pe, log_p + h, pl);
                // 0 · −∞ must count as zero
                store_pack(math::select(p == pack<T>(T(0)), p, -p * tau * slope), target + j,
                           count);
            });
            if (!set.empty())
                detail::keep_only(target, vocabulary, set, detail::scratch<T, 6>(vocabulary));
            if (auto const token = targets.data()[i]; detail::keeps(set, token))
                target[token] += gl * inverse_temperature;
        });
        return dx;
    }

protected:
    detail::thread_arena const& arena() const { return arena_; }

private:
    static constexpr index_t grain_ = 16384;           // numbers below which a loop stays serial
    static constexpr index_t small_product_ = 131072;  // multiply-adds, likewise
    static constexpr index_t many_segments_ = 64;      // from here on, threads share the segments

    /// Puts x into the places of `view`, which differ.
    template <class T>
    void write(buffer<T> const& x, strided_view const& view, buffer<T>& y) const {
        detail::strided_rows const rows(view);
        rows_parallel(rows.rows, rows.columns, [&](index_t i) {
            detail::write_strided_row(x.data() + i * rows.columns, rows.step, rows.columns,
                                      y.data() + rows.place(i));
        });
    }
    template <class Body>
    void rows_parallel(index_t rows, index_t columns, Body&& body) const {
        arena_.parallel(rows, std::max<index_t>(1, grain_ / (columns + 1)),
                        [&](index_t begin, index_t end) {
                            for (index_t i = begin; i < end; ++i) body(i);
                        });
    }
    /// body(first column, columns) in packs, each pack on one thread: sums over rows keep their
    /// order.
    template <class T, class Body>
    void columns_parallel(index_t columns, index_t work, Body&& body) const {
        index_t const packs = (columns + pack<T>::size - 1) / pack<T>::size;
        arena_.parallel(packs, work < grain_ ? packs : 1, [&](index_t begin, index_t end) {
            for (index_t p = begin; p < end; ++p) {
                index_t const j = p * pack<T>::size;
                body(j, static_cast<int>(std::min<index_t>(pack<T>::size, columns - j)));
            }
        });
    }
    /// A row of an operand, by value: a store of a pack may change anything that is in memory.
    template <class T>
    struct operand_row {
        T const* first;
        index_t step;

        operand_row(operand<buffer<T>> const& o, index_t i)
            : first(o.data.data() + i * o.row_stride), step(o.column_stride) {}
        pack<T> load(index_t j, int count) const {
            return step == 0 ? pack<T>(*first) : load_pack(first + j, count);
        }
    };
    /// Columns [begin, end) of rows [first, last).
    template <class Law, class T, std::size_t Outputs, class... Operands>
    [[gnu::noinline]] static void map_rows(Law law, index_t first, index_t last, index_t begin,
                                           index_t end, std::array<buffer<T>, Outputs>& y,
                                           index_t columns, Operands const&... operands) {
        std::array<T*, Outputs> targets;
        for (std::size_t k = 0; k < Outputs; ++k) targets[k] = y[k].data() + begin;
        auto const row = [=](index_t place, auto... rows) {
            for_each_pack<T>(end - begin, [=](index_t at, int count) {
                auto const result = law(rows.load(begin + at, count)...);
                using traits = detail::output_traits<std::remove_const_t<decltype(result)>>;
                for (std::size_t k = 0; k < Outputs; ++k)
                    store_pack(traits::get(result, static_cast<int>(k)), targets[k] + place + at,
                               count);
            });
        };
        for (index_t i = first; i < last; ++i) row(i * columns, operand_row<T>(operands, i)...);
    }
    template <class T>
    static detail::matrix_view<T> view(T const* data, index_t rows, index_t columns,
                                       bool transposed) {
        if (transposed) return {data, 1, rows};
        return {data, columns, 1};
    }
    template <class T>
    void product(detail::matrix_view<T> a, detail::matrix_view<T> b, index_t m, index_t n,
                 index_t k, T* c, bool accumulate) {
        // A column is a row of the transpose, whose numbers follow each other.
        if (n == 1 && m > 1 && a.row_stride == 1)
            return product(b.transposed(), a.transposed(), 1, m, k, c, accumulate);
        // The longer side is shared out, in whole panels or blocks of rows.
        bool const by_columns = n > m;
        index_t const unit = by_columns ? detail::panel_columns<T> : detail::tile_rows;
        index_t const size = by_columns ? n : m, units = (size + unit - 1) / unit;
        index_t const grain = std::max<index_t>(1, units * small_product_ / (m * n * k + 1));
        arena_.parallel(units, grain, [&](index_t begin, index_t end) {
            index_t const first = begin * unit, count = std::min(size, end * unit) - first;
            if (by_columns) {
                detail::multiply(a, b.from(0, first), m, count, k, c + first, n, accumulate);
            } else {
                detail::multiply(a.from(first, 0), b, count, n, k, c + first * n, n, accumulate);
            }
        });
    }
    template <class T>
    void outer(grouped_shape const& g, buffer<T> const& x, buffer<T> const& y, buffer<T>& w,
               index_t e, indices const& offsets) {
        index_t const first = offsets.data()[e], rows = offsets.data()[e + 1] - first;
        auto left = view(x.data() + first * g.k, rows, g.k, false);
        auto right = view(y.data() + first * g.n, rows, g.n, false);
        T* target = w.data() + e * g.k * g.n;
        if (g.transpose_b) {
            detail::multiply(right.transposed(), left, g.n, g.k, rows, target, g.k, false);
        } else {
            detail::multiply(left.transposed(), right, g.k, g.n, rows, target, g.n, false);
        }
    }
    template <class Body>
    void each_key_head(attention_shape const& shape, index_t work, indices const& offsets,
                       indices const& key_first, indices const& key_counts, Body&& body) const {
        index_t const sequences = offsets.size() - 1, heads = shape.key_value_heads;
        arena_.parallel(sequences * heads, work < grain_ / 16 ? sequences * heads : 1,
                        [&](index_t begin, index_t end) {
                            for (index_t t = begin; t < end; ++t) {
                                index_t const s = t / heads, first = offsets.data()[s];
                                index_t const queries = offsets.data()[s + 1] - first;
                                if (queries > 0)
                                    body(
                                        {first, queries, key_first.data()[s], key_counts.data()[s]},
                                        t % heads);
                            }
                        });
    }
    detail::thread_arena arena_;
};

}  // namespace grove::inline GROVE_ISA
