// SPDX-License-Identifier: Apache-2.0
#include "decoder_outcome.hpp"
#include "grove/backend/reference/reference.hpp"

namespace decoder_outcome {

outcome of_reference(kind which) {
    grove::reference_backend backend;
    return model<grove::reference_backend>(backend, which).all(sequences(9));
}

}  // namespace decoder_outcome
