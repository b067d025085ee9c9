// SPDX-License-Identifier: Apache-2.0
/// @file
/// The CUDA backend: Thrust on a stream, with kernels of our own where rows, indices and products
/// ask for them. Needs nvcc with --expt-relaxed-constexpr, cudart and cuBLASLt.
#pragma once

#include <cub/device/device_radix_sort.cuh>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
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

/// A CUDA device, float and double. Bad indices and offsets are thrown by the next `download`,
/// `await`, `update` or `synchronize`; nothing else waits for the device once each class of shapes
/// was met.
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
    // Sorts are templates, so that a program without them compiles none: indices are 32 bits wide.
    template <class Index>
    indices argsort(buffer<Index> const& keys) {
        return sort(keys, tabulate<std::int32_t>(detail::own_place{}, keys.size()), 32).order;
    }
    template <class Index>
    indices segment_offsets(buffer<Index> const& keys, index_t segments) {
        return starts(sort_rows("segment_offsets", keys, segments).keys, segments);
    }
    /// One sort for all three.
    template <class Index>
    std::array<indices, 3> group_by_key(buffer<Index> const& keys, index_t groups) {
        auto const sorted = sort_rows("group_by_key", keys, groups);
        auto const places = allocate<std::int32_t>(keys.size());
        system().each(keys.size(), detail::inverse_element{sorted.order.data(), places.data()});
        return {sorted.order, places, starts(sorted.keys, groups)};
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        auto y = alike(x, index.size() * columns);
        index_t const rows = x.size() / std::max<index_t>(columns, 1);
        detail::queue_row_packets(
            index.size(),
            detail::gathered_packet<T>{detail::moved_rows<T>::of(x.input(), y.output(), columns),
                                       {index.data(), rows},
                                       system().faults("gather")},
            system().stream());
        return y;
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        auto const sorted = sort_rows("scatter_add", index, rows);
        return sum_rows(x, columns, index.size(), starts(sorted.keys, rows), sorted.order.data());
    }
    /// Rows of `index` must be distinct: which of two writers comes last is open.
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        index_t const rows = target.size() / std::max<index_t>(columns, 1);
        queue_written(detail::moved_rows<T>::of(x.input(), target.output(), columns), {}, index,
                      rows);
    }
    /// Models has_row_pairs: both in one launch.
    template <class T>
    void write_row_pairs(buffer<T>& target, buffer<T> const& x, index_t columns, buffer<T>& other,
                         buffer<T> const& z, index_t other_columns, indices const& index) {
        index_t const rows = target.size() / std::max<index_t>(columns, 1),
                      other_rows = other_columns > 0 ? other.size() / other_columns : rows;
        queue_written(detail::moved_rows<T>::of(x.input(), target.output(), columns),
                      detail::moved_rows<T>::of(z.input(), other.output(), other_columns), index,
                      std::min(rows, other_rows));
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
    template <class T>
    using arrival = cuda_arrival<T>;
    template <class T>
    void fetch(buffer<T> const& x, arrival<T>& y) {
        system().fetch(x, y);
    }
    template <class T>
    std::span<T const> await(arrival<T> const& x) {
        return system().await(x);
    }

    /// Models has_token_sampling.
    template <class T>
    std::array<indices, 2> sample_tokens(buffer<T> const& logits, index_t columns,
                                         buffer<double> const& uniforms,
                                         sampling_options const& options, indices const& tokens) {
        index_t const rows = uniforms.size();
        bool const keeps = options.truncates() && options.temperature > 0;
        auto const rules = allocate<detail::kept_rule<T>>(keeps ? rows : 0);
        auto const counts = allocate<std::int32_t>(keeps ? rows : 0);
        auto const launch = [&]<int Threads>() {
            system().each_block(
                rows, detail::drawn_token<T, Threads>{logits.numbers(), columns, uniforms.data(),
                                                      options, system().faults("sampler"),
                                                      tokens.data(), rules.data(), counts.data()});
        };
        constexpr index_t narrow = 2048;
        if (columns <= narrow)
            launch.template operator()<128>();
        else
            launch.template operator()<512>();
        if (!keeps) return {};
        std::array const y{allocate<std::int32_t>(rows + 1),
                           allocate<std::int32_t>(rows * columns)};
        system().each_block(
            rows, detail::kept_lists<T>{logits.numbers(), columns,
                                        static_cast<T>(1.0 / options.temperature), rules.data(),
                                        counts.data(), y[0].data(), y[1].data()});
        return y;
    }

private:
    struct sorted_indices {
        indices keys, order;
    };

    template <class T>
    void queue_written(detail::moved_rows<T> const& rows, detail::moved_rows<T> const& more,
                       indices const& index, index_t limit) {
        detail::queue_row_packets(
            index.size(),
            detail::written_packet<T>{
                rows, more, {index.data(), limit}, system().faults("write_rows")},
            system().stream());
    }

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
        detail::add_parts const add{sums.numbers(), cut.parts(), p.m * p.n, c.data()};
        system().each(add.places(), add);
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
        detail::row_sums<T> const sums{
            x.input(),      columns, rows,
            offsets.data(), order,   detail::all_rows_aligned(columns, x.input(), y.output()),
            y.data()};
        auto const brief = [&](auto const& sum) { system().each(sum.places(segments), sum); };
        detail::tall_sum<T> const tall{sums};
        if (rows > detail::sum_chains * segments)  // all give the same bits
            system().each_block(tall.blocks(segments), tall);
        else if (rows > segments)
            brief(detail::short_sum<T, 4>{sums});
        else
            brief(detail::short_sum<T, 1>{sums});
        return y;
    }
    /// Stable, by the lowest bits of the keys; 32 where some may be negative.
    template <class Index>
    sorted_indices sort(buffer<Index> const& keys, indices const& order, int bits) {
        index_t const size = keys.size();
        sorted_indices y{allocate<std::int32_t>(size), allocate<std::int32_t>(size)};
        auto const queue = [&](void* memory, std::size_t& bytes) {
            detail::check(
                cub::DeviceRadixSort::SortPairs(
                    memory, bytes, keys.numbers(), y.keys.data(), order.numbers(), y.order.data(),
                    static_cast<std::int32_t>(size), 0, bits, system().stream()),
                "cub::DeviceRadixSort");
        };
        std::size_t bytes = 0;
        queue(nullptr, bytes);
        auto const memory = allocate<char>(static_cast<index_t>(bytes));
        if (size > 0) queue(memory.data(), bytes);
        return y;
    }
    /// Indices of so many rows; the bad ones come last, and are thrown by whatever waits next.
    template <class Index>
    sorted_indices sort_rows(char const* operation, buffer<Index> const& index, index_t rows) {
        auto const keys = allocate<std::int32_t>(index.size()),
                   order = allocate<std::int32_t>(index.size());
        system().each(
            index.size(),
            detail::row_key{
                {index.data(), rows}, system().faults(operation), keys.data(), order.data()});
        int const bits = std::bit_width(static_cast<std::uint64_t>(rows));
        return sort(keys, order, std::max(bits, 1));
    }
    template <class Index>
    indices starts(buffer<Index> const& ascending, index_t segments) {
        auto y = allocate<std::int32_t>(segments + 1);
        system().each(y.size(),
                      detail::start_element{ascending.data(), ascending.size(), y.data()});
        return y;
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
