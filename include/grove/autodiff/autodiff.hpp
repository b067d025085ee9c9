// SPDX-License-Identifier: Apache-2.0
/// @file
/// Reverse-mode differentiation as a decorator of a backend instance.
#pragma once

#include <array>
#include <utility>

#include "grove/autodiff/fused_rules.hpp"
#include "grove/autodiff/tape.hpp"
#include "grove/backend/concept.hpp"
#include "grove/backend/refinement.hpp"

namespace grove::inline GROVE_ISA {

namespace detail {
// The tape's own laws: at namespace scope, since a CUDA kernel takes no private type.
struct sum_law {
    template <class N>
    GROVE_HD N operator()(N a, N b) const {
        return a + b;
    }
};
struct same_law {
    template <class N>
    GROVE_HD N operator()(N a) const {
        return a;
    }
};
struct attains_law {
    template <class N>
    GROVE_HD N operator()(N g, N x, N top) const {
        return math::select(x == top, g, N(0));
    }
};
struct zero_law {
    template <class N>
    GROVE_HD N operator()(index_t) const {
        return N(0);
    }
};
struct one_law {
    template <class N>
    GROVE_HD N operator()(index_t) const {
        return N(1);
    }
};
/// Offsets of one segment of `rows` rows.
struct one_segment_law {
    index_t rows;
    template <class N>
    GROVE_HD N operator()(index_t i) const {
        return static_cast<N>(i * rows);
    }
};
}  // namespace detail

/// Wraps a backend, records what is computed from tracked buffers on a tape, and is a backend
/// itself: any function of tensors can be called with `tensor<B>` to act and with
/// `tensor<autodiff<B>>` to learn. A buffer is tracked when it is a leaf or was computed from a
/// tracked one; others cost nothing.
///
/// @code
/// grove::autodiff<grove::eigen_backend> tape(backend);
/// auto x = grove::leaf(tape, x0, [&](auto const& gradient) { … });
/// grove::backward(sum(multiply(x, x)));
/// @endcode
///
/// One rule per primitive, one rule for all laws (core/law.hpp), one per fused operation that the
/// inner backend offers with its gradient.
template <class B>
class autodiff : public detail::fused_rules<autodiff<B>, B> {
public:
    template <class T>
    using value = typename B::template buffer<T>;
    template <class T>
    using buffer = tracked_buffer<value<T>>;
    using indices = buffer<std::int32_t>;

    explicit autodiff(B& inner) : inner_(&inner) {}
    autodiff(autodiff const&) = delete;
    autodiff& operator=(autodiff const&) = delete;

    B& inner() const { return *inner_; }
    grove::tape& tape() { return tape_; }

    /// A tracked buffer whose gradient is handed to `sink(gradient)` during backward.
    template <class T, class Sink>
    buffer<T> leaf(value<T> x, Sink sink) {
        return tape_.record<T>(std::move(x), std::move(sink));
    }
    /// Records y = f(…) with a rule of your own: `rule(gradient of y)` must call `accumulate`.
    template <class T, class Rule>
    buffer<T> record(value<T> y, Rule rule) {
        return tape_.record<T>(std::move(y), std::move(rule));
    }
    /// Records several results of one operation; `rule` gets the gradients of all, zeros where
    /// nobody asked for one.
    template <class T, std::size_t Count, class Rule>
    std::array<buffer<T>, Count> record_joint(std::array<value<T>, Count> y, Rule rule) {
        return tape_.record_joint<T>(std::move(y), std::move(rule), [this](value<T> const& like) {
            return inner_->template tabulate<T>(detail::zero_law{}, like.size());
        });
    }
    /// The same for a rule that takes an empty buffer for a gradient that nobody asked for.
    template <class T, std::size_t Count, class Rule>
    std::array<buffer<T>, Count> record_partial(std::array<value<T>, Count> y, Rule rule) {
        return tape_.record_joint<T>(std::move(y), std::move(rule),
                                     [](value<T> const&) { return value<T>(); });
    }
    /// Adds to the gradient of a tracked buffer; ignored for others.
    template <class T>
    void accumulate(buffer<T> const& x, value<T> gradient) {
        tape_.accumulate<T>(
            x.node, std::move(gradient), [this](value<T> const& a, value<T> const& b) {
                index_t const n = a.size();
                return inner_->map(detail::sum_law{}, 1, n, operand<value<T>>{a, 0, 1},
                                   operand<value<T>>{b, 0, 1})[0];
            });
    }
    /// Runs the tape backwards from `y` with ∂L/∂y = `gradient`, and clears it.
    template <class T>
    void backward(buffer<T> const& y, value<T> gradient) {
        accumulate(y, std::move(gradient));
        tape_.run();
    }

