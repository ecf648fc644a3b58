// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on the CPU, forward and backward, in float32.
//
// Arrays are dense, row-major and have the shapes of `referdino_core.ops.deformable_attention`:
//   value      (batch, tokens, heads, channels)   tokens = sum of height * width over the levels
//   locations  (batch, queries, heads, levels, points, 2)   x, y in 0..1 of the level
//   weights    (batch, queries, heads, levels, points)
//   output     (batch, queries, heads, channels)
// `level_sizes` holds height, width for each level.
//
// The forward pass is parallel over queries, the backward pass over images and heads, so that no two
// threads add to the same values. Every sum therefore has the same order for any number of threads.
// Heads stay innermost, because the heads of a token are contiguous in memory.

#include "exports.h"

#include <algorithm>
#include <vector>

namespace {

using namespace referdino;

// Samples whose corners are computed together, before their values are read.
constexpr Index kBatchOfSamples = 32;

struct Sizes {
  Index batch;
  Index queries;
  Index heads;
  Index channels;
  Index tokens;
  Index samples;  // levels * points

  Index sample_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * samples;
  }
  Index output_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * channels;
  }
  Index value_origin(Index image, Index head) const {
    return (image * tokens * heads + head) * channels;
  }
};

// The level of each sample, repeated per sample so that the loop over samples vectorises.
struct SampleLevels {
  std::vector<std::int32_t> width;
  std::vector<std::int32_t> height;
  std::vector<std::int32_t> first_token;

  explicit SampleLevels(Index samples) : width(samples), height(samples), first_token(samples) {}
};

struct Problem {
  Sizes sizes;
  SampleLevels levels;
};

Problem read_problem(const Index* level_sizes, Index levels, Index batch, Index queries,
                     Index heads, Index channels, Index points) {
  const Index samples = levels * points;
  Problem problem{{batch, queries, heads, channels, 0, samples}, SampleLevels(samples)};
  for (Index level = 0; level < levels; ++level) {
    const Index height = level_sizes[2 * level];
    const Index width = level_sizes[2 * level + 1];
    for (Index sample = level * points; sample < (level + 1) * points; ++sample) {
      problem.levels.width[sample] = static_cast<std::int32_t>(width);
      problem.levels.height[sample] = static_cast<std::int32_t>(height);
      problem.levels.first_token[sample] = static_cast<std::int32_t>(problem.sizes.tokens);
    }
    problem.sizes.tokens += height * width;
  }
  return problem;
}

// One axis of a sample: its two neighbouring pixels and their interpolation weights. A pixel outside the
// level has weight and slope 0, and the index of a pixel inside, so that it can safely be read.
struct Axis {
  std::int32_t before;
  std::int32_t after;
  float weight_before;
  float weight_after;
  float slope_before;  // derivative of the weight with respect to the location
  float slope_after;
};

// Without branches and short-circuit evaluation, so that compilers vectorise it.
inline Axis find_axis(float location, std::int32_t pixels) {
  const float size = static_cast<float>(pixels);
  // At -1 and at 2 no pixel is reached. NaN becomes -1 as well.
  const float bounded_below = location > -1.0f ? location : -1.0f;
  const float bounded = bounded_below < 2.0f ? bounded_below : 2.0f;
  const float position = bounded * size - 0.5f;
  const std::int32_t truncated = static_cast<std::int32_t>(position);
  const std::int32_t before = truncated - (position < static_cast<float>(truncated));
  const std::int32_t after = before + 1;
  // Not `position - before`: with fused multiply-adds this form loses no precision for large levels.
  const float fraction = bounded * size - (static_cast<float>(before) + 0.5f);
  const float has_before = static_cast<float>((before >= 0) & (before < pixels));
  const float has_after = static_cast<float>((after >= 0) & (after < pixels));
  Axis axis;
  axis.before = std::min(std::max(before, 0), pixels - 1);
  axis.after = std::min(std::max(after, 0), pixels - 1);
  axis.weight_before = has_before * (1.0f - fraction);
  axis.weight_after = has_after * fraction;
  axis.slope_before = -has_before * size;
  axis.slope_after = has_after * size;
  return axis;
}

// The four tokens around each sample of a batch (upper left, upper right, lower left, lower right), their
// interpolation weights, and the derivatives of these with respect to the location.
struct Samples {
  std::int32_t token[4][kBatchOfSamples];
  float weight[4][kBatchOfSamples];
  float slope_x[4][kBatchOfSamples];
  float slope_y[4][kBatchOfSamples];
};

