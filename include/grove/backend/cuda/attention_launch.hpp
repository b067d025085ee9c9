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
/// wider ones. Operands in bf16 take half of the registers and of the shared memory.
template <product_precision Precision>
struct tensor_plans {
    /// Where it is no slower, queries, and rows of a gradient's tile, stay in shared memory instead
    /// of registers: always in bf16.
    static constexpr bool halves = Precision == product_precision::bf16;
    static constexpr bool holds = !halves;
    template <int Depth, int Warps, int Share, bool Holds, int Across = 1>
    using plan = tensor_plan<Precision, Depth, Warps, Share, Holds, Across>;
    template <int Depth>
    using decoding = tensor_attention_forward<plan<Depth, 2, 1, false, 2>, true>;
    /// Whether a processor's shared memory has room for more than one panel or stage on its way.
    template <int Depth>
    static constexpr bool is_small = halves && Depth == 64;
    template <int Depth>
    using forward = tensor_attention_forward<plan<Depth, 4, 1, holds>, false, is_small<Depth>>;
    template <int Width, int Down, int Share, bool Shares = false>
    using wide = wide_attention_forward<wide_plan<Precision, Width, Down, Share>, Shares>;
    static constexpr int widest_share = halves ? 2 : 1;  ///< for 512 columns, in registers
    using wide_decoding = wide<512, 1, 1, true>;
    template <int Depth, bool OfKeys>
    using backward = tensor_attention_backward<plan<Depth, 4, 1, holds && Depth == 64>, 32, OfKeys,
                                               is_small<Depth> ? 3 : 2>;
};

/// Whether heads have more columns than the plans of ordinary ones hold.
inline bool heads_are_wide(attention_extents const& e) { return e.dim > 128 || e.width > 128; }

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
/// keys are walked sooner than the parts are folded, unless most of the device is idle; blocks
/// whose warps share rows walk many as well.
template <class Kernel>
index_t key_splits(attention_extents const& e, index_t blocks) {
    constexpr index_t few = 8, processors = 132;  // of a large device
    index_t const key_blocks = (e.key_rows + tile_columns - 1) / tile_columns;
    index_t busy = (key_blocks <= few * e.sequences ? 2 : 8) * processors;
    if constexpr (requires { Kernel::joint; })
        if (Kernel::joint) busy = processors;
    return blocks == 0 || key_blocks == 0 ? 1 : std::clamp<index_t>(busy / blocks, 1, key_blocks);
}
/// Slots of partial results: enough where no key belongs to two sequences.
inline index_t partial_slots(attention_extents const& e) {
    index_t const queries = (e.tokens + e.sequences - 1) / e.sequences;
    return queries * (e.key_rows / tile_columns + e.sequences);
}

/// Where a forward pass reads, and where it writes: out [tokens, heads · width] and log_normalizer
/// [tokens, heads].
template <class T>
struct attention_pass {
    T const *q, *k, *v;
    T* out;
    sum_type<T>* log_normalizer;
};

/// Whether rows are few: those of one step of decoding, or little more.
inline bool tokens_are_few(attention_extents const& e) { return e.tokens <= 2 * e.sequences; }

/// One forward pass by this kernel, with so much shared memory.
template <class Kernel, class T>
void launch_forward(thrust_cuda const& system, attention_extents const& e, sum_type<T> scale,
                    attention_pass<T> const& x, std::size_t bytes) {
    bool const decodes = tokens_are_few(e);
    Kernel kernel{};
    kernel.e = e;
    kernel.tiling = attention_tiling::of_queries(e, Kernel::rows, decodes);
    kernel.q = x.q, kernel.k = x.k, kernel.v = x.v;
    kernel.scale = scale;
    kernel.aligned = heads_are_aligned(e, {x.q, x.k, x.v});
    kernel.out = x.out, kernel.log_normalizer = x.log_normalizer;
    kernel.splits = 1;
    if (decodes) kernel.splits = key_splits<Kernel>(e, kernel.tiling.tiles * e.key_heads);
    if (kernel.splits == 1) return system.each_block(kernel.blocks(), kernel, bytes);
    index_t const slots = partial_slots(e), results = slots * e.heads;
    auto const memory = system.allocate<sum_type<T>>(results * (e.width + 2));
    kernel.partials = {slots, memory.data(), memory.data() + results, memory.data() + 2 * results};
    system.each_block(kernel.blocks(), kernel, bytes);
    system.each_block(e.tokens * e.heads,
                      attention_fold<T>{e, kernel.partials, x.out, x.log_normalizer});
}

