// SPDX-License-Identifier: Apache-2.0
/// @file
/// The CUDA backend: Thrust on a stream, with kernels of our own where rows, indices and products
/// ask for them. Needs nvcc with --expt-relaxed-constexpr, cudart and cuBLASLt.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "grove/backend/cuda/map.hpp"
#include "grove/backend/cuda/precision.hpp"
#include "grove/backend/cuda/product.hpp"
#include "grove/backend/cuda/refinements.hpp"
#include "grove/backend/cuda/rows.hpp"
#include "grove/backend/cuda/sampling.hpp"
#include "grove/backend/cuda/strided.hpp"
#include "grove/backend/cuda/system.hpp"
#include "grove/backend/cuda/tensor_groups.hpp"
#include "grove/backend/cuda/tile.hpp"
#include "grove/backend/thrust/thrust.hpp"

namespace grove::inline GROVE_ISA {

/// A CUDA device, float and double. Bad indices and offsets are thrown by the next `download` or
/// `synchronize`; nothing else waits for the device once each class of shapes was met.
/// @code
/// grove::cuda_backend backend;  // a stream of its own, exact
/// grove::cuda_backend mixed(stream, {.precision = grove::product_precision::bf16});  // a user's
/// @endcode
class cuda_backend : public cuda_refinements {
    using base = cuda_refinements;

public:
    /// Of logits at a time: enough rows to fill a device, within a gigabyte.
    static constexpr index_t head_rows = 32768, head_bytes = index_t{1} << 30;

    /// On a stream of its own. Throws device_error where there is no device.
    explicit cuda_backend(product_options const& options = {})
        : base(options.precision),
          exact_(options.mode == product_mode::exact),
          products_(system(), exact_, options.precision) {}
    /// On the user's stream, which must outlive the backend and its buffers.
    explicit cuda_backend(cudaStream_t stream, product_options const& options = {})
        : base(options.precision, stream),
          exact_(options.mode == product_mode::exact),
          products_(system(), exact_, options.precision) {}

    static std::string name() { return "cuda"; }
    /// Bytes of logits that a learning pass keeps for their gradient: a tenth of the device's.
    index_t kept_head_bytes() const { return kept_head_bytes_; }

    /// Results are kept rounded where all operands as large as they are are.
    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more) {
        constexpr int inputs = 1 + sizeof...(More), outputs = law_outputs<Law, T, inputs>;
        bool some = false, all = true;
        auto const place = [&](operand<buffer<T>> const& o) {
            if (o.data.size() == rows * columns) {
                some = some || o.data.is_rounded();
                all = all && o.data.is_rounded();
            }
            return operand<detail::input<T>>{o.data.input(), o.row_stride, o.column_stride};
        };
        detail::placed_law<Law, T, outputs, inputs> placed{
            law, columns, {place(first), place(more)...}, {}};
        std::array<buffer<T>, outputs> y;
        for (std::size_t k = 0; k < outputs; ++k) {
            y[k] = some && all ? rounded<T>(rows * columns) : allocate<T>(rows * columns);
            placed.outputs[k] = y[k].output();
        }
        detail::queue_law(rows * columns, placed, system().stream());
        return y;
    }
    template <class T>
    buffer<T> reduce_columns(reduction how, buffer<T> const& x, index_t rows, index_t columns) {
        if (columns <= 1024) return reduce_runs<32>(how, x, rows, columns, columns);
        constexpr index_t longest = 16384;
        if (columns <= longest) return reduce_runs<256>(how, x, rows, columns, columns);
        return reduce_columns(how, reduce_runs<256>(how, x, rows, columns, longest), rows,
                              (columns + longest - 1) / longest);
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        index_t const rows = x.size() / std::max<index_t>(columns, 1);
        check_offsets("sum_segments", offsets, rows);
        return sum_rows(x, columns, rows, offsets, nullptr);
    }
    template <class T>
    buffer<T> repeat_segments(buffer<T> const& x, index_t columns, indices const& offsets,
                              index_t rows) {
        check_offsets("repeat_segments", offsets, rows);
        auto y = alike(x, rows * columns);
        system().each(y.size(), detail::repeat_element<T>{x.input(), columns, offsets.data(),
                                                          offsets.size() - 1, y.output()});
        return y;
    }