    // The primitives: storage.
    template <class T>
    buffer<T> allocate(index_t size) {
        return {inner_->template allocate<T>(size)};
    }
    template <class T>
    buffer<T> upload(std::span<T const> source) {
        return {inner_->upload(source)};
    }
    template <class T>
    void download(buffer<T> const& x, std::span<T> target) {
        inner_->download(x.value, target);
    }
    void synchronize() { inner_->synchronize(); }
    template <class T>
    buffer<T> slice(buffer<T> const& x, index_t offset, index_t size) {
        auto y = inner_->slice(x.value, offset, size);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->strided_place(g, contiguous(offset, size), x.size()));
        });
    }

    // Laws.
    template <class Law, class T, class... More>
    auto map(Law law, index_t rows, index_t columns, operand<buffer<T>> const& first,
             More const&... more) {
        auto y = inner_->map(law, rows, columns, strip(first), strip(more)...);
        constexpr std::size_t outputs = y.size();
        std::array<buffer<T>, outputs> result;
        for (std::size_t k = 0; k < outputs; ++k) result[k] = {y[k]};
        if constexpr (std::is_floating_point_v<T>) {
            if (first.data.tracked() || (more.data.tracked() || ...))
                return record_joint<T>(
                    y, [=, this](std::array<value<T>, outputs> const& gradients) {
                        map_gradient(
                            law, rows, columns, gradients,
                            std::array<operand<buffer<T>>, 1 + sizeof...(More)>{first, more...},
                            std::make_index_sequence<outputs>(),
                            std::make_index_sequence<1 + sizeof...(More)>());
                    });
        }
        return result;
    }
    template <class T, class Law>
    buffer<T> tabulate(Law law, index_t size) {
        return {inner_->template tabulate<T>(law, size)};
    }
    template <class To, class From>
    buffer<To> cast(buffer<From> const& x) {
        auto y = inner_->template cast<To>(x.value);
        if (!x.tracked()) return {y};
        return record<To>(
            y, [=, this](value<To> const& g) { accumulate(x, inner_->template cast<From>(g)); });
    }

    // Sums. The maximum of a row passes its gradient to the elements that attain it.
    template <class T>
    buffer<T> reduce_columns(reduction how, buffer<T> const& x, index_t rows, index_t columns) {
        auto y = inner_->reduce_columns(how, x.value, rows, columns);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            operand<value<T>> const column{g, 1, 0};
            if (how == reduction::sum)
                return accumulate(x, inner_->map(detail::same_law{}, rows, columns, column)[0]);
            accumulate(x, inner_->map(detail::attains_law{}, rows, columns, column,
                                      full(x.value, columns), operand<value<T>>{y, 1, 0})[0]);
        });
    }
    template <class T>
    buffer<T> sum_segments(buffer<T> const& x, index_t columns, indices const& offsets) {
        auto y = inner_->sum_segments(x.value, columns, offsets.value);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->repeat_segments(g, columns, offsets.value, x.size() / columns));
        });
    }
    template <class T>
    buffer<T> repeat_segments(buffer<T> const& x, index_t columns, indices const& offsets,
                              index_t rows) {
        auto y = inner_->repeat_segments(x.value, columns, offsets.value, rows);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->sum_segments(g, columns, offsets.value));
        });
    }

    // Movement.
    template <class T>
    indices top_k(buffer<T> const& x, index_t rows, index_t columns, index_t k) {
        return {inner_->top_k(x.value, rows, columns, k)};
    }
    indices argsort(indices const& keys) { return {inner_->argsort(keys.value)}; }
    indices segment_offsets(indices const& keys, index_t segments) {
        return {inner_->segment_offsets(keys.value, segments)};
    }
    template <class T>
    buffer<T> gather(buffer<T> const& x, index_t columns, indices const& index) {
        auto y = inner_->gather(x.value, columns, index.value);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->scatter_add(g, columns, index.value, x.size() / columns));
        });
    }
    template <class T>
    buffer<T> scatter_add(buffer<T> const& x, index_t columns, indices const& index, index_t rows) {
        auto y = inner_->scatter_add(x.value, columns, index.value, rows);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->gather(g, columns, index.value));
        });
    }
    template <class T>
    void write_rows(buffer<T>& target, buffer<T> const& x, index_t columns, indices const& index) {
        require<value_error>(!target.tracked() && !x.tracked(), "write_rows",
                             "expected untracked buffers, got one under autodiff: a write in place "
                             "has no gradient");
        inner_->write_rows(target.value, x.value, columns, index.value);
    }
    template <class T>
    buffer<T> strided_read(buffer<T> const& x, strided_view const& view) {
        auto y = inner_->strided_read(x.value, view);
        if (!x.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            accumulate(x, inner_->strided_place(g, view, x.size()));
        });
    }
    template <class T>
    buffer<T> strided_place(buffer<T> const& x, strided_view const& view, index_t size) {
        auto y = inner_->strided_place(x.value, view, size);
        if (!x.tracked()) return {y};
        return record<T>(
            y, [=, this](value<T> const& g) { accumulate(x, inner_->strided_read(g, view)); });
    }
    // Products.
    template <class T>
    buffer<T> matmul(product_shape const& p, buffer<T> const& a, buffer<T> const& b) {
        auto c = inner_->matmul(p, a.value, b.value);
        if (!a.tracked() && !b.tracked()) return {c};
        return record<T>(c, [=, this](value<T> const& g) {
            if (a.tracked())
                accumulate(a, p.transpose_a ? inner_->matmul(p.gradient_a(), b.value, g)
                                            : inner_->matmul(p.gradient_a(), g, b.value));
            if (b.tracked())
                accumulate(b, p.transpose_b ? inner_->matmul(p.gradient_b(), g, a.value)
                                            : inner_->matmul(p.gradient_b(), a.value, g));
        });
    }
    template <class T>
    buffer<T> grouped_matmul(grouped_shape const& s, buffer<T> const& x, buffer<T> const& w,
                             indices const& offsets) {
        auto y = inner_->grouped_matmul(s, x.value, w.value, offsets.value);
        if (!x.tracked() && !w.tracked()) return {y};
        return record<T>(y, [=, this](value<T> const& g) {
            if (x.tracked()) {
                grouped_shape const back{s.rows, s.k, s.n, s.groups, !s.transpose_b};
                accumulate(x, inner_->grouped_matmul(back, g, w.value, offsets.value));
            }
            if (w.tracked()) accumulate(w, inner_->grouped_outer(s, x.value, g, offsets.value));
        });
    }
    template <class T>
    buffer<T> grouped_outer(grouped_shape const& s, buffer<T> const& x, buffer<T> const& y,
                            indices const& offsets) {
        require<value_error>(!x.tracked() && !y.tracked(), "grouped_outer",
                             "expected untracked buffers, got one under autodiff");
        return {inner_->grouped_outer(s, x.value, y.value, offsets.value)};
    }