/// A forward pass on tensor cores; false, and nothing done, where no plan holds the heads.
template <product_precision Precision, class T>
bool launch_tensor_attention(thrust_cuda const& system, attention_extents const& e, float scale,
                             attention_pass<T> const& x) {
    using plans = tensor_plans<Precision>;
    using smallest = typename plans::wide_decoding;
    bool const decodes = tokens_are_few(e);
    auto const launch = [&]<class Kernel>(std::size_t bytes) {
        launch_forward<Kernel>(system, e, scale, x, bytes);
    };
    // Heads that no plan holds in decoding must not find another one elsewhere.
    if (heads_are_wide(e) && !is_fitting<smallest>(e)) return false;
    if (heads_are_wide(e) && decodes)
        launch_fitting<smallest>(e, launch);
    else if (heads_are_wide(e))
        launch_fitting<typename plans::template wide<256, 2, 2>,
                       typename plans::template wide<512, 2, plans::widest_share>,
                       typename plans::template wide<512, 2, 1>, smallest>(e, launch);
    else if (decodes)
        launch_fitting<typename plans::template decoding<64>,
                       typename plans::template decoding<128>>(e, launch);
    else
        launch_fitting<typename plans::template forward<64>, typename plans::template forward<128>>(
            e, launch);
    return true;
}

/// Operands in bf16 are read from bf16 alone: `launch_rounded_attention`.
template <class T>
void require_full_operands(char const* operation, product_precision precision) {
    require<value_error>(!std::is_same_v<T, float> || precision != product_precision::bf16,
                         operation, "expected operands in bf16, got float");
}
/// Writes out [tokens, heads · width] and log_normalizer [tokens, heads]. In float32 or TF32.
template <class T>
void launch_attention(thrust_cuda const& system, product_precision precision,
                      attention_extents const& e, T scale, T const* q, T const* k, T const* v,
                      T* out, T* log_normalizer) {
    using plans = attention_plans<T>;
    require_full_operands<T>("attention", precision);
    attention_pass<T> const x{q, k, v, out, log_normalizer};
    if constexpr (std::is_same_v<T, float>)
        if (precision == product_precision::tf32 &&
            launch_tensor_attention<product_precision::tf32>(system, e, scale, x))
            return;
    auto const launch = [&]<class Kernel>(std::size_t bytes) {
        launch_forward<Kernel>(system, e, scale, x, bytes);
    };
    using wide = attention_forward<typename plans::small, 0>;
    if constexpr (!plans::has_ordinary)
        launch_fitting<wide>(e, launch);
    else if (!tokens_are_few(e))
        launch_fitting<attention_forward<typename plans::large, 1>,
                       attention_forward<typename plans::large, 2>, wide>(e, launch);
    else if (e.group <= 2)
        launch_fitting<attention_forward<typename plans::pair, 2>, wide>(e, launch);
    else
        launch_fitting<attention_forward<typename plans::group, 2>, wide>(e, launch);
}
/// The same in bf16, which is what T is: a program without attention compiles none of it. False,
/// and nothing done, where no plan holds the heads.
template <class T>
bool launch_rounded_attention(thrust_cuda const& system, attention_extents const& e, float scale,
                              T const* q, T const* k, T const* v, T* out, float* log_normalizer) {
    attention_pass<T> const x{q, k, v, out, log_normalizer};
    return launch_tensor_attention<product_precision::bf16>(system, e, scale, x);
}

/// Whether the query heads of a group go to blocks of their own: where there are too few others,
/// and memory for what each head gives.
inline bool heads_are_split(attention_extents const& e, index_t blocks) {
    constexpr index_t processors = 132;  // of a large device
    constexpr index_t most_numbers = index_t{1} << 26;
    return e.group > 1 && blocks < 4 * processors &&
           e.group * e.key_rows * (e.key_columns + e.value_columns) <= most_numbers;
}

