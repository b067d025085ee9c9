// SPDX-License-Identifier: Apache-2.0
/// @file
/// A thin backend on Thrust: every operation is an algorithm over the places of its result.
///
/// One thread computes a place, with its sums in ascending order (element.hpp), and sorts are
/// stable: results have the same bits on every system of the host and for every number of threads,
/// those of the reference backend.
#pragma once

#include <thrust/binary_search.h>
#include <thrust/fill.h>
#include <thrust/find.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/permutation_iterator.h>
#include <thrust/sort.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <span>
#include <string>
#include <utility>

#include "grove/backend/concept.hpp"
#include "grove/backend/thrust/element.hpp"
#include "grove/backend/thrust/system.hpp"

namespace grove::inline GROVE_ISA {

/// Thrust on `System`, nothing fused. Checks of indices and offsets read their verdict back.
/// @code
/// grove::thrust_backend<grove::thrust_tbb> backend(/*threads*/ 4);  // with thrust/tbb.hpp
/// @endcode
template <thrust_system System>
class thrust_backend {
public:
    template <class T>
    using buffer = typename System::template buffer<T>;
    using indices = buffer<std::int32_t>;

    /// The arguments are the system's.
    template <class... Arguments>
        requires std::constructible_from<System, Arguments...>
    explicit thrust_backend(Arguments&&... arguments)
        : system_(std::forward<Arguments>(arguments)...) {}

    static std::string name() { return "thrust (" + System::name() + ")"; }
    System const& system() const { return system_; }

    template <class T>
    buffer<T> allocate(index_t size) {
        return system_.template allocate<T>(size);
    }
    template <class T>
    buffer<T> upload(std::span<T const> source) {
        return system_.upload(source);
    }
    template <class T>
    void download(buffer<T> const& x, std::span<T> target) {
        system_.download(x, target);
    }
    template <class T>
    buffer<T> slice(buffer<T> const& x, index_t offset, index_t size) {
        return x.slice(offset, size);
    }
    void synchronize() { system_.synchronize(); }

    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more) {
        constexpr int inputs = 1 + sizeof...(More), outputs = law_outputs<Law, T, inputs>;
        auto pointer = [](operand<buffer<T>> const& o) {
            return operand<T const*>{o.data.data(), o.row_stride, o.column_stride};
        };
        detail::map_element<Law, T, outputs, inputs> element{
            law, columns, {pointer(first), pointer(more)...}, {}};
        std::array<buffer<T>, outputs> y;
        for (std::size_t k = 0; k < outputs; ++k)
            element.output[k] = (y[k] = allocate<T>(rows * columns)).data();
        each(rows * columns, element);
        return y;
    }
    template <class T, class Law>
    buffer<T> tabulate(Law law, index_t size) {
        return filled<T>(size, detail::tabulate_element<T, Law>{law});
    }
    template <class To, class From>
    buffer<To> cast(buffer<From> const& x) {
        return filled<To>(x.size(), detail::cast_element<To, From>{x.data()});
    }
    template <class T>
    buffer<T> reduce_columns(reduction how, buffer<T> const& x, index_t rows, index_t columns) {
        return filled<T>(rows, detail::reduced_row<T>{how, x.data(), columns});
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        check_offsets("sum_segments", offsets, x.size() / std::max<index_t>(columns, 1));
        return filled<T>((offsets.size() - 1) * columns,
                         detail::segment_sum<T>{x.data(), columns, offsets.data(), nullptr});
    }
    template <class T>
    buffer<T> repeat_segments(buffer<T> const& x, index_t columns, indices const& offsets,
                              index_t rows) {
        check_offsets("repeat_segments", offsets, rows);
        auto const owner = owners(offsets, rows);
        return read(x, rows * columns, detail::row_place{owner.data(), columns});
    }

