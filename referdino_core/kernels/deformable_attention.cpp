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
// `level_sizes` holds height, width for each level. The interface is plain C over raw pointers, so
// that one compiler call builds it, whatever Python or PyTorch it is used with.
//
// Work is shared out by image and head. Two threads never touch the same head of the same image, so
// that the backward pass scatters without locks and results do not depend on the number of threads.
// One head's values are also small enough for a core's cache, where those of all heads are not.

#include <cstdint>
#include <cstring>
#include <vector>

#define REFERDINO_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using Index = std::int64_t;

struct Level {
  Index height;
  Index width;
  Index first_cell;
};

struct Sizes {
  Index batch;
  Index queries;
  Index heads;
  Index channels;
  Index points;
  Index cells;
  std::vector<Level> levels;

  Index samples() const { return static_cast<Index>(levels.size()) * points; }
  Index sample_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * samples();
  }
  Index output_row(Index image, Index query, Index head) const {
    return ((image * queries + query) * heads + head) * channels;
  }
  Index value_origin(Index image, Index head) const {
    return (image * cells * heads + head) * channels;
  }
};

Sizes read_sizes(const Index* level_sizes, Index levels, Index batch, Index queries, Index heads,
                 Index channels, Index points) {
  Sizes sizes{batch, queries, heads, channels, points, 0, {}};
  sizes.levels.reserve(static_cast<std::size_t>(levels));
  for (Index level = 0; level < levels; ++level) {
    const Index height = level_sizes[2 * level];
    const Index width = level_sizes[2 * level + 1];
    sizes.levels.push_back({height, width, sizes.cells});
    sizes.cells += height * width;
  }
  return sizes;
}

// The four cells around a sampling location. Cells outside the level share the index of their nearest
// neighbour inside and have `inside` 0, so that no branch is needed where they are used.
struct Corners {
  Index offset[4];  // of the cell's channels: upper left, upper right, lower left, lower right
  float inside[4];
  float right;  // fraction of the way from the left to the right cells
  float lower;  // fraction of the way from the upper to the lower cells

  void shares(float* share) const {
    share[0] = inside[0] * (1.0f - lower) * (1.0f - right);
    share[1] = inside[1] * (1.0f - lower) * right;
    share[2] = inside[2] * lower * (1.0f - right);
    share[3] = inside[3] * lower * right;
  }
};

inline Index floor_of(float number) {
  const Index truncated = static_cast<Index>(number);
  return truncated - (number < static_cast<float>(truncated) ? 1 : 0);
}

// False where the location is so far outside that it touches no cell, or is not a number.
inline bool find_corners(const Level& level, Index cell_stride, const float* location,
                         Corners& corners) {
  const float x = location[0] * static_cast<float>(level.width) - 0.5f;
  const float y = location[1] * static_cast<float>(level.height) - 0.5f;
  const bool touches = x > -1.0f && y > -1.0f && x < static_cast<float>(level.width) &&
                       y < static_cast<float>(level.height);
  if (!touches) return false;

  const Index left = floor_of(x);
  const Index upper = floor_of(y);
  const bool has_left = left >= 0;
  const bool has_upper = upper >= 0;
  const bool has_right = left + 1 < level.width;
  const bool has_lower = upper + 1 < level.height;
  const Index left_column = has_left ? left : 0;
  const Index right_column = has_right ? left + 1 : left_column;
  const Index upper_row = level.first_cell + (has_upper ? upper : 0) * level.width;
  const Index lower_row = has_lower ? level.first_cell + (upper + 1) * level.width : upper_row;

  corners.offset[0] = (upper_row + left_column) * cell_stride;
  corners.offset[1] = (upper_row + right_column) * cell_stride;
  corners.offset[2] = (lower_row + left_column) * cell_stride;
  corners.offset[3] = (lower_row + right_column) * cell_stride;
  corners.inside[0] = has_upper && has_left ? 1.0f : 0.0f;
  corners.inside[1] = has_upper && has_right ? 1.0f : 0.0f;
  corners.inside[2] = has_lower && has_left ? 1.0f : 0.0f;
  corners.inside[3] = has_lower && has_right ? 1.0f : 0.0f;
  corners.right = x - static_cast<float>(left);
  corners.lower = y - static_cast<float>(upper);
  return true;
}

