// SPDX-License-Identifier: Apache-2.0
/// @file
/// The oracle: each primitive as the loop that defines it. Copy this file to begin a new backend.
#pragma once

#include <numeric>

#include "grove/backend/concept.hpp"
#include "grove/backend/host.hpp"

namespace grove::inline GROVE_ISA {

/// Naive loops on one thread, nothing fused.
class reference_backend : public host_memory {
public:
    using indices = buffer<std::int32_t>;

    static std::string name() { return "reference"; }

    template <class T>
    buffer<T> slice(buffer<T> const& x, index_t offset, index_t size) {
        return x.slice(offset, size);
    }

    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more) {
        constexpr int inputs = 1 + sizeof...(More);
        constexpr int outputs = law_outputs<Law, T, inputs>;
        std::array<buffer<T>, outputs> y;
        for (auto& out : y) out = allocate<T>(rows * columns);
        auto at = [](operand<buffer<T>> const& o, index_t i, index_t j) {
            return o.data.data()[i * o.row_stride + j * o.column_stride];
        };
        for (index_t i = 0; i < rows; ++i)
            for (index_t j = 0; j < columns; ++j) {
                auto const result = law(at(first, i, j), at(more, i, j)...);
                for (int k = 0; k < outputs; ++k)
                    y[static_cast<std::size_t>(k)].data()[i * columns + j] =
                        detail::output_traits<std::remove_const_t<decltype(result)>>::get(result,
                                                                                          k);
            }
        return y;
    }
    template <class T, class Law>
    buffer<T> tabulate(Law law, index_t size) {
        auto y = allocate<T>(size);
        for (index_t i = 0; i < size; ++i) y.data()[i] = law.template operator()<T>(i);
        return y;
    }
    template <class To, class From>
    buffer<To> cast(buffer<From> const& x) {
        auto y = allocate<To>(x.size());
        for (index_t i = 0; i < x.size(); ++i) y.data()[i] = static_cast<To>(x.data()[i]);
        return y;
    }
    template <class T>
    buffer<T> reduce_columns(reduction how, buffer<T> const& x, index_t rows, index_t columns) {
        auto y = allocate<T>(rows);
        for (index_t i = 0; i < rows; ++i) {
            T const* row = x.data() + i * columns;
            T result = how == reduction::sum ? T(0) : row[0];
            for (index_t j = 0; j < columns; ++j)
                result = how == reduction::sum ? result + row[j] : math::max(result, row[j]);
            y.data()[i] = result;
        }
        return y;
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        check_offsets("sum_segments", offsets, x.size() / std::max<index_t>(columns, 1));
        index_t const segments = offsets.size() - 1;
        auto y = zeros<T>(segments * columns);
        for (index_t s = 0; s < segments; ++s)
            for (index_t i = offsets.data()[s]; i < offsets.data()[s + 1]; ++i)
                for (index_t j = 0; j < columns; ++j)
                    y.data()[s * columns + j] += x.data()[i * columns + j];
        return y;
    }
    /// Adjoint of sum_segments: row s repeated for every row of segment s.
    template <class T>
    buffer<T> repeat_segments(buffer<T> const& x, index_t columns, indices const& offsets,
                              index_t rows) {
        check_offsets("repeat_segments", offsets, rows);
        auto y = zeros<T>(rows * columns);
        for (index_t s = 0; s + 1 < offsets.size(); ++s)
            for (index_t i = offsets.data()[s]; i < offsets.data()[s + 1]; ++i)
                std::copy_n(x.data() + s * columns, columns, y.data() + i * columns);
        return y;
    }

