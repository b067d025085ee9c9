// SPDX-License-Identifier: Apache-2.0
/// @file
/// Matrix products of tensors.
#pragma once

#include "grove/backend/concept.hpp"
#include "grove/core/tensor.hpp"

namespace grove::inline GROVE_ISA {

/// Whether an operand of `matmul` is stored transposed.
enum class transpose : bool { no, yes };

/// What results of `matmul` are for: activations, which a backend may keep rounded where it rounds
/// operands of products, or decisions (logits, scores, values), of which every bit counts.
enum class results : bool { activations, decisions };

/// op(A) · op(B): […, m, k] · [k, n] → […, m, n]. With B of rank 2, the leading axes of A are rows;
/// with both of rank 3, [batch, m, k] · [batch, k, n]. Throws shape_error where the extents do not
/// fit.
template <class B, class T>
tensor<B, T> matmul(tensor<B, T> const& a, tensor<B, T> const& b, transpose of_a = transpose::no,
                    transpose of_b = transpose::no, results use = results::activations) {
    bool const batched = b.extents().rank() == 3, ta = of_a == transpose::yes;
    bool const tb = of_b == transpose::yes;
    require<shape_error>(
        a.extents().rank() >= 2 && b.extents().rank() >= 2 &&
            (!batched || (a.extents().rank() == 3 && a.extents()[0] == b.extents()[0])),
        "matmul", "expected [m, k] · [k, n] or [batch, m, k] · [batch, k, n], got ", a.extents(),
        " · ", b.extents());
    index_t const batch = batched ? b.extents()[0] : 1;
    index_t const a_rows = batched ? a.extents()[1] : a.rows();
    index_t const b_rows = batched ? b.extents()[1] : b.rows();
    product_shape const p{ta ? a.columns() : a_rows,
                          tb ? b_rows : b.columns(),
                          ta ? a_rows : a.columns(),
                          ta,
                          tb,
                          batch,
                          use == results::decisions};
    require<shape_error>(p.k == (tb ? b.columns() : b_rows), "matmul",
                         "expected equal inner extents, got ", a.extents(), ta ? "ᵀ" : "", " · ",
                         b.extents(), tb ? "ᵀ" : "");
    shape const extents = batched ? shape{batch, p.m, p.n}
                          : ta    ? shape{p.m, p.n}
                                  : a.extents().with_columns(p.n);
    return {a.backend(), a.backend().matmul(p, a.buffer(), b.buffer()), extents};
}

/// Rows offsets[e] … offsets[e+1] of X [rows, k] times W[e], with W [groups, k, n] → [rows, n].
template <class B, class T>
tensor<B, T> grouped_matmul(tensor<B, T> const& x, tensor<B, T> const& w,
                            index_tensor<B> const& offsets) {
    require<shape_error>(w.extents().rank() == 3 && x.columns() == w.extents()[1] &&
                             offsets.size() == w.extents()[0] + 1,
                         "grouped_matmul",
                         "expected [rows, k] · [groups, k, n] with groups + 1 "
                         "offsets, got ",
                         x.extents(), " · ", w.extents(), " with ", offsets.size());
    grouped_shape const g{x.rows(), w.extents()[2], w.extents()[1], w.extents()[0]};
    return {x.backend(),
            x.backend().grouped_matmul(g, x.buffer(), w.buffer(), offsets.buffer()),
            {x.rows(), g.n}};
}

}  // namespace grove::inline GROVE_ISA
