// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on the CPU, forward and backward, in float32.
//
// Arrays are dense, row-major and laid out as in `referdino_core.network.deformable_attention`:
//   value      (batch, cells, heads, channels)   cells = sum of height * width over the levels
//   locations  (batch, queries, heads, levels, points, 2)   x, y in 0..1 of the level
//   weights    (batch, queries, heads, levels, points)
//   output     (batch, queries, heads, channels)
// `level_sizes` holds height, width for each level.
//
// Threads share out queries on the way forward, and images and heads on the way back, where two
// threads must not add to the same values. Every sum is therefore taken in the same order however
// many threads there are. Heads stay innermost, because those of one cell lie side by side.

#include "exports.h"

#include <algorithm>
#include <vector>

namespace {

using namespace referdino;

// Samples whose corners are found together, before their values are read.
constexpr Index kBatchOfSamples = 32;

struct Sizes {
  Index batch;
  Index queries;
  Index heads;
  Index channels;
  Index cells;
  Index samples;  // levels * points

  Index sample_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * samples;
  }
  Index output_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * channels;
  }
  Index value_origin(Index image, Index head) const {
    return (image * cells * heads + head) * channels;
  }
};

// The level of each sample, spelled out per sample so that several are worked on at once.
struct SampleLevels {
  std::vector<std::int32_t> width;
  std::vector<std::int32_t> height;
  std::vector<std::int32_t> first_cell;

  explicit SampleLevels(Index samples) : width(samples), height(samples), first_cell(samples) {}
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
      problem.levels.first_cell[sample] = static_cast<std::int32_t>(problem.sizes.cells);
    }
    problem.sizes.cells += height * width;
  }
  return problem;
}

// One axis of a sample: the two cells it lies between and its share of each. A cell outside the level
// has share and slope 0 and the index of some cell inside, so that it can be read all the same.
struct Axis {
  std::int32_t before;
  std::int32_t after;
  float share_before;
  float share_after;
  float slope_before;  // derivative of the share by the location
  float slope_after;
};

// Free of branches, and of comparisons joined by them, so that compilers make vector code of it.
inline Axis find_axis(float location, std::int32_t cells) {
  const float size = static_cast<float>(cells);
  // From -1 and from 2 no cell is reached. What is not a number goes to -1 too.
  const float bounded_below = location > -1.0f ? location : -1.0f;
  const float bounded = bounded_below < 2.0f ? bounded_below : 2.0f;
  const float place = bounded * size - 0.5f;
  const std::int32_t truncated = static_cast<std::int32_t>(place);
  const std::int32_t before = truncated - (place < static_cast<float>(truncated));
  const std::int32_t after = before + 1;
  // Not `place - before`: where products and sums are fused, this form loses nothing to the size.
  const float fraction = bounded * size - (static_cast<float>(before) + 0.5f);
  const float has_before = static_cast<float>((before >= 0) & (before < cells));
  const float has_after = static_cast<float>((after >= 0) & (after < cells));
  Axis axis;
  axis.before = std::min(std::max(before, 0), cells - 1);
  axis.after = std::min(std::max(after, 0), cells - 1);
  axis.share_before = has_before * (1.0f - fraction);
  axis.share_after = has_after * fraction;
  axis.slope_before = -has_before * size;
  axis.slope_after = has_after * size;
  return axis;
}

// The four cells around each of some samples (upper left, upper right, lower left, lower right), what
// share of the sample each has, and the derivatives of that share by the location.
struct Samples {
  std::int32_t cell[4][kBatchOfSamples];
  float share[4][kBatchOfSamples];
  float slope_x[4][kBatchOfSamples];
  float slope_y[4][kBatchOfSamples];
};

