// SPDX-License-Identifier: Apache-2.0
/// @file
/// Run-time extents of a tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "grove/core/error.hpp"

namespace grove::inline GROVE_ISA {

/// Number of elements, rows, tokens: signed, so that differences are safe.
using index_t = std::int64_t;

/// Up to six extents, outermost first; tensors are contiguous and row-major.
class shape {
public:
    static constexpr int max_rank = 6;

    shape() = default;
    shape(std::initializer_list<index_t> extents)
        : shape(std::span<index_t const>(extents.begin(), extents.size())) {}
    explicit shape(std::span<index_t const> extents) {
        require<shape_error>(extents.size() <= max_rank, "shape", "expected at most ", max_rank,
                             " extents, got ", extents.size());
        for (index_t e : extents) {
            require<shape_error>(e >= 0, "shape", "expected extents ≥ 0, got ", e);
            extents_[static_cast<std::size_t>(rank_++)] = e;
        }
    }

    int rank() const { return rank_; }
    /// Extent of an axis; negative axes count from the end.
    index_t operator[](int axis) const {
        int const a = axis < 0 ? axis + rank_ : axis;
        require<shape_error>(a >= 0 && a < rank_, "shape", "expected an axis of a rank-", rank_,
                             " shape, got ", axis);
        return extents_[static_cast<std::size_t>(a)];
    }
    /// Number of elements; 1 for rank 0.
    index_t size() const {
        index_t n = 1;
        for (int i = 0; i < rank_; ++i) n *= extents_[static_cast<std::size_t>(i)];
        return n;
    }
    /// Extent of the last axis; 1 for rank 0.
    index_t columns() const { return rank_ == 0 ? 1 : (*this)[-1]; }
    /// Product of all extents but the last.
    index_t rows() const {
        index_t n = 1;
        for (int i = 0; i + 1 < rank_; ++i) n *= extents_[static_cast<std::size_t>(i)];
        return n;
    }
    /// This shape with another last extent.
    shape with_columns(index_t columns) const {
        require<shape_error>(rank_ > 0, "shape", "expected rank ≥ 1, got 0");
        shape s = *this;
        s.extents_[static_cast<std::size_t>(rank_ - 1)] = columns;
        return s;
    }
    /// This shape without its last axis.
    shape without_columns() const {
        require<shape_error>(rank_ > 0, "shape", "expected rank ≥ 1, got 0");
        shape s = *this;
        s.extents_[static_cast<std::size_t>(--s.rank_)] = 0;
        return s;
    }

    friend bool operator==(shape const&, shape const&) = default;
    friend std::ostream& operator<<(std::ostream& out, shape const& s) {
        out << '[';
        for (int i = 0; i < s.rank_; ++i) out << (i ? ", " : "") << s[i];
        return out << ']';
    }

private:
    std::array<index_t, max_rank> extents_{};
    int rank_ = 0;
};

}  // namespace grove::inline GROVE_ISA
