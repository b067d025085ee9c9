// SPDX-License-Identifier: Apache-2.0
/// @file
/// The spike on the eigen backend: packs and threads, which need no CUDA compiler.
#include "grove/backend/eigen/eigen.hpp"
#include "spike_model.hpp"

static_assert(grove::backend<grove::eigen_backend> &&
              grove::backend<grove::autodiff<grove::eigen_backend>>);

namespace spike_host {

results primitives() {
    grove::eigen_backend backend;
    return spike::primitives(backend);
}
results policy_law() {
    grove::eigen_backend backend;
    return spike::policy_law(backend);
}
results gradients(int threads, bool recompute) {
    grove::eigen_backend backend(threads);
    return spike::gradients(backend, recompute);
}
results decode(int threads, bool cached) {
    grove::eigen_backend backend(threads);
    return spike::decode(backend, cached);
}
results decoder_acts(token_lists const& sequences) {
    grove::eigen_backend backend;
    return spike::decoder_acts(backend, sequences);
}
results decoder_learns(token_lists const& sequences) {
    grove::eigen_backend backend;
    return spike::decoder_learns(backend, sequences);
}

}  // namespace spike_host