    template <class T>
    indices top_k(buffer<T> const& x, index_t rows, index_t columns, index_t k) {
        auto const places = tabulate<index_t>(detail::own_place{}, rows * columns);
        index_t* const first = places.data();
        system_.run([&](auto const& policy) {
            thrust::stable_sort(policy, first, first + places.size(),
                                detail::descending_in_row<T>{x.data(), columns});
        });
        return filled<std::int32_t>(rows * k, detail::leading_column{first, columns, k});
    }
    indices argsort(indices const& keys) {
        auto const order = tabulate<std::int32_t>(detail::own_place{}, keys.size());
        system_.run([&](auto const& policy) {
            thrust::stable_sort(policy, order.data(), order.data() + order.size(),
                                detail::ascending_key{keys.data()});
        });
        return order;
    }
    indices segment_offsets(indices const& keys, index_t segments) {
        check_rows("segment_offsets", keys, segments);
        return starts(keys, argsort(keys), segments);
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        check_rows("gather", index, x.size() / std::max<index_t>(columns, 1));
        return read(x, index.size() * columns, detail::row_place{index.data(), columns});
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        check_rows("scatter_add", index, rows);
        auto const order = argsort(index), offsets = starts(index, order, rows);
        return filled<T>(rows * columns,
                         detail::segment_sum<T>{x.data(), columns, offsets.data(), order.data()});
    }
    /// Rows of `index` must be distinct: which of two writers comes last is open.
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        check_rows("write_rows", index, target.size() / std::max<index_t>(columns, 1));
        write(x, index.size() * columns, detail::row_place{index.data(), columns}, target);
    }
    template <class T>
    buffer<T> strided_read(buffer<T> const& x, strided_view const& view) {
        return read(x, view.extents.size(), detail::view_place::of(view));
    }
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, strided_view const& view, index_t size) {
        auto y = allocate<T>(size);
        system_.run([&](auto const& policy) { thrust::fill_n(policy, y.data(), size, T(0)); });
        write(x, view.extents.size(), detail::view_place::of(view), y);
        return y;
    }

    template <class T>
    buffer<T> matmul(product_shape const& p, buffer<T> const& a, buffer<T> const& b) {
        return filled<T>(p.batch * p.m * p.n, detail::product_element<T>{p, a.data(), b.data()});
    }
    template <class T>
    buffer<T> grouped_matmul(grouped_shape const& g, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        check_offsets("grouped_matmul", offsets, g.rows);
        auto const owner = owners(offsets, g.rows);
        return filled<T>(g.rows * g.n,
                         detail::grouped_element<T>{g, x.data(), w.data(), owner.data()});
    }
    /// The gradient of the matrices: W[e] = X[e]ᵀ · Y[e], as [groups, k, n] (or [groups, n, k]).
    template <class T>
    buffer<T> grouped_outer(grouped_shape const& g, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        check_offsets("grouped_outer", offsets, g.rows);
        return filled<T>(g.groups * g.k * g.n,
                         detail::outer_element<T>{g, x.data(), y.data(), offsets.data()});
    }

private:
    static auto places() { return thrust::counting_iterator<index_t>(0); }

    /// element(i) for each place: by the system's own kernel where it has one.
    template <class Element>
    void each(index_t size, Element const& element) {
        if constexpr (requires { system_.each(size, element); }) {
            system_.each(size, element);
        } else {
            system_.run(
                [&](auto const& policy) { thrust::for_each_n(policy, places(), size, element); });
        }
    }
    /// y[i] = element(i).
    template <class T, class Element>
    buffer<T> filled(index_t size, Element const& element) {
        auto y = allocate<T>(size);
        each(size, detail::filled_place<T, Element>{element, y.data()});
        return y;
    }
    /// y[i] = x[place(i)].
    template <class T, class Place>
    buffer<T> read(buffer<T> const& x, index_t size, Place const& place) {
        return filled<T>(size, detail::read_element<T, Place>{x.data(), place});
    }
    /// y[place(i)] = x[i].
    template <class T, class Place>
    void write(buffer<T> const& x, index_t size, Place const& place, buffer<T> const& y) {
        each(size, detail::written_place<T, Place>{x.data(), place, y.data()});
    }
    /// Where each segment's keys start among the ordered ones; the last is their number.
    indices starts(indices const& keys, indices const& order, index_t segments) {
        auto y = allocate<std::int32_t>(segments + 1);
        auto const first = thrust::counting_iterator<std::int32_t>(0);
        auto const ordered = thrust::make_permutation_iterator(keys.data(), order.data());
        system_.run([&](auto const& policy) {
            thrust::lower_bound(policy, ordered, ordered + keys.size(), first, first + segments + 1,
                                y.data());
        });
        return y;
    }
    /// The segment of each row: the number of segments that end at it or before.
    indices owners(indices const& offsets, index_t rows) {
        auto y = allocate<std::int32_t>(rows);
        auto const first = thrust::counting_iterator<std::int32_t>(0);
        system_.run([&](auto const& policy) {
            thrust::upper_bound(policy, offsets.data() + 1, offsets.data() + offsets.size(), first,
                                first + rows, y.data());
        });
        return y;
    }
    /// The first place of [0, size) at which `fault` holds; `size` where none does.
    template <class Fault>
    index_t first_fault(index_t size, Fault const& fault) {
        return system_.run([&](auto const& policy) {
            return thrust::find_if(policy, places(), places() + size, fault) - places();
        });
    }
    void check_rows(char const* operation, indices const& index, index_t rows) {
        index_t const at = first_fault(index.size(), detail::index_fault{index.data(), rows});
        if (at == index.size()) return;
        std::int32_t got = 0;
        download(index.slice(at, 1), std::span(&got, 1));
        fail<value_error>(operation, "expected indices in [0, ", rows, "), got ", got, " at ", at);
    }
    /// Segments must cover the rows, one behind the other.
    void check_offsets(char const* operation, indices const& offsets, index_t rows) {
        detail::offset_fault const fault{offsets.data(), offsets.size() - 1, rows};
        bool const valid =
            offsets.size() > 0 && first_fault(offsets.size(), fault) == offsets.size();
        require<value_error>(valid, operation, "expected offsets that ascend from 0 to ", rows,
                             ", got others");
    }

    System system_;
};

}  // namespace grove::inline GROVE_ISA