template <bool WithSlopes>
inline void find_samples(const SampleLevels& levels, Index first, Index count,
                         const float* locations, Samples& samples) {
  const std::int32_t* widths = levels.width.data() + first;
  const std::int32_t* heights = levels.height.data() + first;
  const std::int32_t* first_tokens = levels.first_token.data() + first;
#pragma omp simd
  for (Index s = 0; s < count; ++s) {
    const Axis x = find_axis(locations[2 * s], widths[s]);
    const Axis y = find_axis(locations[2 * s + 1], heights[s]);
    const std::int32_t upper = first_tokens[s] + y.before * widths[s];
    const std::int32_t lower = first_tokens[s] + y.after * widths[s];
    samples.token[0][s] = upper + x.before;
    samples.token[1][s] = upper + x.after;
    samples.token[2][s] = lower + x.before;
    samples.token[3][s] = lower + x.after;
    samples.weight[0][s] = y.weight_before * x.weight_before;
    samples.weight[1][s] = y.weight_before * x.weight_after;
    samples.weight[2][s] = y.weight_after * x.weight_before;
    samples.weight[3][s] = y.weight_after * x.weight_after;
    if constexpr (WithSlopes) {
      samples.slope_x[0][s] = y.weight_before * x.slope_before;
      samples.slope_x[1][s] = y.weight_before * x.slope_after;
      samples.slope_x[2][s] = y.weight_after * x.slope_before;
      samples.slope_x[3][s] = y.weight_after * x.slope_after;
      samples.slope_y[0][s] = y.slope_before * x.weight_before;
      samples.slope_y[1][s] = y.slope_before * x.weight_after;
      samples.slope_y[2][s] = y.slope_after * x.weight_before;
      samples.slope_y[3][s] = y.slope_after * x.weight_after;
    }
  }
}

// Eight neighbouring channels. Explicit, since compilers may otherwise interchange the loops over samples
// and channels, and gather single elements.
typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
constexpr Index kLanes = 8;

inline const Lanes* lanes(const float* channels) {
  return reinterpret_cast<const Lanes*>(channels);
}
inline Lanes* lanes(float* channels) { return reinterpret_cast<Lanes*>(channels); }

// One head of one query. `Fixed` is the number of channels if it is a compile-time constant and a multiple
// of eight, else 0.
template <Index Fixed>
void attend_query(const Problem& problem, const float* value, const float* locations,
                  const float* weights, float* output) {
  const Sizes& sizes = problem.sizes;
  const Index channels = Fixed > 0 ? Fixed : sizes.channels;
  const Index token_stride = sizes.heads * channels;
  constexpr Index blocks = Fixed > 0 ? Fixed / kLanes : 1;
  Lanes sum[blocks] = {};
  if constexpr (Fixed == 0) std::fill(output, output + channels, 0.0f);

  Samples samples;
  for (Index first = 0; first < sizes.samples; first += kBatchOfSamples) {
    const Index count = std::min(kBatchOfSamples, sizes.samples - first);
    find_samples<false>(problem.levels, first, count, locations + 2 * first, samples);
    for (Index s = 0; s < count; ++s) {
      const float weight = weights[first + s];
      float factor[4];
      const float* corner[4];
      for (int i = 0; i < 4; ++i) {
        factor[i] = weight * samples.weight[i][s];
        corner[i] = value + samples.token[i][s] * token_stride;
      }
      if constexpr (Fixed > 0) {
        for (Index b = 0; b < blocks; ++b) {
          sum[b] += factor[0] * lanes(corner[0])[b] + factor[1] * lanes(corner[1])[b];
          sum[b] += factor[2] * lanes(corner[2])[b] + factor[3] * lanes(corner[3])[b];
        }
      } else {
        for (Index c = 0; c < channels; ++c) {
          output[c] += factor[0] * corner[0][c] + factor[1] * corner[1][c] +
                       factor[2] * corner[2][c] + factor[3] * corner[3][c];
        }
      }
    }
  }
  if constexpr (Fixed > 0) {
    for (Index b = 0; b < blocks; ++b) lanes(output)[b] = sum[b];
  }
}

template <Index Fixed>
void attend(const Problem& problem, const float* value, const float* locations,
            const float* weights, float* output, int threads) {
  const Sizes& sizes = problem.sizes;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (Index image = 0; image < sizes.batch; ++image) {
    for (Index query = 0; query < sizes.queries; ++query) {
      for (Index head = 0; head < sizes.heads; ++head) {
        const Index row = sizes.sample_row(image, query, head);
        attend_query<Fixed>(problem, value + sizes.value_origin(image, head), locations + 2 * row,
                            weights + row, output + sizes.output_row(image, query, head));
      }
    }
  }
}