    template <class T>
    indices top_k(buffer<T> const& x, index_t rows, index_t columns, index_t k) {
        auto y = allocate<std::int32_t>(rows * k);
        std::vector<std::int32_t> order(static_cast<std::size_t>(columns));
        for (index_t i = 0; i < rows; ++i) {
            T const* row = x.data() + i * columns;
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(),
                             [&](auto a, auto b) { return row[a] > row[b]; });
            std::copy_n(order.begin(), k, y.data() + i * k);
        }
        return y;
    }
    indices argsort(indices const& keys) {
        auto y = allocate<std::int32_t>(keys.size());
        std::iota(y.data(), y.data() + y.size(), 0);
        std::stable_sort(y.data(), y.data() + y.size(),
                         [&](auto a, auto b) { return keys.data()[a] < keys.data()[b]; });
        return y;
    }
    indices segment_offsets(indices const& keys, index_t segments) {
        check_rows("segment_offsets", keys, segments);
        auto y = zeros<std::int32_t>(segments + 1);
        for (index_t i = 0; i < keys.size(); ++i) ++y.data()[keys.data()[i] + 1];
        std::partial_sum(y.data(), y.data() + y.size(), y.data());
        return y;
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        check_rows("gather", index, x.size() / std::max<index_t>(columns, 1));
        auto y = allocate<T>(index.size() * columns);
        for (index_t i = 0; i < index.size(); ++i)
            std::copy_n(x.data() + index.data()[i] * columns, columns, y.data() + i * columns);
        return y;
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        check_rows("scatter_add", index, rows);
        auto y = zeros<T>(rows * columns);
        for (index_t i = 0; i < index.size(); ++i)
            for (index_t j = 0; j < columns; ++j)
                y.data()[index.data()[i] * columns + j] += x.data()[i * columns + j];
        return y;
    }
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        check_rows("write_rows", index, target.size() / std::max<index_t>(columns, 1));
        for (index_t i = 0; i < index.size(); ++i)
            std::copy_n(x.data() + i * columns, columns, target.data() + index.data()[i] * columns);
    }
    template <class T>
    buffer<T> strided_read(buffer<T> const& x, strided_view const& view) {
        auto y = allocate<T>(view.extents.size());
        walk(view, [&](index_t i, index_t place) { y.data()[i] = x.data()[place]; });
        return y;
    }
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, strided_view const& view, index_t size) {
        auto y = zeros<T>(size);
        walk(view, [&](index_t i, index_t place) { y.data()[place] = x.data()[i]; });
        return y;
    }

    template <class T>
    buffer<T> matmul(product_shape const& p, buffer<T> const& a, buffer<T> const& b) {
        auto c = allocate<T>(p.batch * p.m * p.n);
        for (index_t s = 0; s < p.batch; ++s)
            multiply(p, a.data() + s * p.m * p.k, b.data() + s * p.k * p.n,
                     c.data() + s * p.m * p.n);
        return c;
    }
    template <class T>
    buffer<T> grouped_matmul(grouped_shape const& g, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        check_offsets("grouped_matmul", offsets, g.rows);
        auto y = allocate<T>(g.rows * g.n);
        for (index_t e = 0; e < g.groups; ++e) {
            index_t const begin = offsets.data()[e], rows = offsets.data()[e + 1] - begin;
            multiply({rows, g.n, g.k, false, g.transpose_b}, x.data() + begin * g.k,
                     w.data() + e * g.k * g.n, y.data() + begin * g.n);
        }
        return y;
    }
    /// The gradient of the matrices: W[e] = X[e]ᵀ · Y[e], as [groups, k, n] (or [groups, n, k]).
    template <class T>
    buffer<T> grouped_outer(grouped_shape const& g, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        check_offsets("grouped_outer", offsets, g.rows);
        auto w = allocate<T>(g.groups * g.k * g.n);
        for (index_t e = 0; e < g.groups; ++e) {
            index_t const begin = offsets.data()[e], rows = offsets.data()[e + 1] - begin;
            T const* xe = x.data() + begin * g.k;
            T const* ye = y.data() + begin * g.n;
            T* we = w.data() + e * g.k * g.n;
            if (g.transpose_b) {
                multiply({g.n, g.k, rows, true, false}, ye, xe, we);
            } else {
                multiply({g.k, g.n, rows, true, false}, xe, ye, we);
            }
        }
        return w;
    }

protected:
    /// Segments must cover the rows, one behind the other.
    static void check_offsets(char const* operation, indices const& offsets, index_t rows) {
        index_t const last = offsets.size() - 1;
        bool valid = last >= 0 && offsets.data()[0] == 0 && offsets.data()[last] == rows;
        for (index_t s = 0; valid && s < last; ++s)
            valid = offsets.data()[s] <= offsets.data()[s + 1];
        require<value_error>(valid, operation, "expected offsets that ascend from 0 to ", rows,
                             ", got others");
    }
    static void check_rows(char const* operation, indices const& index, index_t rows) {
        for (index_t i = 0; i < index.size(); ++i)
            require<value_error>(index.data()[i] >= 0 && index.data()[i] < rows, operation,
                                 "expected indices in [0, ", rows, "), got ", index.data()[i],
                                 " at ", i);
    }

private:
    template <class T>
    buffer<T> zeros(index_t size) {
        auto y = allocate<T>(size);
        std::fill_n(y.data(), size, T(0));
        return y;
    }
    template <class Visit>
    static void walk(strided_view const& view, Visit visit) {
        index_t const size = view.extents.size();
        for (index_t i = 0; i < size; ++i) {
            index_t rest = i, place = view.offset;
            for (int axis = view.extents.rank() - 1; axis >= 0; --axis) {
                place += rest % view.extents[axis] * view.strides[static_cast<std::size_t>(axis)];
                rest /= view.extents[axis];
            }
            visit(i, place);
        }
    }
    template <class T>
    static void multiply(product_shape const& p, T const* a, T const* b, T* c) {
        for (index_t i = 0; i < p.m; ++i)
            for (index_t j = 0; j < p.n; ++j) {
                T sum = T(0);
                for (index_t t = 0; t < p.k; ++t)
                    sum = math::fma(p.transpose_a ? a[t * p.m + i] : a[i * p.k + t],
                                    p.transpose_b ? b[j * p.k + t] : b[t * p.n + j], sum);
                c[i * p.n + j] = sum;
            }
    }
};

}  // namespace grove::inline GROVE_ISA