// `Fixed` is the number of channels where it is known to the compiler, else 0.
template <Index Fixed>
void attend_query(const Sizes& sizes, const float* value, const float* locations,
                  const float* weights, float* output) {
  const Index channels = Fixed > 0 ? Fixed : sizes.channels;
  const Index cell_stride = sizes.heads * channels;
  float fixed_sum[Fixed > 0 ? Fixed : 1] = {};
  float* sum = Fixed > 0 ? fixed_sum : output;
  if (Fixed == 0) std::memset(output, 0, sizeof(float) * static_cast<std::size_t>(channels));

  for (const Level& level : sizes.levels) {
    for (Index point = 0; point < sizes.points; ++point, locations += 2, ++weights) {
      Corners corners;
      if (!find_corners(level, cell_stride, locations, corners)) continue;
      float share[4];
      corners.shares(share);
      for (float& part : share) part *= *weights;
      const float* upper_left = value + corners.offset[0];
      const float* upper_right = value + corners.offset[1];
      const float* lower_left = value + corners.offset[2];
      const float* lower_right = value + corners.offset[3];
#pragma omp simd
      for (Index c = 0; c < channels; ++c) {
        sum[c] += share[0] * upper_left[c] + share[1] * upper_right[c] +
                  share[2] * lower_left[c] + share[3] * lower_right[c];
      }
    }
  }
  if (Fixed > 0) std::memcpy(output, fixed_sum, sizeof(fixed_sum));
}

template <Index Fixed>
void attend(const Sizes& sizes, const float* value, const float* locations, const float* weights,
            float* output, int threads) {
  constexpr Index block = 128;  // queries that one thread takes at a time
  const Index blocks = (sizes.queries + block - 1) / block;
#pragma omp parallel for collapse(3) schedule(static) num_threads(threads)
  for (Index image = 0; image < sizes.batch; ++image) {
    for (Index head = 0; head < sizes.heads; ++head) {
      for (Index part = 0; part < blocks; ++part) {
        const Index end = part + 1 < blocks ? (part + 1) * block : sizes.queries;
        for (Index query = part * block; query < end; ++query) {
          const Index row = sizes.sample_row(image, query, head);
          attend_query<Fixed>(sizes, value + sizes.value_origin(image, head), locations + 2 * row,
                              weights + row, output + sizes.output_row(image, query, head));
        }
      }
    }
  }
}

// Gradients of one sampling point. `along` are the products of the output's gradient with each corner.
template <Index Fixed>
void differentiate_point(Index fixed_channels, const Corners& corners, float weight,
                         const float* value, const float* output_gradient, float* value_gradient,
                         float* along) {
  const Index channels = Fixed > 0 ? Fixed : fixed_channels;
  float share[4];
  corners.shares(share);
  for (int corner = 0; corner < 4; ++corner) {
    const float* cell = value + corners.offset[corner];
    float* cell_gradient = value_gradient + corners.offset[corner];
    const float scale = share[corner] * weight;
    float product = 0.0f;
#pragma omp simd reduction(+ : product)
    for (Index c = 0; c < channels; ++c) {
      product += output_gradient[c] * cell[c];
      cell_gradient[c] += scale * output_gradient[c];
    }
    along[corner] = corners.inside[corner] * product;
  }
}