    template <class T>
    indices top_k(buffer<T> const& x, index_t rows, index_t columns, index_t k) {
        if (k > detail::leading_columns<T>::most) return base::top_k(x, rows, columns, k);
        auto y = allocate<std::int32_t>(rows * k);
        if (k > 0)
            system().each_block(rows,
                                detail::leading_columns<T>{x.numbers(), columns, k, y.data()});
        return y;
    }
    indices argsort(indices const& keys) { return sort(keys).order; }
    indices segment_offsets(indices const& keys, index_t segments) {
        check_rows("segment_offsets", keys, segments);
        return starts(sort(keys).keys, segments);
    }
    /// One sort for all three.
    std::array<indices, 3> group_by_key(indices const& keys, index_t groups) {
        check_rows("group_by_key", keys, groups);
        auto const sorted = sort(keys);
        auto const places = allocate<std::int32_t>(keys.size());
        system().each(keys.size(), detail::inverse_element{sorted.order.data(), places.data()});
        return {sorted.order, places, starts(sorted.keys, groups)};
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        auto y = alike(x, index.size() * columns);
        index_t const rows = x.size() / std::max<index_t>(columns, 1);
        system().each(
            y.size(),
            detail::gather_element<T>{
                x.input(), columns, {index.data(), rows}, system().faults("gather"), y.output()});
        return y;
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        check_rows("scatter_add", index, rows);
        auto const sorted = sort(index);
        return sum_rows(x, columns, index.size(), starts(sorted.keys, rows), sorted.order.data());
    }
    /// Rows of `index` must be distinct: which of two writers comes last is open.
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        index_t const rows = target.size() / std::max<index_t>(columns, 1);
        system().each(index.size() * columns,
                      detail::write_element<T>{x.input(),
                                               columns,
                                               {index.data(), rows},
                                               system().faults("write_rows"),
                                               target.output()});
    }

    template <class T>
    buffer<T> strided_read(buffer<T> const& x, strided_view const& view) {
        auto y = alike(x, view.extents.size());
        detail::queue_copy(system(), detail::strided_copy::read(x.input(), view, y.output()));
        return y;
    }
    /// Places are distinct: as many as there are elements leave none to fill.
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, strided_view const& view, index_t size) {
        auto y = alike(x, size);
        if (view.extents.size() < size) cleared(y);
        detail::queue_copy(system(), detail::strided_copy::place(x.input(), view, y.output()));
        return y;
    }

    template <class T>
    buffer<T> matmul(product_shape const& p, buffer<T> const& a, buffer<T> const& b) {
        bool const in_full = p.transpose_a || p.is_read_in_full;  // gradients of weights, logits
        auto c = in_full ? allocate<T>(p.batch * p.m * p.n) : activations<T>(p.batch * p.m * p.n);
        if (c.size() == 0) return c;
        if constexpr (std::is_same_v<T, float>) {
            if (p.k > 0 && multiply(p, operand_of(a), operand_of(b), c)) return c;
        }
        detail::product_blocks<T> const tiles{p, a.numbers(), b.numbers(), c.data()};
        system().each_block(tiles.blocks(), tiles);
        return c;
    }
    template <class T>
    buffer<T> grouped_matmul(grouped_shape const& g, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        check_offsets("grouped_matmul", offsets, g.rows);
        auto y = activations<T>(g.rows * g.n);
        if constexpr (std::is_same_v<T, float>) {
            auto const left = operand_of(x), right = operand_of(w);
            if (detail::multiply_groups(precision(), system(), g, left.numbers, right.numbers,
                                        offsets.data(), y.output()))
                return y;
        }
        detail::row_groups const groups{offsets.data(), g.rows, g.groups};
        detail::grouped_blocks<T> const tiles{g, x.numbers(), w.numbers(), groups, y.data()};
        system().each_block(tiles.blocks(), tiles);
        return y;
    }
    /// The gradient of the matrices: W[e] = X[e]ᵀ · Y[e], as [groups, k, n] (or [groups, n, k]).
    template <class T>
    buffer<T> grouped_outer(grouped_shape const& g, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        check_offsets("grouped_outer", offsets, g.rows);
        auto w = allocate<T>(g.groups * g.k * g.n);
        if constexpr (std::is_same_v<T, float>) {
            auto const left = operand_of(x), right = operand_of(y);
            if (detail::multiply_outer(precision(), system(), g, left.numbers, right.numbers,
                                       offsets.data(), w.output()))
                return w;
        }
        detail::row_groups const groups{offsets.data(), g.rows, g.groups};
        detail::outer_blocks<T> const tiles{g, x.numbers(), y.numbers(), groups, w.data()};
        system().each_block(tiles.blocks(), tiles);
        return w;
    }

    /// Models has_graphs.
    using graph = cuda_graph;
    bool can_capture() const { return system().can_capture(); }
    template <class Work>
    graph capture(Work const& work) {
        return system().capture(work);
    }
    template <class T>
    void assign(buffer<T>& target, std::span<T const> source) {
        system().assign(target, source);
    }

    /// Models has_token_sampling.
    template <class T>
    std::array<indices, 3> sample_tokens(buffer<T> const& logits, index_t columns,
                                         buffer<double> const& uniforms,
                                         sampling_options const& options) {
        index_t const rows = uniforms.size();
        bool const keeps = options.truncates() && options.temperature > 0;
        auto const rules = allocate<detail::kept_rule<T>>(keeps ? rows : 0);
        auto const counts = allocate<std::int32_t>(keeps ? rows : 0);
        std::array<indices, 3> y{allocate<std::int32_t>(rows), {}, {}};
        system().each_block(rows, detail::drawn_token<T>{logits.numbers(), columns, uniforms.data(),
                                                         options, system().faults("sampler"),
                                                         y[0].data(), rules.data(), counts.data()});
        if (!keeps) return y;
        y[1] = allocate<std::int32_t>(rows + 1);
        y[2] = allocate<std::int32_t>(rows * columns);
        system().each_block(
            rows, detail::kept_lists<T>{logits.numbers(), columns,
                                        static_cast<T>(1.0 / options.temperature), rules.data(),
                                        counts.data(), y[1].data(), y[2].data()});
        return y;
    }

