// SPDX-License-Identifier: Apache-2.0
/// @file
/// Proves on a GPU what the design hangs on (docs/adr/0001-one-engine.md). One line a check;
/// without a GPU the host's checks alone. Exits with 1 where a check failed.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "grove/backend/reference/reference.hpp"
#include "spike_backend.cuh"
#include "spike_model.hpp"

static_assert(grove::backend<spike::cuda_backend> && grove::backend<spike::cuda_backend, double> &&
              grove::backend<grove::autodiff<spike::cuda_backend>>);

namespace {

using grove::index_t;
using spike::cuda_backend, spike::numbers, spike::results;

struct report {
    int passed = 0, failed = 0;

    void expect(bool holds, char const* claim) {
        ++(holds ? passed : failed);
        std::printf("%s  %s\n", holds ? "pass" : "FAIL", claim);
    }
    /// Largest |a − b| / (1 + |b|); a difference in extents or a NaN fails.
    void expect_close(results const& a, results const& b, double tolerance, char const* claim) {
        double worst = a.size() == b.size() ? 0 : INFINITY;
        for (std::size_t k = 0; k < std::min(a.size(), b.size()); ++k) {
            if (a[k].size() != b[k].size()) worst = INFINITY;
            for (std::size_t i = 0; i < std::min(a[k].size(), b[k].size()); ++i) {
                double const error = std::abs(double{a[k][i]} - b[k][i]) / (1 + std::abs(b[k][i]));
                if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
            }
        }
        expect(worst <= tolerance, claim);
        std::printf("      worst relative difference %.2g, tolerance %.2g\n", worst, tolerance);
    }
    void expect_equal(results const& a, results const& b, char const* claim) {
        bool equal = a.size() == b.size();
        for (std::size_t k = 0; equal && k < a.size(); ++k)
            equal = a[k].size() == b[k].size() &&
                    std::memcmp(a[k].data(), b[k].data(), a[k].size() * sizeof(float)) == 0;
        expect(equal, claim);
    }
};

spike::token_lists const sequences{{1, 5, 9, 2, 7, 28}, {3, 8, 4}, {12}};

/// The sequences one by one, joined.
template <class Act>
results one_by_one(Act act) {
    results y;
    for (auto const& sequence : sequences) y.push_back(act(spike::token_lists{sequence})[0]);
    return y;
}

void check_host(report& r) {
    grove::reference_backend oracle;
    r.expect_close(spike_host::primitives(), spike::primitives(oracle), 1e-5,
                   "each primitive: eigen = reference");
    r.expect_close(spike_host::policy_law(), spike::policy_law(oracle), 1e-6,
                   "clipped surrogate + k3 and its derivatives: packs = scalars");
    auto const expected = spike::gradients(oracle, false);
    r.expect_close(spike_host::gradients(2, false), expected, 1e-4, "gradients: eigen = reference");
    r.expect_equal(spike::gradients(oracle, true), expected,
                   "checkpoint leaves the gradients' bits: reference");
    r.expect_equal(spike_host::gradients(2, true), spike_host::gradients(2, false),
                   "checkpoint leaves the gradients' bits: eigen");
    r.expect_equal(one_by_one([](auto const& s) { return spike_host::decoder_acts(s); }),
                   spike_host::decoder_acts(sequences),
                   "a sequence alone has its bits in a packed batch: eigen");
    for (int threads : {1, 2})
        r.expect_equal(spike_host::decode(threads, true), spike_host::decode(1, false),
                       threads == 1
                           ? "cached decoding has the bits of the full pass: eigen, 1 thread"
                           : "cached decoding has the bits of the full pass: eigen, 2 threads");
}

/// The library's own decoder, which knows of no GPU.
void check_decoder(report& r, cuda_backend& b) {
    auto const acted = spike::decoder_acts(b, sequences);
    auto learned = spike::decoder_learns(b, sequences);
    r.expect_close(learned, spike_host::decoder_learns(sequences), 1e-4,
                   "decoder with experts, log-probabilities and every gradient: cuda = eigen");
    learned.resize(acted.size());
    r.expect_equal(acted, learned, "acting has the bits of learning: cuda");
    r.expect_equal(one_by_one([&](auto const& s) { return spike::decoder_acts(b, s); }), acted,
                   "a sequence alone has its bits in a packed batch: cuda");
}

void check_backend(report& r, cuda_backend& b) {
    grove::reference_backend oracle;
    r.expect_close(spike::primitives(b), spike::primitives(oracle), 1e-5,
                   "each primitive: cuda = reference");
    bool thrown = false;
    try {
        auto const x = spike::upload_normals(b, 8, 1);
        spike::download_buffer(b, b.gather(x, 2, spike::upload_indices(b, {3, 4})));
    } catch (grove::value_error const& e) {
        thrown = std::strcmp(e.what(), "[gather] expected indices in [0, 4), got 4") == 0;
    }
    r.expect(thrown, "an index outside its range throws a value_error at the next download");
    spike::download_buffer(b, spike::upload_normals(b, 8, 1));  // and only then
}

void check_learning(report& r, cuda_backend& b) {
    r.expect_close(spike::policy_law(b), spike_host::policy_law(), 1e-6,
                   "clipped surrogate + k3 and its derivatives: kernel = packs");
    auto const got = spike::gradients(b, false);
    grove::reference_backend oracle;
    r.expect_close(got, spike::gradients(oracle, false), 1e-4, "gradients: cuda = reference");
    r.expect_close(got, spike_host::gradients(2, false), 1e-4, "gradients: cuda = eigen");
    r.expect_equal(spike::gradients(b, false), got, "gradients repeat bit for bit: cuda");
    r.expect_equal(spike::gradients(b, true), got, "checkpoint leaves the gradients' bits: cuda");
}

/// How many of the row counts give other bits in a small product than in the product of 1024 rows.
template <class T>
int variant_row_counts(cuda_backend& b, index_t n, index_t k, bool transposed) {
    index_t const all = 1024, first = 512;
    auto const x = b.template cast<T>(spike::upload_normals(b, all * k, 31));
    auto const w = b.template cast<T>(spike::upload_normals(b, k * n, 32));
    auto const expected = spike::download_buffer(b, b.matmul({all, n, k, false, transposed}, x, w));
    int variant = 0;
    for (index_t m : {1, 4, 16, 64, 256}) {
        auto const part = b.slice(x, first * k, m * k);
        auto const got = spike::download_buffer(b, b.matmul({m, n, k, false, transposed}, part, w));
        variant += std::memcmp(got.data(), expected.data() + first * n, got.size() * 4) != 0;
    }
    return variant;
}
template <class T>
int variant_row_counts(cuda_backend& b, std::vector<std::array<index_t, 2>> const& extents) {
    int variant = 0;
    for (auto const [n, k] : extents)
        for (bool transposed : {false, true}) {
            int const count = variant_row_counts<T>(b, n, k, transposed);
            if (count > 0)
                std::printf("      %d of 5 row counts differ at n = %d, k = %d%s\n", count, int(n),
                            int(k), transposed ? ", transposed" : "");
            variant += count;
        }
    return variant;
}

void check_products(report& r, cuda_backend& b) {
    index_t const m = 64, n = 96, k = 320;
    grove::reference_backend oracle;
    auto const x = b.cast<__nv_bfloat16>(spike::upload_normals(b, m * k, 33));
    auto const w = b.cast<__nv_bfloat16>(spike::upload_normals(b, k * n, 34));
    auto rounded = [&](auto const& buffer) {
        return oracle.upload(std::span<float const>(spike::download_buffer(b, buffer)));
    };
    r.expect_close(
        {spike::download_buffer(b, b.matmul({m, n, k}, x, w))},
        {spike::download_buffer(oracle, oracle.matmul({m, n, k}, rounded(x), rounded(w)))}, 1e-5,
        "bfloat16 × bfloat16 → float = product of the rounded operands in float");
    auto const left = spike::upload_normals(b, m * k, 33),
               right = spike::upload_normals(b, k * n, 34);
    auto const one_group = spike::upload_indices(b, {0, static_cast<std::int32_t>(m)});
    r.expect_equal(
        {spike::download_buffer(b, b.matmul({m, n, k}, left, right))},
        {spike::download_buffer(b, b.grouped_matmul({m, n, k, 1}, left, right, one_group))},
        "float products have the bits of fused multiply-adds in the order of k");
    std::vector<std::array<index_t, 2>> extents{{1024, 512}, {896, 4864},  {4864, 896},
                                                {256, 256},  {32000, 512}, {37, 20}};
    r.expect(variant_row_counts<__nv_bfloat16>(b, extents) == 0,
             "bfloat16 products: 1, 4, 16, 64, 256 rows have the bits of 1024 rows");
    extents.push_back({1, 512});  // cuBLASLt has none on tiles for one column of bfloat16
    r.expect(variant_row_counts<float>(b, extents) == 0,
             "float products: 1, 4, 16, 64, 256 rows have the bits of 1024 rows");
}

void check_decoding(report& r, cuda_backend& b) {
    auto const full = spike::decode(b, false);
    r.expect_close(full, spike_host::decode(2, false), 1e-5, "attention: cuda = eigen");
    r.expect_equal(spike::decode(b, true), full,
                   "cached decoding has the bits of the full pass: cuda");
}

/// Microseconds that one of 100 calls of `work` takes on the stream: the median of five
/// repetitions.
template <class Work>
double microseconds(cuda_backend& b, Work work) {
    constexpr int repetitions = 5, calls = 100;
    cudaEvent_t begin = nullptr, end = nullptr;
    spike::check(cudaEventCreate(&begin), "event");
    spike::check(cudaEventCreate(&end), "event");
    std::array<float, repetitions> milliseconds{};
    for (float& time : milliseconds) {
        spike::check(cudaEventRecord(begin, b.stream()), "event");
        for (int i = 0; i < calls; ++i) work();
        spike::check(cudaEventRecord(end, b.stream()), "event");
        spike::check(cudaEventSynchronize(end), "event");
        spike::check(cudaEventElapsedTime(&time, begin, end), "event");
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::sort(milliseconds.begin(), milliseconds.end());
    return 1000.0 * milliseconds[repetitions / 2] / calls;
}

void check_capture(report& r, cuda_backend& b, spike::network_extents extents) {
    constexpr int steps = 100;
    constexpr float rate = 0.1F;
    auto state = [&](spike::network<cuda_backend> const& net) -> results {
        return {download(b, net.weight.value), download(b, net.bias.value),
                download(b, net.output.value), download(b, net.last_loss)};
    };
    spike::network<cuda_backend> eager(b, extents), captured(b, extents);
    auto const before = state(captured);
    eager.step(b, rate);  // loads the kernels and chooses the products' algorithms
    float const first_loss = state(eager)[3][0];
    auto const graph = b.capture([&] { captured.step(b, rate); });
    r.expect(state(captured) == before, "capturing a step runs nothing");
    for (int i = 1; i < steps; ++i) eager.step(b, rate);
    for (int i = 0; i < steps; ++i) graph->replay();
    auto const after = state(captured);
    r.expect_equal(after, state(eager),
                   "100 replays of a captured step = 100 eager steps, in bits");
    r.expect(after != before && after[3][0] < first_loss, "and they learn: the loss falls");
    std::printf(
        "      %d rows, %d → %d → %d: loss %.4f → %.4f; a step of %d nodes takes %.1f µs eager, "
        "%.1f µs replayed\n",
        int(extents.rows), int(extents.inputs), int(extents.hidden), int(extents.classes),
        first_loss, after[3][0], int(graph->nodes()), microseconds(b, [&] { eager.step(b, rate); }),
        microseconds(b, [&] { graph->replay(); }));
}

void check_capture_refuses_upload(report& r, cuda_backend& b) {
    bool thrown = false;
    try {
        b.capture([&] { spike::upload_normals(b, 8, 1); });
    } catch (grove::configuration_error const&) {
        thrown = true;
    }
    r.expect(thrown, "an upload within a capture throws, and the stream goes on");
}

void check_captures(report& r, cuda_backend& b) {
    check_capture_refuses_upload(r, b);
    check_capture(r, b, {64, 32, 64, 16});
    check_capture(r, b, {1024, 256, 512, 64});
}

void check_device(report& r) {
    cuda_backend b;
    for (auto check : {check_backend, check_learning, check_products, check_decoding, check_decoder,
                       check_captures})
        try {
            check(r, b);
        } catch (std::exception const& e) {
            r.expect(false, e.what());
        }
}

}  // namespace

int main() {
    report r;
    check_host(r);
    int devices = 0;
    if (cudaError_t const status = cudaGetDeviceCount(&devices); status != cudaSuccess) {
        std::printf("skipped: the checks on a GPU, for there is none (%s)\n",
                    cudaGetErrorString(status));
    } else {
        check_device(r);
    }
    std::printf("%d passed, %d failed\n", r.passed, r.failed);
    return r.failed == 0 ? 0 : 1;
}