/// dk and dv by this kernel on tensor cores, with so much shared memory.
template <class Kernel, class T>
void launch_gradient_of_keys(thrust_cuda const& system, attention_extents const& e, float scale,
                             attention_operands<T> const& x, bool aligned, std::size_t bytes) {
    Kernel kernel{e, attention_tiling::of_keys(e, Kernel::rows), x, scale, aligned};
    index_t const keys = e.key_rows * e.key_columns, values = e.key_rows * e.value_columns;
    bool const split = heads_are_split(e, kernel.blocks());
    bool const in_place = !split && (e.group == 1 || std::is_same_v<T, float>);
    auto const memory =
        system.allocate<float>(in_place ? 0 : (split ? e.group : 1) * (keys + values));
    if (split)
        kernel.partials = {memory.data(), memory.data() + e.group * keys, keys, values};
    else if constexpr (std::is_same_v<T, float>)
        kernel.partials = {x.dk, x.dv};
    else if (!in_place)
        kernel.partials = {memory.data(), memory.data() + keys};
    system.each_block(kernel.blocks(), kernel, bytes);
    if (!split) return;
    head_sums<T> const sums{e, kernel.tiling, kernel.partials, x.dk, x.dv, Kernel::rows};
    system.each_block(sums.blocks(), sums);
}
/// A backward pass on tensor cores; false, and nothing done, where heads are wide.
template <product_precision Precision, class T>
bool launch_tensor_attention_backward(thrust_cuda const& system, attention_extents const& e,
                                      float scale, attention_operands<T> const& x) {
    using plans = tensor_plans<Precision>;
    if (heads_are_wide(e)) return false;
    bool const aligned = heads_are_aligned(e, {x.g, x.q, x.k, x.v, x.out});
    launch_fitting<typename plans::template backward<64, false>,
                   typename plans::template backward<128, false>>(
        e, [&]<class Kernel>(std::size_t bytes) {
            Kernel const kernel{e, attention_tiling::of_queries(e, Kernel::rows, false), x, scale,
                                aligned};
            system.each_block(kernel.blocks(), kernel, bytes);
        });
    launch_fitting<typename plans::template backward<64, true>,
                   typename plans::template backward<128, true>>(
        e, [&]<class Kernel>(std::size_t bytes) {
            launch_gradient_of_keys<Kernel>(system, e, scale, x, aligned, bytes);
        });
    return true;
}

/// Writes dq, and dk and dv of the keys that there are. In float32 or TF32.
template <class T>
void launch_attention_backward(thrust_cuda const& system, product_precision precision,
                               attention_extents const& e, T scale,
                               attention_operands<T> const& x) {
    using plans = attention_plans<T>;
    require_full_operands<T>("attention_backward", precision);
    if constexpr (std::is_same_v<T, float>)
        if (precision == product_precision::tf32 &&
            launch_tensor_attention_backward<product_precision::tf32>(system, e, scale, x))
            return;
    bool const aligned = heads_are_aligned(e, {x.g, x.q, x.k, x.v});
    row_dots<T> const dots{{x.g, nullptr},
                           {x.out, nullptr},
                           e.tokens * e.heads,
                           e.width,
                           rows_are_aligned(e.width, {x.g, x.out}),
                           x.mean};
    system.each_block(dots.blocks(), dots);
    auto const by_queries = [&]<class Kernel>(std::size_t bytes) {
        Kernel const kernel{e, attention_tiling::of_queries(e, Kernel::rows, false), x, scale,
                            aligned};
        system.each_block(kernel.blocks(), kernel, bytes);
    };
    auto const by_keys = [&]<class Kernel>(std::size_t bytes) {
        Kernel const kernel{e, attention_tiling::of_keys(e, Kernel::rows), x, scale, aligned};
        system.each_block(kernel.blocks(), kernel, bytes);
    };
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
/// The same in bf16; false, and nothing done, where heads are wide: more than 128 columns.
template <class T>
bool launch_rounded_attention_backward(thrust_cuda const& system, attention_extents const& e,
                                       float scale, attention_operands<T> const& x) {
    return launch_tensor_attention_backward<product_precision::bf16>(system, e, scale, x);
}

}  // namespace grove::inline GROVE_ISA::detail