private:
    struct sorted_indices {
        indices keys, order;
    };

    /// An operand of a product, as products of this precision read it.
    struct product_operand {
        detail::input<float> numbers;
        device_buffer<float> memory;  // where that is new
    };
    product_operand operand_of(buffer<float> const& x) {
        if (precision() != product_precision::bf16) return {{x.numbers(), nullptr}, {}};
        auto const rounded = system().rounded(x);
        return {{nullptr, rounded.data}, rounded.memory};
    }

    /// Whole, or in parts of the inner extent that are then added in their order. False where
    /// cuBLASLt does not offer it.
    bool multiply(product_shape const& p, product_operand const& a, product_operand const& b,
                  buffer<float> const& c) {
        auto const cut = detail::inner_cut::of(p);
        if (!exact_ || cut.parts() == 1)
            return products_.multiply(p, a.numbers, b.numbers, c.output());
        auto const sums = allocate<float>(cut.parts() * p.m * p.n);
        auto part = p;
        part.k = cut.length;
        part.batch = cut.whole;
        if (!products_.multiply(part, a.numbers, b.numbers, sums.output())) return false;
        index_t const done = cut.whole * cut.length;
        part.k = cut.rest;
        part.batch = 1;
        if (cut.rest > 0 &&
            !products_.multiply(part, a.numbers.from(done * p.m), b.numbers.from(done * p.n),
                                sums.output().from(cut.whole * p.m * p.n)))
            return false;
        system().each(p.m * p.n,
                      detail::add_parts{sums.numbers(), cut.parts(), p.m * p.n, c.data()});
        return true;
    }

    template <int Threads, class T>
    buffer<T> reduce_runs(reduction how, buffer<T> const& x, index_t rows, index_t columns,
                          index_t length) {
        index_t const runs = columns == 0 ? 1 : (columns + length - 1) / length;
        auto y = allocate<T>(rows * runs);
        system().each_block(y.size(), detail::reduced_runs<T, Threads>{how, x.input(), columns,
                                                                       length, runs, y.data()});
        return y;
    }
    /// Sums of rows order[p], or p, of x over the segments of p.
    template <class T>
    buffer<T> sum_rows(buffer<T> const& x, index_t columns, index_t rows, indices const& offsets,
                       std::int32_t const* order) {
        index_t const segments = offsets.size() - 1;
        auto y = allocate<T>(segments * columns);
        detail::row_sums<T> const sums{x.input(), columns, rows, offsets.data(), order, y.data()};
        if (rows > detail::sum_chains * segments)  // both give the same bits
            system().each_block(segments * ((columns + 31) / 32), detail::tall_sum<T>{sums});
        else
            system().each(y.size(), detail::short_sum<T>{sums});
        return y;
    }
    /// Stable, by keys.
    sorted_indices sort(indices const& keys) {
        sorted_indices y{cast<std::int32_t>(keys),
                         tabulate<std::int32_t>(detail::own_place{}, keys.size())};
        auto const first = y.keys.data();
        system().run([&](auto const& policy) {
            thrust::stable_sort_by_key(policy, first, first + keys.size(), y.order.data());
        });
        return y;
    }
    indices starts(indices const& ascending, index_t segments) {
        auto y = allocate<std::int32_t>(segments + 1);
        system().each(y.size(),
                      detail::start_element{ascending.data(), ascending.size(), y.data()});
        return y;
    }
    void check_rows(char const* operation, indices const& index, index_t rows) {
        system().each(index.size(),
                      detail::check_index{{index.data(), rows}, system().faults(operation)});
    }
    /// Segments must cover the rows, one behind the other.
    void check_offsets(char const* operation, indices const& offsets, index_t rows) {
        require<value_error>(offsets.size() > 0, operation,
                             "expected offsets that ascend from 0 to ", rows, ", got none");
        system().each(offsets.size(),
                      detail::check_offset{{offsets.data(), offsets.size() - 1, rows},
                                           system().faults(operation)});
    }

    static index_t tenth_of_memory() {
        std::size_t free = 0, total = 0;
        detail::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        return static_cast<index_t>(total / 10);
    }

    bool exact_;
    index_t kept_head_bytes_ = tenth_of_memory();
    detail::lt_products products_;
};

}  // namespace grove::inline GROVE_ISA
