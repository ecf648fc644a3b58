// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// How well queries fit a sentence, on the CPU, for inference, in float32: the highest dot product of a
// query with one of the sentence's tokens.
//
//   queries     (batch, queries, width)
//   text        (batch, tokens, width)
//   hidden      (batch, tokens), not zero where a token is padding
//   similarity  (batch, queries): highest dot product times e^`log_scale`, plus `offset`, where they are
//               not null

#include "numbers.h"

#include <cmath>
#include <limits>

namespace {

using namespace referdino;

float product(const float* query, const float* token, Index width) {
  Lanes total = {};
  Index i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    total += load_lanes(query + i) * load_lanes(token + i);
  }
  float sum = sum_of(total);
  for (; i < width; ++i) sum += query[i] * token[i];
  return sum;
}

}  // namespace

REFERDINO_EXPORT int referdino_token_similarity(const float* queries, const float* text,
                                                const std::uint8_t* hidden, const float* log_scale,
                                                const float* offset, float* similarity, Index batch,
                                                Index count, Index tokens, Index width,
                                                int threads) try {
  const float scale = log_scale == nullptr ? 1.0f : std::exp(*log_scale);
  const float start = offset == nullptr ? 0.0f : *offset;
  const bool shared = batch * count * tokens * width >= kProductsWorthSharing;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (shared)
  for (Index image = 0; image < batch; ++image) {
    for (Index q = 0; q < count; ++q) {
      const Index row = image * count + q;
      float best = -std::numeric_limits<float>::infinity();
      for (Index t = 0; t < tokens; ++t) {
        if (hidden[image * tokens + t] != 0) continue;
        const float* token = text + (image * tokens + t) * width;
        const float similar = product(queries + row * width, token, width);
        // What is not a number stays the result.
        if (similar > best || similar != similar) best = similar;
      }
      similarity[row] = best * scale + start;
    }
  }
  return kDone;
}
REFERDINO_CATCH
