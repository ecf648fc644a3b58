// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights of whole transformer blocks; mirrored by the ctypes structures of referdino_core.ops.

#pragma once

#include "linear_layer.h"

namespace referdino {

// A feed-forward network and the norms before and after it.
struct FeedForwardWeights {
  NormWeights before;
  LinearWeights first;
  Index activation;
  LinearWeights second;
  NormWeights after;
};

// Attention, its projections, the residual and the norm after it. In self-attention `positioned` also
// projects to keys; in cross-attention the keys come from a context.
struct AttentionWeights {
  LinearWeights positioned;  // from tokens and their positions to queries, or to queries and keys
  LinearWeights source;      // from tokens to values, or from the context to keys and values
  LinearWeights output;
  NormWeights after;
  Index heads;
};

// Deformable attention, its projections, the residual and the norm after it.
struct DeformableAttentionWeights {
  LinearWeights positioned;  // from tokens and their positions to offsets and logits
  LinearWeights value;
  LinearWeights output;
  NormWeights after;
  Index heads;
  Index points;
};

// Window attention, the norm before it, its projections and the residual.
struct WindowAttentionWeights {
  NormWeights before;
  LinearWeights projection;
  LinearWeights output;
  const std::int32_t* window_tokens;
  const std::uint8_t* regions;
  const float* bias;
  Index windows;
  Index size;
  Index heads;
};

}  // namespace referdino
