// SPDX-License-Identifier: Apache-2.0
/// @file
/// Which plan an attention takes: by its extents and by how many rows there are to share out. A
/// choice here changes no bit of a forward pass.
#pragma once

#include <algorithm>
#include <type_traits>

#include "grove/backend/cuda/attention.hpp"
#include "grove/backend/cuda/attention_gradient.hpp"
#include "grove/backend/cuda/system.hpp"
#include "grove/backend/cuda/tensor_attention.hpp"
#include "grove/backend/cuda/tensor_attention_gradient.hpp"
#include "grove/backend/cuda/tensor_attention_wide.hpp"

namespace grove::inline GROVE_ISA::detail {

/// For ordinary heads, of one panel or two, the sums stay in registers. In double, which nobody
/// trains in, all heads go the way of wide ones.
template <class T>
struct attention_plans {
    static constexpr bool has_ordinary = sizeof(T) == 4;
    using large = tile_plan<T, 4, 8, 128>;    ///< 64 rows
    using small = tile_plan<T, 2, 16, 128>;   ///< 16: wide heads
    using narrow = tile_plan<T, 1, 16, 128>;  ///< 8: their gradients in double
    using group = tile_plan<T, 2, 16, 64>;    ///< 8: the queries of a group, in decoding
    using pair = tile_plan<T, 1, 16, 32>;     ///< 2
};

/// The same on tensor cores: for heads of up to 64 and up to 128 columns, and the forward pass of
/// wider ones.
template <product_precision Precision>
struct tensor_plans {
    template <int Depth, int Warps, int Share, bool Holds>
    using plan = tensor_plan<Precision, Depth, Warps, Share, Holds>;
    // Where it is no slower, queries stay in shared memory instead of registers.
    static constexpr bool holds = Precision == product_precision::tf32;
    template <int Depth>
    using decoding = tensor_attention_forward<plan<Depth, 1, 1, Depth == 128>, true>;
    template <int Depth>
    using forward = tensor_attention_forward<plan<Depth, 4, 1, holds || Depth == 128>, false>;
    template <int Width, int Down, int Share, bool Shares = false>
    using wide = wide_attention_forward<wide_plan<Precision, Width, Down, Share>, Shares>;
    static constexpr int widest_share = holds ? 1 : 2;  ///< for 512 columns, in registers
    using wide_decoding = wide<512, 1, 1, true>;
    template <int Depth, bool OfKeys>
    using backward = tensor_attention_backward<plan<Depth, 4, 1, Depth == 64>, 32, OfKeys>;
};

/// Whether heads have more columns than the plans of ordinary ones hold.
inline bool heads_are_wide(attention_extents const& e) { return e.dim > 128 || e.width > 128; }

/// body<plans>(), whether it launched anything, where products run on tensor cores; else false.
template <class T, class Body>
bool on_tensor_cores(product_precision precision, Body const& body) {
    if constexpr (std::is_same_v<T, float>) {
        if (precision == product_precision::tf32)
            return body.template operator()<tensor_plans<product_precision::tf32>>();
        if (precision == product_precision::bf16)
            return body.template operator()<tensor_plans<product_precision::bf16>>();
    }
    return false;
}

inline constexpr std::size_t most_shared_bytes = 227 << 10;
template <class Kernel>
bool is_fitting(attention_extents const& e) {
    return Kernel::fits(e) && Kernel::shared_bytes(e) <= most_shared_bytes;
}
/// The first kernel that holds these heads, in registers and in shared memory.
template <class First, class... Rest, class Launch>
void launch_fitting(attention_extents const& e, Launch const& launch) {
    std::size_t const bytes = First::shared_bytes(e);
    if (is_fitting<First>(e)) {
        launch.template operator()<First>(bytes);
    } else if constexpr (sizeof...(Rest) > 0) {
        launch_fitting<Rest...>(e, launch);
    } else {
        fail<value_error>("attention", "expected heads that fit into ", most_shared_bytes,
                          " bytes of shared memory, got ", e.dim, " columns of queries and ",
                          e.width, " of values, which take ", bytes);
    }
}

/// Whether all rows can be copied 16 bytes at a time.
template <class T>
bool heads_are_aligned(attention_extents const& e, std::initializer_list<T const*> addresses) {
    return e.dim * sizeof(T) % 16 == 0 && e.width * sizeof(T) % 16 == 0 &&
           e.value_step * sizeof(T) % 16 == 0 && rows_are_aligned(0, addresses);
}

/// Where few rows have many keys: into how many parts each row's key blocks go. A few blocks of
/// keys are walked sooner than the parts are folded, unless most of the device is idle.
inline index_t key_splits(attention_extents const& e, index_t blocks) {
    constexpr index_t few = 8, processors = 132;  // of a large device
    index_t const key_blocks = (e.key_rows + tile_columns - 1) / tile_columns;
    index_t const busy = (key_blocks <= few * e.sequences ? 2 : 8) * processors;
    return blocks == 0 || key_blocks == 0 ? 1 : std::clamp<index_t>(busy / blocks, 1, key_blocks);
}
/// Slots of partial results: enough where no key belongs to two sequences.
inline index_t partial_slots(attention_extents const& e) {
    index_t const queries = (e.tokens + e.sequences - 1) / e.sequences;
    return queries * (e.key_rows / tile_columns + e.sequences);
}

/// Writes out [tokens, heads · width] and log_normalizer [tokens, heads].
template <class T>
void launch_attention(thrust_cuda const& system, product_precision precision,
                      attention_extents const& e, T scale, T const* q, T const* k, T const* v,
                      T* out, T* log_normalizer) {
    using plans = attention_plans<T>;
    bool const decodes = e.tokens <= 2 * e.sequences;
    auto const launch = [&]<class Kernel>(std::size_t bytes) {
        Kernel kernel{e,
                      attention_tiling::of_queries(e, Kernel::rows, decodes),
                      q,
                      k,
                      v,
                      scale,
                      heads_are_aligned(e, {q, k, v}),
                      1,
                      {},
                      out,
                      log_normalizer};
        if (decodes) kernel.splits = key_splits(e, kernel.blocks());
        if (kernel.splits == 1) return system.each_block(kernel.blocks(), kernel, bytes);
        index_t const slots = partial_slots(e), results = slots * e.heads;
        auto const memory = system.allocate<T>(results * (e.width + 2));
        kernel.partials = {slots, memory.data(), memory.data() + results,
                           memory.data() + 2 * results};
        system.each_block(kernel.blocks(), kernel, bytes);
        system.each_block(e.tokens * e.heads,
                          attention_fold<T>{e, kernel.partials, out, log_normalizer});
    };
    auto const on_tensors = [&]<class Tensors>() {
        // Heads that no plan holds in decoding must not find another one elsewhere.
        using smallest = typename Tensors::wide_decoding;
        if (heads_are_wide(e) && !is_fitting<smallest>(e)) return false;
        if (heads_are_wide(e) && decodes)
            launch_fitting<smallest>(e, launch);
        else if (heads_are_wide(e))
            launch_fitting<typename Tensors::template wide<256, 2, 2>,
                           typename Tensors::template wide<512, 2, Tensors::widest_share>,
                           typename Tensors::template wide<512, 2, 1>, smallest>(e, launch);
        else if (decodes)
            launch_fitting<typename Tensors::template decoding<64>,
                           typename Tensors::template decoding<128>>(e, launch);
        else
            launch_fitting<typename Tensors::template forward<64>,
                           typename Tensors::template forward<128>>(e, launch);
        return true;
    };
    if (on_tensor_cores<T>(precision, on_tensors)) return;
    using wide = attention_forward<typename plans::small, 0>;
    if constexpr (!plans::has_ordinary)
        launch_fitting<wide>(e, launch);
    else if (!decodes)
        launch_fitting<attention_forward<typename plans::large, 1>,
                       attention_forward<typename plans::large, 2>, wide>(e, launch);
    else if (e.group <= 2)
        launch_fitting<attention_forward<typename plans::pair, 2>, wide>(e, launch);
    else
        launch_fitting<attention_forward<typename plans::group, 2>, wide>(e, launch);
}

/// Whether the query heads of a group go to blocks of their own: where there are too few others,
/// and memory for what each head gives.
inline bool heads_are_split(attention_extents const& e, index_t blocks) {
    constexpr index_t processors = 132;  // of a large device
    constexpr index_t most_numbers = index_t{1} << 26;
    return e.group > 1 && blocks < 4 * processors &&
           e.group * e.key_rows * (e.key_columns + e.value_columns) <= most_numbers;
}

/// Writes dq, and dk and dv of the keys that there are.
template <class T>
void launch_attention_backward(thrust_cuda const& system, product_precision precision,
                               attention_extents const& e, T scale,
                               attention_operands<T> const& x) {
    using plans = attention_plans<T>;
    bool const aligned = heads_are_aligned(e, {x.g, x.q, x.k, x.v});
    auto const by_queries = [&]<class Kernel>(std::size_t bytes) {
        Kernel const kernel{e, attention_tiling::of_queries(e, Kernel::rows, false), x, scale,
                            aligned};
        system.each_block(kernel.blocks(), kernel, bytes);
    };
    auto const by_keys = [&]<class Kernel>(std::size_t bytes) {
        Kernel const kernel{e, attention_tiling::of_keys(e, Kernel::rows), x, scale, aligned};
        system.each_block(kernel.blocks(), kernel, bytes);
    };
    auto const by_heads = [&]<class Kernel>(std::size_t bytes) {
        Kernel kernel{e, attention_tiling::of_keys(e, Kernel::rows), x, scale, aligned};
        if (!heads_are_split(e, kernel.blocks()))
            return system.each_block(kernel.blocks(), kernel, bytes);
        index_t const keys = e.key_rows * e.key_columns, values = e.key_rows * e.value_columns;
        auto const memory = system.allocate<T>(e.group * (keys + values));
        kernel.partials = {memory.data(), memory.data() + e.group * keys, keys, values};
        system.each_block(kernel.blocks(), kernel, bytes);
        head_sums const sums{e, kernel.tiling, kernel.partials, x.dk, x.dv};
        system.each_block(sums.blocks(), sums);
    };
    auto const on_tensors = [&]<class Tensors>() {
        launch_fitting<typename Tensors::template backward<64, false>,
                       typename Tensors::template backward<128, false>>(e, by_queries);
        launch_fitting<typename Tensors::template backward<64, true>,
                       typename Tensors::template backward<128, true>>(e, by_heads);
        return true;
    };
    if (!heads_are_wide(e) && on_tensor_cores<T>(precision, on_tensors)) return;
    if constexpr (plans::has_ordinary) {
        launch_fitting<attention_backward<typename plans::large, 1, false>,
                       attention_backward<typename plans::large, 2, false>,
                       attention_backward<typename plans::small, 0, false>>(e, by_queries);
        launch_fitting<attention_backward<typename plans::large, 1, true>,
                       attention_backward<typename plans::large, 2, true>,
                       attention_backward<typename plans::small, 0, true>>(e, by_keys);
    } else {
        launch_fitting<attention_backward<typename plans::narrow, 0, false>>(e, by_queries);
        launch_fitting<attention_backward<typename plans::narrow, 0, true>>(e, by_keys);
    }
}

}  // namespace grove::inline GROVE_ISA::detail
