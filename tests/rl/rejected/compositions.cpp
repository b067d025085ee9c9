// SPDX-License-Identifier: Apache-2.0
// Compositions that make no sense. Each must be refused with the sentence in the comment above it,
// which check.cmake looks for among the compiler's messages.
#include "grove/rl/correction.hpp"
#include "grove/rl/describe.hpp"
#include "grove/rl/kl_reward.hpp"
#include "grove/rl/preset.hpp"

namespace rl = grove::rl;
template <class... Slots>
constexpr auto size = sizeof(rl::objective<Slots...>);
using grpo = rl::group_normalized;

// expect: a ratio per response takes one advantage per response
auto const a = size<rl::gae, rl::sequence_ratio, rl::clipped, rl::no_kl, rl::token_mean>;
// expect: variational_score takes a ratio per response
auto const b = size<grpo, rl::token_ratio, rl::variational_score, rl::no_kl, rl::token_mean>;
// expect: the trust regions and the covariance surrogates one per token
auto const c = size<grpo, rl::geometric_ratio, rl::binary_kl_trust, rl::no_kl, rl::token_mean>;
// expect: this ratio is clipped already, token by token: give it unclipped as surrogate
auto const d = size<grpo, rl::geometric_clipped_ratio, rl::clipped, rl::no_kl, rl::token_mean>;
// expect: the first slot of an objective is an advantage estimator
auto const e = size<rl::clipped, rl::token_ratio, rl::clipped, rl::no_kl, rl::token_mean>;
// expect: the second slot of an objective is a ratio, such as token_ratio
auto const f = size<grpo, rl::clipped, rl::clipped, rl::no_kl, rl::token_mean>;
// expect: the third slot of an objective is a surrogate, such as clipped
auto const g = size<grpo, rl::token_ratio, rl::sequence_mean, rl::no_kl, rl::token_mean>;
// expect: the fourth slot of an objective is a divergence, such as k3 or no_kl
auto const h = size<grpo, rl::token_ratio, rl::clipped, rl::unclipped, rl::token_mean>;
// expect: the fifth slot of an objective is an aggregation, such as token_mean
auto const i = size<grpo, rl::token_ratio, rl::clipped, rl::no_kl, rl::k3>;
// expect: importance_corrected takes a divergence per token
auto const j = sizeof(rl::importance_corrected<rl::sequence_kl<rl::k3>>);
// expect: score_corrected takes a divergence per token
auto const k = sizeof(rl::score_corrected<rl::sequence_kl<rl::k3>>);
// expect: kl_reward takes a divergence per token, such as k1
auto const l = sizeof(rl::kl_reward<rl::sequence_kl<rl::k1>>);
// expect: sequence_kl takes a divergence of two log-probabilities, such as k3
auto const m = sizeof(rl::sequence_kl<rl::importance_corrected<rl::k3>>);
// expect: a correction is over a ratio of its own unit: token_ratio, sequence_ratio or
auto const n = sizeof(rl::importance_correction<rl::geometric_token_ratio, rl::truncated>);
