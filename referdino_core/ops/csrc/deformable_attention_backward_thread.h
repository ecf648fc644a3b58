// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// The gradients of multi-scale deformable attention in one GPU thread: one head of one query of one image.
//
// Like the forward code it also compiles for CPUs, there in double precision too. Threads share only the
// gradient of the value, which they add to atomically.

#ifndef REFERDINO_DEFORMABLE_ATTENTION_BACKWARD_THREAD_H_
#define REFERDINO_DEFORMABLE_ATTENTION_BACKWARD_THREAD_H_

#include "deformable_attention_thread.h"

namespace referdino {

// Where the gradients go, in the precision of the arithmetic.
template <class Real>
struct Gradients {
  Real* value;      // (batch, tokens, heads, channels), zero at first
  Real* locations;  // (batch, queries, heads, K, 2)
  Real* logits;     // (batch, queries, heads, K)
};

template <class Real>
REFERDINO_BOTH void add_to(Real* sum, Real term) {
#ifdef __CUDA_ARCH__
  atomicAdd(sum, term);
#else
  *sum += term;
#endif
}

// Reads kLanes neighbouring channels.
template <class Type, int kLanes, class Real>
REFERDINO_BOTH void read_channels(const typename Type::Bits* from, Real (&channels)[kLanes]) {
  if constexpr (kLanes == 1) {
    channels[0] = Type::read(*from);
  } else {
    const Packet<Type, kLanes> packet = Packet<Type, kLanes>::load(from);
    REFERDINO_UNROLL(8)
    for (int lane = 0; lane < kLanes; ++lane) channels[lane] = packet.get(lane);
  }
}

// A sample's gradients with respect to its weight and its location, before the weight is applied.
template <class Real>
struct SampleGradients {
  Real weight;
  Real x;
  Real y;
};

// Gradients of one sample, whose part of the value's gradient is added to `gradient`. Tokens outside the
// level are neither read nor written.
template <class Value, int kLanes, class Real>
REFERDINO_BOTH SampleGradients<Real> differentiate_sample(
    const typename Value::Bits* level, Real* gradient, std::int64_t token_stride,
    std::int32_t height, std::int32_t width, std::int64_t channels, const Real* location,
    Real weight, const typename Value::Bits* output_gradient) {
  const auto x = find_axis<Real>(location[0], width);
  const auto y = find_axis<Real>(location[1], height);
  const bool has_column[2] = {is_inside(x.before, width), is_inside(x.before + 1, width)};
  const bool has_row[2] = {is_inside(y.before, height), is_inside(y.before + 1, height)};
  const Real weight_x[2] = {x.weight_before, x.weight_after};
  const Real weight_y[2] = {y.weight_before, y.weight_after};
  Real product[4] = {0, 0, 0, 0};
  REFERDINO_UNROLL(4)
  for (int corner = 0; corner < 4; ++corner) {
    const int row = corner / 2, column = corner % 2;
    if (!has_row[row] || !has_column[column]) continue;
    const std::int64_t token = static_cast<std::int64_t>(y.before + row) * width + x.before + column;
    const Real factor = weight * weight_y[row] * weight_x[column];
    for (std::int64_t first = 0; first < channels; first += kLanes) {
      Real read[kLanes], wanted[kLanes];
      read_channels<Value, kLanes>(level + token * token_stride + first, read);
      read_channels<Value, kLanes>(output_gradient + first, wanted);
      REFERDINO_UNROLL(8)
      for (int lane = 0; lane < kLanes; ++lane) {
        product[corner] += read[lane] * wanted[lane];
        add_to(gradient + token * token_stride + first + lane, factor * wanted[lane]);
      }
    }
  }
  return SampleGradients<Real>{
      weight_y[0] * (weight_x[0] * product[0] + weight_x[1] * product[1]) +
          weight_y[1] * (weight_x[0] * product[2] + weight_x[1] * product[3]),
      static_cast<Real>(width) *
          (weight_y[0] * (product[1] - product[0]) + weight_y[1] * (product[3] - product[2])),
      static_cast<Real>(height) *
          (weight_x[0] * (product[2] - product[0]) + weight_x[1] * (product[3] - product[1]))};
}

// The work of one thread. `problem.output` is the output's gradient, of the value's type.
template <class Value, class Logit, int kLanes, class Index, class Real>
REFERDINO_BOTH void differentiate(const Problem& problem, const Gradients<Real>& gradients,
                                  Index row) {
  using Number = typename Value::Bits;
  const Index image = row / static_cast<Index>(problem.rows_per_image);
  const Index head = row % static_cast<Index>(problem.heads);
  const std::int64_t token_stride = problem.heads * problem.channels;
  const std::int32_t samples = problem.levels.count * problem.levels.points;
  const std::int64_t first_sample = static_cast<std::int64_t>(row) * samples;
  const std::int64_t origin = static_cast<std::int64_t>(image) * problem.tokens * token_stride +
                              static_cast<std::int64_t>(head) * problem.channels;
  const Number* value = static_cast<const Number*>(problem.value) + origin;
  const Number* output_gradient = static_cast<const Number*>(problem.output) +
                                  static_cast<std::int64_t>(row) * problem.channels;
  const Real* locations = reinterpret_cast<const Real*>(problem.locations) + 2 * first_sample;
  const auto* logits = static_cast<const typename Logit::Bits*>(problem.logits) + first_sample;
  Real* location_gradients = gradients.locations + 2 * first_sample;
  Real* logit_gradients = gradients.logits + first_sample;

  Real largest = -INFINITY;
  Real total = 0;
  for (std::int32_t sample = 0; sample < samples; ++sample) {
    const Real logit = Logit::read(logits[sample]);
    largest = logit > largest ? logit : largest;
  }
  for (std::int32_t sample = 0; sample < samples; ++sample) {
    total += exponential(static_cast<Real>(Logit::read(logits[sample])) - largest);
  }

  Real mean = 0;
  std::int32_t sample = 0;
  for (std::int32_t level = 0; level < problem.levels.count; ++level) {
    const std::int64_t offset = problem.levels.first_token[level] * token_stride;
    for (std::int32_t point = 0; point < problem.levels.points; ++point, ++sample) {
      const Real weight =
          exponential(static_cast<Real>(Logit::read(logits[sample])) - largest) / total;
      const SampleGradients<Real> found = differentiate_sample<Value, kLanes, Real>(
          value + offset, gradients.value + origin + offset, token_stride,
          problem.levels.height[level], problem.levels.width[level], problem.channels,
          locations + 2 * sample, weight, output_gradient);
      location_gradients[2 * sample] = weight * found.x;
      location_gradients[2 * sample + 1] = weight * found.y;
      logit_gradients[sample] = found.weight;
      mean += weight * found.weight;
    }
  }
  // Of the softmax: each weight pulls its logit by how far it is above the weighted mean.
  for (sample = 0; sample < samples; ++sample) {
    const Real weight =
        exponential(static_cast<Real>(Logit::read(logits[sample])) - largest) / total;
    logit_gradients[sample] = weight * (logit_gradients[sample] - mean);
  }
}

}  // namespace referdino

#endif  // REFERDINO_DEFORMABLE_ATTENTION_BACKWARD_THREAD_H_
