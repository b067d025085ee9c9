// SPDX-License-Identifier: Apache-2.0
/// @file
/// Copies between strided places, several in one launch. Numbers are moved as bytes: sixteen at
/// once where the innermost rows of both sides allow it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "grove/backend/cuda/divisor.hpp"
#include "grove/backend/cuda/system.hpp"

namespace grove::inline GROVE_ISA::detail {

/// A copy between two places of the same extents. Strides are bytes; the innermost axis is first.
struct strided_copy {
    char const* from;
    char* to;
    index_t word;       ///< bytes that are moved at once
    index_t words = 1;  ///< in all
    int rank = 0;
    index_t extents[shape::max_rank]{}, from_strides[shape::max_rank]{},
        to_strides[shape::max_rank]{};

    /// y[i] = x[place i of the view].
    template <class T>
    static strided_copy read(T const* x, strided_view const& view, T* y) {
        return between(x + view.offset, y, view, true);
    }
    /// y[place i of the view] = x[i].
    template <class T>
    static strided_copy place(T const* x, strided_view const& view, T* y) {
        return between(x, y + view.offset, view, false);
    }
    /// The same of numbers that both sides keep in one form.
    template <class T>
    static strided_copy read(input<T> const& x, strided_view const& view, output<T> const& y) {
        return x.half != nullptr ? read(x.half, view, y.half) : read(x.full, view, y.full);
    }
    template <class T>
    static strided_copy place(input<T> const& x, strided_view const& view, output<T> const& y) {
        return x.half != nullptr ? place(x.half, view, y.half) : place(x.full, view, y.full);
    }
    /// The halves of its longest axis.
    std::pair<strided_copy, strided_copy> halves() const {
        auto const axis = std::max_element(extents, extents + rank) - extents;
        index_t const middle = extents[axis] / 2, rest = extents[axis] - middle;
        strided_copy a = *this, b = *this;
        a.extents[axis] = middle;
        a.words = words / extents[axis] * middle;
        b.extents[axis] = rest;
        b.words = words - a.words;
        b.from += middle * from_strides[axis];
        b.to += middle * to_strides[axis];
        return {a, b};
    }

private:
    template <class T>
    static strided_copy between(T const* from, T* to, strided_view const& view, bool reads) {
        static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
        strided_copy y{reinterpret_cast<char const*>(from), reinterpret_cast<char*>(to), sizeof(T)};
        for (int axis = view.extents.rank() - 1; axis >= 0; --axis) {
            index_t const strided = view.strides[static_cast<std::size_t>(axis)] * y.word;
            index_t const dense = y.words * y.word;
            y.add_axis(view.extents[axis], reads ? strided : dense, reads ? dense : strided);
        }
        y.widen();
        return y;
    }
    /// Axes that go on where the one inside them ends are one axis.
    void add_axis(index_t extent, index_t from_stride, index_t to_stride) {
        words *= extent;
        if (extent == 1) return;
        int const inner = rank - 1;
        if (rank > 0 && from_stride == extents[inner] * from_strides[inner] &&
            to_stride == extents[inner] * to_strides[inner]) {
            extents[inner] *= extent;
            return;
        }
        extents[rank] = extent;
        from_strides[rank] = from_stride;
        to_strides[rank++] = to_stride;
    }
    /// The longest words of which both sides' rows are made.
    void widen() {
        if (rank == 0 || from_strides[0] != word || to_strides[0] != word) return;
        auto bits = static_cast<std::uintptr_t>(extents[0] * word) |
                    reinterpret_cast<std::uintptr_t>(from) | reinterpret_cast<std::uintptr_t>(to);
        for (int axis = 1; axis < rank; ++axis)
            bits |= static_cast<std::uintptr_t>(from_strides[axis] | to_strides[axis]);
        while (word < 16 && bits % static_cast<std::uintptr_t>(2 * word) == 0) {
            word *= 2;
            extents[0] /= 2;
            words /= 2;
        }
        from_strides[0] = to_strides[0] = word;
    }
};

/// The same for kernels, behind `start` words of others.
struct copied_part {
    char const* from;
    char* to;
    int rank;
    std::uint32_t start;
    quick_divisor extents[shape::max_rank];
    index_t from_strides[shape::max_rank], to_strides[shape::max_rank];
};

/// Moves the words of `count` copies, `Each` a thread.
template <class Word, int Most, int Each = 2>
struct word_copies {
    static constexpr int threads = 256;
    int count;
    std::uint32_t words;
    copied_part parts[Most];

