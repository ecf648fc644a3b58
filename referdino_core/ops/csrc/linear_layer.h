// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Linear layers and layer normalisation in float32. Called within a parallel region, each function divides its
// rows among the threads and ends with a barrier; called outside of one, it runs in the calling thread.

#pragma once

#include "packed_linear.h"
#include "scratch.h"

namespace referdino {

enum Activation : std::int32_t { kNone = 0, kRelu = 1, kGelu = 2 };

struct LinearWeights {
  const float* packed;
  const float* bias;  // (outputs), or null
  Index inputs;
  Index outputs;
};

struct NormWeights {
  const float* weight;  // (width), or null: no normalisation
  const float* bias;
  float epsilon;
};

// x times the cumulative normal distribution at x, with an error of 2e-7 max(1, |x|)
// (Abramowitz and Stegun, 7.1.26).
inline Vector gelu(Vector x) {
  const Vector scaled = x * 0.70710678f;
  const Vector size = choose(scaled < 0.0f, -scaled, scaled);
  const Vector t = 1.0f / (1.0f + 0.3275911f * size);
  Vector series = t * 1.061405429f - 1.453152027f;
  series = series * t + 1.421413741f;
  series = series * t - 0.284496736f;
  series = series * t + 0.254829592f;
  const Vector beyond = series * t * exponential(-size * size) * 0.5f;
  return x * choose(x < 0.0f, beyond, 1.0f - beyond);
}

inline Vector activate(Activation activation, Vector x) {
  switch (activation) {
    case kRelu:
      return choose(x < 0.0f, Vector{}, x);
    case kGelu:
      return gelu(x);
    default:
      return x;
  }
}

// A linear layer with (rows, outputs) results: activation(input weights^T + bias) + added.
struct LinearStep {
  const LinearWeights& weights;
  const float* input;
  Index rows;
  float* output;
  Activation activation = kNone;
  const float* added = nullptr;  // (rows, outputs), or null

  Index multiplications() const { return rows * weights.inputs * weights.outputs; }
};

// Computes `count` rows from `first` on, for one panel of columns.
inline void fill(const LinearStep& step, Index first, Index count, Index panel) {
  const LinearWeights& weights = step.weights;
  const Index start = panel * kPanel;
  const Index columns = std::min(kPanel, weights.outputs - start);
  multiply_panel(step.input + first * weights.inputs, count, weights.inputs, weights.inputs,
                 weights.packed + start * weights.inputs, columns,
                 [&](Index r, Index column, Vector results, Index size) {
                   const Index row = first + r;
                   column += start;
                   if (weights.bias != nullptr) results += load_some(weights.bias + column, size);
                   results = activate(step.activation, results);
                   if (step.added != nullptr) {
                     results += load_some(step.added + row * weights.outputs + column, size);
                   }
                   store_some(results, size, step.output + row * weights.outputs + column);
                 });
}

inline void linear(const LinearStep& step) {
  const Index panels = panels_of(step.weights.outputs);
  const Index tiles = (step.rows + kTileRows - 1) / kTileRows;
  const Index chunks = (step.rows + kRowsAtOnce - 1) / kRowsAtOnce;
#pragma omp for collapse(2) schedule(static)
  for (Index chunk = 0; chunk < chunks; ++chunk) {
    for (Index panel = 0; panel < panels; ++panel) {
      const Index first = chunk * tiles / chunks * kTileRows;
      const Index end = std::min(step.rows, (chunk + 1) * tiles / chunks * kTileRows);
      fill(step, first, end - first, panel);
    }
  }
}

// Normalises one row of `width` elements, in place.
inline void normalise(const NormWeights& norm, Index width, float* output) {
  Lanes total = {};
  Index i = 0;
  for (; i + kLanes <= width; i += kLanes) total += load_lanes(output + i);
  float sum = sum_of(total);
  for (; i < width; ++i) sum += output[i];
  const float mean = sum / static_cast<float>(width);

  total = Lanes{};
  for (i = 0; i + kLanes <= width; i += kLanes) {
    const Lanes apart = load_lanes(output + i) - mean;
    total += apart * apart;
  }
  sum = sum_of(total);
  for (; i < width; ++i) sum += (output[i] - mean) * (output[i] - mean);
  const float variance = sum / static_cast<float>(width);

  const float scale = 1.0f / __builtin_sqrtf(variance + norm.epsilon);
  for (i = 0; i + kLanes <= width; i += kLanes) {
    const Lanes normal = (load_lanes(output + i) - mean) * scale;
    store_lanes(normal * load_lanes(norm.weight + i) + load_lanes(norm.bias + i), output + i);
  }
  for (; i < width; ++i) output[i] = (output[i] - mean) * scale * norm.weight[i] + norm.bias[i];
}

inline void add_row(const float* input, const float* added, Index width, float* output) {
  Index i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    store_lanes(load_lanes(input + i) + load_lanes(added + i), output + i);
  }
  for (; i < width; ++i) output[i] = input[i] + added[i];
}

inline void add(const float* input, const float* added, Index rows, Index width, float* output) {
#pragma omp for schedule(static)
  for (Index r = 0; r < rows; ++r)
    add_row(input + r * width, added + r * width, width, output + r * width);
}

// `output` may be the input.
inline void layer_norm(const NormWeights& norm, const float* input, Index rows, Index width,
                       float* output) {
#pragma omp for schedule(static)
  for (Index r = 0; r < rows; ++r) {
    const Index first = r * width;
    if (output != input) std::copy_n(input + first, width, output + first);
    normalise(norm, width, output + first);
  }
}

}  // namespace referdino
