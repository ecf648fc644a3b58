// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// What the decoder does with its queries between two layers, on the CPU, for inference, in float32.

#include "numbers.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using namespace referdino;

void softmax(std::vector<float>& numbers) {
  const float largest = *std::max_element(numbers.begin(), numbers.end());
  double sum = 0.0;
  for (float& number : numbers) sum += number = std::exp(number - largest);
  for (float& number : numbers) number = static_cast<float>(number / sum);
}

// Attention (queries, queries) that every query of one head receives from the others.
void receive(const float* attention, Index queries, float* received) {
  std::fill_n(received, queries, 0.0f);
  for (Index q = 0; q < queries; ++q) {
    for (Index k = 0; k < queries; ++k) received[k] += attention[q * queries + k];
  }
  for (Index q = 0; q < queries; ++q) received[q] -= attention[q * queries + q];
}

}  // namespace

// Pruning scores (batch, queries): the mean of two distributions, over how well queries fit the sentence,
// (batch, queries), and over the attention (batch, heads, queries, queries) that they receive.
REFERDINO_EXPORT int referdino_pruning_scores(const float* fit, const float* attention,
                                              float* scores, Index batch, Index heads,
                                              Index queries, int threads) try {
  std::vector<float> by_head(heads * queries);
  std::vector<float> shares(queries);
  std::vector<float> received(queries);
  const bool shared = heads * queries * queries >= kNumbersWorthSharing;
  for (Index image = 0; image < batch; ++image) {
    const float* of_image = attention + image * heads * queries * queries;
#pragma omp parallel for schedule(static) num_threads(threads) if (shared)
    for (Index head = 0; head < heads; ++head) {
      receive(of_image + head * queries * queries, queries, &by_head[head * queries]);
    }
    for (Index q = 0; q < queries; ++q) {
      float sum = 0.0f;
      for (Index head = 0; head < heads; ++head) sum += by_head[head * queries + q];
      received[q] = sum / static_cast<float>(heads);
    }
    std::copy_n(fit + image * queries, queries, shares.begin());
    softmax(shares);
    softmax(received);
    for (Index q = 0; q < queries; ++q) {
      scores[image * queries + q] = 0.5f * shares[q] + 0.5f * received[q];
    }
  }
  return kDone;
}
REFERDINO_CATCH

// Boxes in 0..1 that moves of their logits make of references in 0..1, which are kept `epsilon` away from 0
// and 1: `count` numbers.
REFERDINO_EXPORT int referdino_refine_boxes(const float* moves, const float* references,
                                            float* boxes, Index count, float epsilon) try {
  for (Index i = 0; i < count; ++i) {
    const float share = std::min(std::max(references[i], 0.0f), 1.0f);
    const float logit = std::log(std::max(share, epsilon) / std::max(1.0f - share, epsilon));
    boxes[i] = 1.0f / (1.0f + std::exp(-(moves[i] + logit)));
  }
  return kDone;
}
REFERDINO_CATCH
