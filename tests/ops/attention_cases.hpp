// SPDX-License-Identifier: Apache-2.0
// Sequences to attend in, with fresh keys or through a cache, on any backend.
#pragma once

#include <limits>
#include <numeric>
#include <vector>

#include "grove/ops/attention.hpp"
#include "learn.hpp"

namespace grove_test {

using namespace grove;

/// Queries, keys and values of some sequences.
template <class B, class T>
struct sequences {
    attention_shape shape;
    std::vector<std::int32_t> lengths;
    tensor<B, T> q, k, v;

    sequences(B& b, attention_shape s, std::vector<std::int32_t> n)
        : shape(s), lengths(std::move(n)) {
        index_t const tokens = layout().tokens();
        q = random_tensor<T>(b, {tokens, shape.query_columns()}, 1);
        k = random_tensor<T>(b, {tokens, shape.key_columns()}, 2);
        v = shape.values_in_keys ? k : random_tensor<T>(b, {tokens, shape.value_columns()}, 3);
    }
    attention_layout layout() const { return attention_layout::packed(lengths); }
    index_t first_row(std::size_t s) const {
        return std::accumulate(lengths.begin(), lengths.begin() + static_cast<index_t>(s), 0);
    }
    std::vector<T> packed() const { return to_host(attention(shape, q, k, v, layout())); }
};

/// Keys and values of several sequences in another order than their tokens, not yet written: NaN.
template <class B, class T>
class key_cache {
public:
    key_cache(B& b, sequences<B, T> const& all) : all_(all) {
        index_t rows = 3;
        for (std::size_t s = all.lengths.size(); s-- > 0;) {
            first_.insert(first_.begin(), rows);
            rows += all.lengths[s] + 2;
        }
        T const unwritten = std::numeric_limits<T>::quiet_NaN();
        k_ = full(b, {rows, all.shape.key_columns()}, unwritten);
        v_ = full(b, {rows, all.shape.value_columns()}, unwritten);
    }
    /// Attends from tokens [begin, end) of each sequence, where it has them, last sequence first;
    /// the results are put in their places in `out`.
    void step(index_t begin, index_t end, std::vector<T>& out) {
        B& b = k_.backend();
        attention_layout layout;
        std::vector<std::int32_t> rows, slots;
        for (std::size_t s = all_.lengths.size(); s-- > 0;) {
            index_t const from = std::min<index_t>(begin, all_.lengths[s]);
            index_t const to = std::min<index_t>(end, all_.lengths[s]);
            for (index_t i = from; i < to; ++i) {
                rows.push_back(static_cast<std::int32_t>(all_.first_row(s) + i));
                slots.push_back(static_cast<std::int32_t>(first_[s] + i));
            }
            layout.add(to - from, first_[s], to);
        }
        auto const index = indices_from(b, rows), slot = indices_from(b, slots);
        b.write_rows(k_.buffer(), gather_rows(all_.k, index).buffer(), k_.columns(), slot.buffer());
        b.write_rows(v_.buffer(), gather_rows(all_.v, index).buffer(), v_.columns(), slot.buffer());
        auto const y = to_host(attention(all_.shape, gather_rows(all_.q, index), k_,
                                         all_.shape.values_in_keys ? k_ : v_, layout));
        auto const columns = all_.shape.output_columns();
        for (std::size_t i = 0; i < rows.size(); ++i)
            std::copy_n(y.begin() + static_cast<index_t>(i) * columns, columns,
                        out.begin() + rows[i] * columns);
    }

private:
    sequences<B, T> const& all_;
    std::vector<index_t> first_;
    tensor<B, T> k_, v_;
};

}  // namespace grove_test