    void add(strided_copy const& copy) {
        copied_part& p = parts[count++];
        p = {copy.from, copy.to, copy.rank, words, {}, {}, {}};
        for (int axis = 0; axis < copy.rank; ++axis) {
            p.extents[axis] = quick_divisor::by(copy.extents[axis]);
            p.from_strides[axis] = copy.from_strides[axis];
            p.to_strides[axis] = copy.to_strides[axis];
        }
        words += static_cast<std::uint32_t>(copy.words);
    }
    index_t blocks() const { return (index_t{words} + threads * Each - 1) / (threads * Each); }

    __device__ void operator()(index_t block) const {
        auto const first = static_cast<std::uint32_t>(block) * (threads * Each) + threadIdx.x;
        Word moved[Each];
        Word* to[Each];
#pragma unroll
        for (int k = 0; k < Each; ++k)  // all loads come before the first store
            if (first + k * threads < words) moved[k] = *locate(first + k * threads, to[k]);
#pragma unroll
        for (int k = 0; k < Each; ++k)
            if (first + k * threads < words) *to[k] = moved[k];
    }

private:
    /// Where word `at` comes from, and where it goes.
    __device__ Word const* locate(std::uint32_t at, Word*& to) const {
        int number = 0;
        while (number + 1 < count && at >= parts[number + 1].start) ++number;
        copied_part const& p = parts[Most == 1 ? 0 : number];
        std::uint32_t left = at - p.start;
        index_t from_place = 0, to_place = 0;
        int axis = 0;
        for (; axis + 1 < p.rank; ++axis) {
            std::uint32_t const outer = p.extents[axis].quotient(left);
            std::uint32_t const i = left - outer * p.extents[axis].divisor;
            from_place += i * p.from_strides[axis];
            to_place += i * p.to_strides[axis];
            left = outer;
        }
        to = reinterpret_cast<Word*>(p.to + to_place + left * p.to_strides[axis]);
        return reinterpret_cast<Word const*>(p.from + from_place + left * p.from_strides[axis]);
    }
};

/// Queues those of the copies that move such words.
template <class Word>
void queue_words(thrust_cuda const& system, std::span<strided_copy const> copies) {
    constexpr int most = 16;
    auto const moves = [](strided_copy const& copy) {
        return copy.words > 0 && copy.word == static_cast<index_t>(sizeof(Word));
    };
    if (std::ranges::none_of(copies, moves)) return;
    word_copies<Word, most> some{};
    auto const queue = [&] {
        if (some.count == 1) {
            word_copies<Word, 1> const one{1, some.words, {some.parts[0]}};
            system.each_block(one.blocks(), one);
        } else {
            system.each_block(some.blocks(), some);
        }
        some.count = 0, some.words = 0;
    };
    auto const add = [&](auto const& again, strided_copy const& copy) -> void {
        if (copy.words >= most_places) {
            auto const [a, b] = copy.halves();
            again(again, a), again(again, b);
            return;
        }
        if (some.count == most || some.words + copy.words >= most_places) queue();
        some.add(copy);
    };
    for (auto const& copy : copies)
        if (moves(copy)) add(add, copy);
    queue();
}
inline void queue_copies(thrust_cuda const& system, std::span<strided_copy const> copies) {
    queue_words<std::uint16_t>(system, copies);
    queue_words<std::uint32_t>(system, copies);
    queue_words<std::uint64_t>(system, copies);
    queue_words<uint4>(system, copies);
}
inline void queue_copy(thrust_cuda const& system, strided_copy const& copy) {
    queue_copies(system, std::span(&copy, 1));
}

}  // namespace grove::inline GROVE_ISA::detail