template <Index Fixed>
void differentiate_query(const Sizes& sizes, const float* value, const float* locations,
                         const float* weights, const float* output_gradient, float* value_gradient,
                         float* location_gradients, float* weight_gradients) {
  const Index channels = Fixed > 0 ? Fixed : sizes.channels;
  const Index cell_stride = sizes.heads * channels;
  for (const Level& level : sizes.levels) {
    for (Index point = 0; point < sizes.points; ++point) {
      Corners corners;
      float to_x = 0.0f;
      float to_y = 0.0f;
      float to_weight = 0.0f;
      if (find_corners(level, cell_stride, locations, corners)) {
        float along[4];
        differentiate_point<Fixed>(channels, corners, *weights, value, output_gradient,
                                   value_gradient, along);
        const float upper = along[0] + corners.right * (along[1] - along[0]);
        const float lower = along[2] + corners.right * (along[3] - along[2]);
        const float upper_slope = along[1] - along[0];
        const float lower_slope = along[3] - along[2];
        to_weight = upper + corners.lower * (lower - upper);
        to_x = *weights * static_cast<float>(level.width) *
               (upper_slope + corners.lower * (lower_slope - upper_slope));
        to_y = *weights * static_cast<float>(level.height) * (lower - upper);
      }
      location_gradients[0] = to_x;
      location_gradients[1] = to_y;
      *weight_gradients = to_weight;
      locations += 2;
      location_gradients += 2;
      ++weights;
      ++weight_gradients;
    }
  }
}

template <Index Fixed>
void differentiate(const Sizes& sizes, const float* value, const float* locations,
                   const float* weights, const float* output_gradient, float* value_gradient,
                   float* location_gradient, float* weight_gradient, int threads) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (Index image = 0; image < sizes.batch; ++image) {
    for (Index head = 0; head < sizes.heads; ++head) {
      const Index origin = sizes.value_origin(image, head);
      for (Index query = 0; query < sizes.queries; ++query) {
        const Index row = sizes.sample_row(image, query, head);
        differentiate_query<Fixed>(sizes, value + origin, locations + 2 * row, weights + row,
                                   output_gradient + sizes.output_row(image, query, head),
                                   value_gradient + origin, location_gradient + 2 * row,
                                   weight_gradient + row);
      }
    }
  }
}

}  // namespace

// Changes whenever a signature below does, so that a library left over from an older version is seen.
REFERDINO_EXPORT int referdino_kernels_version() { return 1; }

// `output` is overwritten.
REFERDINO_EXPORT void referdino_deformable_attention_forward(
    const float* value, const Index* level_sizes, const float* locations, const float* weights,
    float* output, Index batch, Index queries, Index heads, Index channels, Index levels,
    Index points, int threads) {
  const Sizes sizes = read_sizes(level_sizes, levels, batch, queries, heads, channels, points);
  switch (channels) {
    case 16: attend<16>(sizes, value, locations, weights, output, threads); break;
    case 24: attend<24>(sizes, value, locations, weights, output, threads); break;
    case 32: attend<32>(sizes, value, locations, weights, output, threads); break;
    default: attend<0>(sizes, value, locations, weights, output, threads); break;
  }
}

// `value_gradient` is added to, and so starts as zeros; the other two gradients are overwritten.
REFERDINO_EXPORT void referdino_deformable_attention_backward(
    const float* value, const Index* level_sizes, const float* locations, const float* weights,
    const float* output_gradient, float* value_gradient, float* location_gradient,
    float* weight_gradient, Index batch, Index queries, Index heads, Index channels, Index levels,
    Index points, int threads) {
  const Sizes sizes = read_sizes(level_sizes, levels, batch, queries, heads, channels, points);
  switch (channels) {
    case 16:
      differentiate<16>(sizes, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    case 24:
      differentiate<24>(sizes, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    case 32:
      differentiate<32>(sizes, value, locations, weights, output_gradient, value_gradient,
                        location_gradient, weight_gradient, threads);
      break;
    default:
      differentiate<0>(sizes, value, locations, weights, output_gradient, value_gradient,
                       location_gradient, weight_gradient, threads);
      break;
  }
}