private:
    template <class T>
    static operand<T> strip(operand<tracked_buffer<T>> const& o) {
        return {o.data.value, o.row_stride, o.column_stride};
    }
    template <class T>
    static operand<T> full(T const& x, index_t columns) {
        return {x, columns, 1};
    }
    static strided_view contiguous(index_t offset, index_t size) { return {offset, {size}, {1}}; }

    template <class Law, class T, std::size_t Outputs, std::size_t Inputs, std::size_t... K,
              std::size_t... I>
    void map_gradient(Law law, index_t rows, index_t columns,
                      std::array<value<T>, Outputs> const& gradients,
                      std::array<operand<buffer<T>>, Inputs> const& inputs,
                      std::index_sequence<K...>, std::index_sequence<I...>) {
        if constexpr (is_sum_law<Law>) {
            (unbroadcast(inputs[I], rows, columns, gradients[0]), ...);
        } else {
            using gradient = gradient_law<Law, static_cast<int>(Outputs), static_cast<int>(Inputs)>;
            auto dx = inner_->map(gradient{law}, rows, columns, full(gradients[K], columns)...,
                                  strip(inputs[I])...);
            (unbroadcast(inputs[I], rows, columns, dx[I]), ...);
        }
    }
    /// Sums a gradient [rows, columns] over the directions in which the operand was repeated.
    template <class T>
    void unbroadcast(operand<buffer<T>> const& o, index_t rows, index_t columns, value<T> g) {
        if (!o.data.tracked()) return;
        index_t const size = o.data.size();
        bool const rows_repeat = rows != 1 && o.row_stride == 0;
        bool const columns_repeat = columns != 1 && o.column_stride == 0;
        if (rows_repeat && columns_repeat) {
            g = inner_->reduce_columns(reduction::sum, g, 1, rows * columns);
        } else if (rows_repeat) {
            // Tabulated, not uploaded: a captured step may read no host memory.
            g = inner_->sum_segments(
                g, columns,
                inner_->template tabulate<std::int32_t>(detail::one_segment_law{rows}, 2));
        } else if (columns_repeat) {
            g = inner_->reduce_columns(reduction::sum, g, rows, columns);
        }
        require<shape_error>(g.size() == size, "map",
                             "expected an operand that is full, a row, a column or a number under "
                             "autodiff, got ",
                             size, " elements for ", rows, " × ", columns);
        accumulate(o.data, g);
    }

    B* inner_;
    grove::tape tape_;
};

/// Whether a backend is a tape over another one.
template <class B>
inline constexpr bool is_autodiff = false;
template <class B>
inline constexpr bool is_autodiff<autodiff<B>> = true;

}  // namespace grove::inline GROVE_ISA