template <Index Fixed>
void differentiate_query(const Problem& problem, const float* value, const float* locations,
                         const float* weights, const float* output_gradient, float* value_gradient,
                         float* location_gradient, float* weight_gradient) {
  const Sizes& sizes = problem.sizes;
  const Index channels = Fixed > 0 ? Fixed : sizes.channels;
  const Index token_stride = sizes.heads * channels;
  Samples samples;
  for (Index first = 0; first < sizes.samples; first += kBatchOfSamples) {
    const Index count = std::min(kBatchOfSamples, sizes.samples - first);
    find_samples<true>(problem.levels, first, count, locations + 2 * first, samples);
    for (Index s = 0; s < count; ++s) {
      const float weight = weights[first + s];
      float to_x = 0.0f;
      float to_y = 0.0f;
      float to_weight = 0.0f;
      for (int corner = 0; corner < 4; ++corner) {
        const Index offset = samples.token[corner][s] * token_stride;
        const float* token = value + offset;
        float* token_gradient = value_gradient + offset;
        const float factor = weight * samples.weight[corner][s];
        float product = 0.0f;
        if constexpr (Fixed > 0) {
          Lanes products = {};
          for (Index b = 0; b < Fixed / kLanes; ++b) {
            const Lanes gradient = lanes(output_gradient)[b];
            products += gradient * lanes(token)[b];
            lanes(token_gradient)[b] += factor * gradient;
          }
          product = ((products[0] + products[4]) + (products[1] + products[5])) +
                    ((products[2] + products[6]) + (products[3] + products[7]));
        } else {
          for (Index c = 0; c < channels; ++c) {
            product += output_gradient[c] * token[c];
            token_gradient[c] += factor * output_gradient[c];
          }
        }
        to_x += samples.slope_x[corner][s] * product;
        to_y += samples.slope_y[corner][s] * product;
        to_weight += samples.weight[corner][s] * product;
      }
      location_gradient[2 * (first + s)] = weight * to_x;
      location_gradient[2 * (first + s) + 1] = weight * to_y;
      weight_gradient[first + s] = to_weight;
    }
  }
}

template <Index Fixed>
void differentiate(const Problem& problem, const float* value, const float* locations,
                   const float* weights, const float* output_gradient, float* value_gradient,
                   float* location_gradient, float* weight_gradient, int threads) {
  const Sizes& sizes = problem.sizes;
  // As few groups of heads as balance the threads, since neighbouring heads are contiguous in memory.
  Index groups = 1;
  while (groups < sizes.heads && (sizes.batch * groups) % threads != 0) ++groups;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (Index image = 0; image < sizes.batch; ++image) {
    for (Index group = 0; group < groups; ++group) {
      const Index first_head = sizes.heads * group / groups;
      const Index end_head = sizes.heads * (group + 1) / groups;
      for (Index query = 0; query < sizes.queries; ++query) {
        for (Index head = first_head; head < end_head; ++head) {
          const Index origin = sizes.value_origin(image, head);
          const Index row = sizes.sample_row(image, query, head);
          differentiate_query<Fixed>(problem, value + origin, locations + 2 * row, weights + row,
                                     output_gradient + sizes.output_row(image, query, head),
                                     value_gradient + origin, location_gradient + 2 * row,
                                     weight_gradient + row);
        }
      }
    }
  }
}

}  // namespace

// `output` is overwritten.
REFERDINO_EXPORT int referdino_deformable_attention_forward(
    const float* value, const Index* level_sizes, const float* locations, const float* weights,
    float* output, Index batch, Index queries, Index heads, Index channels, Index levels,
    Index points, int threads) try {
  const Problem problem =
      read_problem(level_sizes, levels, batch, queries, heads, channels, points);
  switch (channels) {
    case 16:
      attend<16>(problem, value, locations, weights, output, threads);
      break;
    case 24:
      attend<24>(problem, value, locations, weights, output, threads);
      break;
    case 32:
      attend<32>(problem, value, locations, weights, output, threads);
      break;
    default:
      attend<0>(problem, value, locations, weights, output, threads);
      break;
  }
  return kDone;
}
REFERDINO_CATCH

// `value_gradient` is accumulated and must be zero-initialised; the other two gradients are overwritten.
REFERDINO_EXPORT int referdino_deformable_attention_backward(
    const float* value, const Index* level_sizes, const float* locations, const float* weights,
    const float* output_gradient, float* value_gradient, float* location_gradient,
    float* weight_gradient, Index batch, Index queries, Index heads, Index channels, Index levels,
    Index points, int threads) try {
  const Problem problem =
      read_problem(level_sizes, levels, batch, queries, heads, channels, points);
  switch (channels) {
    case 16:
      differentiate<16>(problem, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    case 24:
      differentiate<24>(problem, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    case 32:
      differentiate<32>(problem, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    default:
      differentiate<0>(problem, value, locations, weights, output_gradient, value_gradient,
                       location_gradient, weight_gradient, threads);
      break;
  }
  return kDone;
}
REFERDINO_CATCH
