// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Linear layers and feed-forward networks on the CPU, for inference, in float32.
//
//   input   (rows, inputs)
//   packed  weights, prepacked by `referdino_pack_linear`
//   added   (rows, outputs), added to the result; or null
//   output  (rows, outputs): activation(input weights^T + bias) + added

#include "blocks.h"

namespace {

using namespace referdino;

// Hidden elements of a feed-forward network that fit the cache.
constexpr Index kHiddenAtOnce = 1 << 20;

}  // namespace

// Whether matrix multiplications use fused multiply-adds; a library for any CPU of its architecture
// may not.
REFERDINO_EXPORT int referdino_has_fast_matmul() noexcept {
#if defined(__FMA__) || defined(__ARM_NEON)
  return 1;
#else
  return 0;
#endif
}

REFERDINO_EXPORT Index referdino_packed_size(Index outputs, Index inputs) noexcept {
  return packed_size(outputs, inputs);
}

REFERDINO_EXPORT int referdino_pack_linear(const float* weights, Index outputs, Index inputs,
                                           float* packed) try {
  pack(outputs, inputs, packed,
       [&](Index output, Index input) { return weights[output * inputs + input]; });
  return kDone;
}
REFERDINO_CATCH

REFERDINO_EXPORT int referdino_linear(const float* input, Index rows, Index inputs,
                                      const float* packed, const float* bias, Index outputs,
                                      const float* added, int activation, float* output,
                                      int threads) try {
  const LinearWeights weights{packed, bias, inputs, outputs};
  const LinearStep step{weights, input, rows, output, static_cast<Activation>(activation), added};
#pragma omp parallel num_threads(threads) if (step.multiplications() >= kMinParallelMultiplications)
  linear(step);
  return kDone;
}
REFERDINO_CATCH

// after(input + second(activation(first(before(input))))); both norms are optional.
REFERDINO_EXPORT int referdino_feed_forward(const FeedForwardWeights* network, const float* input,
                                            Index rows, float* output, int threads) try {
  const Index width = network->first.inputs;
  const Index inside = network->first.outputs;
  const Index at_once = std::min(rows, std::max(kRowsAtOnce, kHiddenAtOnce / inside));
  const bool is_normed = network->before.weight != nullptr;
  const Workspace normed(is_normed ? at_once * width : 0);
  const Workspace hidden(at_once * inside);
#pragma omp parallel num_threads(threads) if (rows * width * inside >= kMinParallelMultiplications)
  for (Index start = 0; start < rows; start += at_once) {
    const Index count = std::min(at_once, rows - start);
    const float* tokens = input + start * width;
    float* target = output + start * width;
    if (is_normed) layer_norm(network->before, tokens, count, width, normed.get());
    linear({network->first, is_normed ? normed.get() : tokens, count, hidden.get(),
            static_cast<Activation>(network->activation)});
    linear({network->second, hidden.get(), count, target, kNone, tokens});
    if (network->after.weight != nullptr) {
      layer_norm(network->after, target, count, width, target);
    }
  }
  return kDone;
}
REFERDINO_CATCH
