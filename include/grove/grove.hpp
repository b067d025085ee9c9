// SPDX-License-Identifier: Apache-2.0
/// @file
/// All of grove that needs Eigen and oneTBB alone, layer by layer. The rest by its own headers:
/// grove/io/ (needs JSON) and what lies in folders named cuda (needs the CUDA Toolkit).
#pragma once

#include "grove/core/config.hpp"
#include "grove/core/dual.hpp"
#include "grove/core/error.hpp"
#include "grove/core/law.hpp"
#include "grove/core/math.hpp"
#include "grove/core/number.hpp"
#include "grove/core/pack.hpp"
#include "grove/core/random.hpp"
#include "grove/core/shape.hpp"
#include "grove/core/tensor.hpp"

#include "grove/backend/concept.hpp"
#include "grove/backend/eigen/attention.hpp"
#include "grove/backend/eigen/eigen.hpp"
#include "grove/backend/eigen/parallel.hpp"
#include "grove/backend/eigen/product.hpp"
#include "grove/backend/eigen/rows.hpp"
#include "grove/backend/host.hpp"
#include "grove/backend/reference/reference.hpp"
#include "grove/backend/refinement.hpp"

#include "grove/autodiff/autodiff.hpp"
#include "grove/autodiff/checkpoint.hpp"
#include "grove/autodiff/gradient_check.hpp"
#include "grove/autodiff/tape.hpp"

#include "grove/ops/attention.hpp"
#include "grove/ops/create.hpp"
#include "grove/ops/index.hpp"
#include "grove/ops/lm_head.hpp"
#include "grove/ops/pointwise.hpp"
#include "grove/ops/product.hpp"
#include "grove/ops/reduce.hpp"
#include "grove/ops/rms_norm.hpp"
#include "grove/ops/rope.hpp"
#include "grove/ops/softmax.hpp"
#include "grove/ops/swiglu.hpp"
#include "grove/ops/token_statistics.hpp"

#include "grove/rl/advantage.hpp"
#include "grove/rl/aggregation.hpp"
#include "grove/rl/batch.hpp"
#include "grove/rl/differentiable.hpp"
#include "grove/rl/evaluate.hpp"
#include "grove/rl/kl.hpp"
#include "grove/rl/level.hpp"
#include "grove/rl/objective.hpp"
#include "grove/rl/policy.hpp"
#include "grove/rl/preset.hpp"
#include "grove/rl/ratio.hpp"
#include "grove/rl/statistics.hpp"
#include "grove/rl/surrogate.hpp"
#include "grove/rl/unit_block.hpp"

#include "grove/nn/attention.hpp"
#include "grove/nn/decoder.hpp"
#include "grove/nn/decoder_config.hpp"
#include "grove/nn/layers.hpp"
#include "grove/nn/moe.hpp"
#include "grove/nn/parameter.hpp"

#include "grove/optim/adamw.hpp"
#include "grove/optim/schedule.hpp"

#include "grove/text/template.hpp"
#include "grove/text/tokenizer.hpp"

#include "grove/reward/accuracy.hpp"
#include "grove/reward/format.hpp"
#include "grove/reward/parse.hpp"
#include "grove/reward/reward.hpp"
#include "grove/reward/sum.hpp"

#include "grove/task/addition.hpp"
#include "grove/task/base_data.hpp"
#include "grove/task/countdown.hpp"
#include "grove/task/expression.hpp"
#include "grove/task/problem.hpp"

#include "grove/rollout/generate.hpp"
#include "grove/rollout/kv_cache.hpp"
#include "grove/rollout/sampler.hpp"

#include "grove/eval/consensus.hpp"
#include "grove/eval/estimate.hpp"
#include "grove/eval/pass_at_k.hpp"
#include "grove/eval/report.hpp"


#include "grove/version.hpp"