template <bool WithSlopes>
inline void find_samples(const SampleLevels& levels, Index first, Index count,
                         const float* locations, Samples& samples) {
  const std::int32_t* widths = levels.width.data() + first;
  const std::int32_t* heights = levels.height.data() + first;
  const std::int32_t* first_cells = levels.first_cell.data() + first;
#pragma omp simd
  for (Index s = 0; s < count; ++s) {
    const Axis x = find_axis(locations[2 * s], widths[s]);
    const Axis y = find_axis(locations[2 * s + 1], heights[s]);
    const std::int32_t upper = first_cells[s] + y.before * widths[s];
    const std::int32_t lower = first_cells[s] + y.after * widths[s];
    samples.cell[0][s] = upper + x.before;
    samples.cell[1][s] = upper + x.after;
    samples.cell[2][s] = lower + x.before;
    samples.cell[3][s] = lower + x.after;
    samples.share[0][s] = y.share_before * x.share_before;
    samples.share[1][s] = y.share_before * x.share_after;
    samples.share[2][s] = y.share_after * x.share_before;
    samples.share[3][s] = y.share_after * x.share_after;
    if constexpr (WithSlopes) {
      samples.slope_x[0][s] = y.share_before * x.slope_before;
      samples.slope_x[1][s] = y.share_before * x.slope_after;
      samples.slope_x[2][s] = y.share_after * x.slope_before;
      samples.slope_x[3][s] = y.share_after * x.slope_after;
      samples.slope_y[0][s] = y.slope_before * x.share_before;
      samples.slope_y[1][s] = y.slope_before * x.share_after;
      samples.slope_y[2][s] = y.slope_after * x.share_before;
      samples.slope_y[3][s] = y.slope_after * x.share_after;
    }
  }
}

// Eight neighbouring channels. Spelled out, since compilers that choose for themselves may interchange
// the loops over samples and channels, and then gather single numbers.
typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
constexpr Index kLanes = 8;

inline const Lanes* lanes(const float* channels) {
  return reinterpret_cast<const Lanes*>(channels);
}
inline Lanes* lanes(float* channels) { return reinterpret_cast<Lanes*>(channels); }

// One head of one query. `Fixed` is the number of channels where it is known to the compiler and a
// multiple of eight, else 0.
template <Index Fixed>
void attend_query(const Problem& problem, const float* value, const float* locations,
                  const float* weights, float* output) {
  const Sizes& sizes = problem.sizes;
  const Index channels = Fixed > 0 ? Fixed : sizes.channels;
  const Index cell_stride = sizes.heads * channels;
  constexpr Index blocks = Fixed > 0 ? Fixed / kLanes : 1;
  Lanes sum[blocks] = {};
  if constexpr (Fixed == 0) std::fill(output, output + channels, 0.0f);

  Samples samples;
  for (Index first = 0; first < sizes.samples; first += kBatchOfSamples) {
    const Index count = std::min(kBatchOfSamples, sizes.samples - first);
    find_samples<false>(problem.levels, first, count, locations + 2 * first, samples);
    for (Index s = 0; s < count; ++s) {
      const float weight = weights[first + s];
      float share[4];
      const float* corner[4];
      for (int i = 0; i < 4; ++i) {
        share[i] = weight * samples.share[i][s];
        corner[i] = value + samples.cell[i][s] * cell_stride;
      }
      if constexpr (Fixed > 0) {
        for (Index b = 0; b < blocks; ++b) {
          sum[b] += share[0] * lanes(corner[0])[b] + share[1] * lanes(corner[1])[b];
          sum[b] += share[2] * lanes(corner[2])[b] + share[3] * lanes(corner[3])[b];
        }
      } else {
        for (Index c = 0; c < channels; ++c) {
          output[c] += share[0] * corner[0][c] + share[1] * corner[1][c] + share[2] * corner[2][c] +
                       share[3] * corner[3][c];
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
  const Index cell_stride = sizes.heads * channels;
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
        const Index offset = samples.cell[corner][s] * cell_stride;
        const float* cell = value + offset;
        float* cell_gradient = value_gradient + offset;
        const float share = weight * samples.share[corner][s];
        float product = 0.0f;
        if constexpr (Fixed > 0) {
          Lanes products = {};
          for (Index b = 0; b < Fixed / kLanes; ++b) {
            const Lanes gradient = lanes(output_gradient)[b];
            products += gradient * lanes(cell)[b];
            lanes(cell_gradient)[b] += share * gradient;
          }
          product = ((products[0] + products[4]) + (products[1] + products[5])) +
                    ((products[2] + products[6]) + (products[3] + products[7]));
        } else {
          for (Index c = 0; c < channels; ++c) {
            product += output_gradient[c] * cell[c];
            cell_gradient[c] += share * output_gradient[c];
          }
        }
        to_x += samples.slope_x[corner][s] * product;
        to_y += samples.slope_y[corner][s] * product;
        to_weight += samples.share[corner][s] * product;
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
  // Enough groups of heads to share out evenly; few, since neighbouring heads lie side by side.
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

// `value_gradient` is added to, and so starts as zeros; the other two gradients are overwritten.
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
