// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on the CPU, for inference: softmax, sampling locations and the weighted
// sum in one pass over the queries, from the outputs of the linear layers.
//
//   value        (batch, tokens, heads, channels)   float32 or bfloat16
//   projections  one row per query, of the type of value: offsets (heads, levels, points, 2), then logits
//                (heads, levels, points)
//   references   (reference_batch, queries, levels, 2 or 4) float32: points x, y or boxes cx, cy, w, h in
//                0..1; a reference_batch of 1 broadcasts to all images
//   output       (batch, queries, heads, channels), of the type of value
//
// Locations and sums are always float32.

#include "blocks.h"

namespace {

using namespace referdino;

constexpr Index kMaxSamples = 64;  // levels * points

struct Attention {
  Index batch;
  Index reference_batch;
  Index queries;
  Index heads;
  Index channels;
  Index levels;
  Index points;
  Index reference_size;
  Index tokens;
  const Index* level_sizes;  // height, width of each level
  const float* references;

  Index samples() const { return levels * points; }
  const float* reference(Index image, Index query) const {
    const Index row = (reference_batch == 1 ? 0 : image) * queries + query;
    return references + row * levels * reference_size;
  }
};

// The constants of each sample's level, repeated per sample so that the loop over samples vectorises.
struct Levels {
  float width[kMaxSamples];
  float height[kMaxSamples];
  std::int32_t columns[kMaxSamples];
  std::int32_t rows[kMaxSamples];
  std::int32_t first_token[kMaxSamples];

  explicit Levels(const Attention& a) {
    Index sample = 0;
    std::int32_t tokens = 0;
    for (Index level = 0; level < a.levels; ++level) {
      const auto tall = static_cast<std::int32_t>(a.level_sizes[2 * level]);
      const auto wide = static_cast<std::int32_t>(a.level_sizes[2 * level + 1]);
      for (Index point = 0; point < a.points; ++point, ++sample) {
        width[sample] = static_cast<float>(wide);
        height[sample] = static_cast<float>(tall);
        columns[sample] = wide;
        rows[sample] = tall;
        first_token[sample] = tokens;
      }
      tokens += tall * wide;
    }
  }
};

// A query's references in pixels, per sample: location = centre + offset * reach.
struct Reference {
  float x[kMaxSamples];
  float y[kMaxSamples];
  float reach_x[kMaxSamples];
  float reach_y[kMaxSamples];

  Reference(const Attention& a, const Levels& levels, Index image, Index query) {
    const float* entry = a.reference(image, query);
    const float scale = 0.5f / static_cast<float>(a.points);
    for (Index s = 0; s < a.samples(); ++s) {
      const float* level = entry + s / a.points * a.reference_size;
      x[s] = level[0] * levels.width[s] - 0.5f;
      y[s] = level[1] * levels.height[s] - 0.5f;
      reach_x[s] = a.reference_size == 2 ? 1.0f : scale * level[2] * levels.width[s];
      reach_y[s] = a.reference_size == 2 ? 1.0f : scale * level[3] * levels.height[s];
    }
  }
};

// The four tokens around each sample of one head, and their weights.
struct Corners {
  std::int32_t token[4][kMaxSamples];
  float weight[4][kMaxSamples];
};

struct Side {
  std::int32_t before;
  std::int32_t after;
  float weight_before;
  float weight_after;
};

// Without branches, so that compilers vectorise it.
inline Side find_side(float position, std::int32_t pixels) {
  // Below -1 and from `pixels` on no pixel is reached; NaN is mapped there as well.
  const float last = static_cast<float>(pixels);
  const float low = position > -2.0f ? position : -2.0f;
  const float bounded = low < last ? low : last;
  const std::int32_t truncated = static_cast<std::int32_t>(bounded);
  const std::int32_t before = truncated - (bounded < static_cast<float>(truncated));
  const std::int32_t after = before + 1;
  const float fraction = bounded - static_cast<float>(before);
  Side side;
  side.weight_before = static_cast<float>((before >= 0) & (before < pixels)) * (1.0f - fraction);
  side.weight_after = static_cast<float>((after >= 0) & (after < pixels)) * fraction;
  side.before = std::min(std::max(before, 0), pixels - 1);
  side.after = std::min(std::max(after, 0), pixels - 1);
  return side;
}

// Softmax, in place.
inline void softmax(float* logits, Index count) {
  Index padded = count;
  while (padded % kLanes != 0) logits[padded++] = -1e30f;
  Lanes largest = load_lanes(logits);
  for (Index s = kLanes; s < padded; s += kLanes) {
    largest = larger_of(largest, load_lanes(logits + s));
  }
  const float maximum = largest_of(largest);
  Lanes sum = {};
  for (Index s = 0; s < padded; s += kLanes) {
    const Lanes powers = exponential(load_lanes(logits + s) - maximum);
    store_lanes(powers, logits + s);
    sum += powers;
  }
  const float scale = 1.0f / sum_of(sum);
  for (Index s = 0; s < padded; s += kLanes)
    store_lanes(load_lanes(logits + s) * scale, logits + s);
}

template <typename Number>
inline void read(const Number* source, Index count, float* target) {
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) store_lanes(load_lanes(source + i), target + i);
  for (; i < count; ++i) target[i] = load(source + i);
}

template <typename Number>
void find_corners(const Attention& a, const Levels& levels, const Reference& reference,
                  const Number* offsets, const Number* logits, Corners& corners) {
  alignas(32) float weights[kMaxSamples + kLanes] = {};
  alignas(32) float deltas[2 * kMaxSamples];
  const Index samples = a.samples();
  read(logits, samples, weights);
  read(offsets, 2 * samples, deltas);
  softmax(weights, samples);
#pragma omp simd
  for (Index s = 0; s < samples; ++s) {
    const Side x =
        find_side(reference.x[s] + deltas[2 * s] * reference.reach_x[s], levels.columns[s]);
    const Side y =
        find_side(reference.y[s] + deltas[2 * s + 1] * reference.reach_y[s], levels.rows[s]);
    const std::int32_t upper = levels.first_token[s] + y.before * levels.columns[s];
    const std::int32_t lower = levels.first_token[s] + y.after * levels.columns[s];
    corners.token[0][s] = upper + x.before;
    corners.token[1][s] = upper + x.after;
    corners.token[2][s] = lower + x.before;
    corners.token[3][s] = lower + x.after;
    corners.weight[0][s] = weights[s] * y.weight_before * x.weight_before;
    corners.weight[1][s] = weights[s] * y.weight_before * x.weight_after;
    corners.weight[2][s] = weights[s] * y.weight_after * x.weight_before;
    corners.weight[3][s] = weights[s] * y.weight_after * x.weight_after;
  }
}

template <typename Number, Index Blocks>
inline void add_up(const Corners& corners, Index samples, const Number* value, Index stride,
                   Number* output) {
  Vector sum[Blocks] = {};
  for (Index s = 0; s < samples; ++s) {
    for (int corner = 0; corner < 4; ++corner) {
      const Number* token = value + corners.token[corner][s] * stride;
      const float weight = corners.weight[corner][s];
      for (Index b = 0; b < Blocks; ++b) sum[b] += weight * load_vector(token + b * kVector);
    }
  }
  for (Index b = 0; b < Blocks; ++b) store_vector(sum[b], output + b * kVector);
}

template <typename Number>
void add_up_channels(const Corners& corners, Index samples, Index channels, const Number* value,
                     Index stride, Number* output) {
  Index c = 0;
  for (; c + 4 * kVector <= channels; c += 4 * kVector) {
    add_up<Number, 4>(corners, samples, value + c, stride, output + c);
  }
  for (; c + 2 * kVector <= channels; c += 2 * kVector) {
    add_up<Number, 2>(corners, samples, value + c, stride, output + c);
  }
  for (; c + kVector <= channels; c += kVector) {
    add_up<Number, 1>(corners, samples, value + c, stride, output + c);
  }
  for (; c < channels; ++c) {
    float sum = 0.0f;
    for (Index s = 0; s < samples; ++s) {
      for (int corner = 0; corner < 4; ++corner) {
        sum += corners.weight[corner][s] * load(value + corners.token[corner][s] * stride + c);
      }
    }
    store(sum, output + c);
  }
}

// Shared by the threads of a parallel region.
template <typename Number>
void attend(const Attention& a, const Levels& levels, const Number* value,
            const Number* projections, Number* output) {
  const Index samples = a.samples();
  const Index stride = a.heads * a.channels;
  const Index row_size = a.heads * samples * 3;
#pragma omp for collapse(2) schedule(static)
  for (Index image = 0; image < a.batch; ++image) {
    for (Index query = 0; query < a.queries; ++query) {
      const Reference reference(a, levels, image, query);
      const Number* row = projections + (image * a.queries + query) * row_size;
      Corners corners;
      for (Index head = 0; head < a.heads; ++head) {
        find_corners(a, levels, reference, row + head * samples * 2,
                     row + (2 * a.heads + head) * samples, corners);
        const Number* origin = value + image * a.tokens * stride + head * a.channels;
        Number* sum = output + (image * a.queries + query) * stride + head * a.channels;
        add_up_channels(corners, samples, a.channels, origin, stride, sum);
      }
    }
  }
}

Index count_tokens(const Index* level_sizes, Index levels) {
  Index tokens = 0;
  for (Index level = 0; level < levels; ++level) {
    tokens += level_sizes[2 * level] * level_sizes[2 * level + 1];
  }
  return tokens;
}

}  // namespace

REFERDINO_EXPORT int referdino_deformable_inference(
    const void* value, const Index* level_sizes, const float* references, const void* projections,
    void* output, Index batch, Index reference_batch, Index queries, Index heads, Index channels,
    Index levels, Index points, Index reference_size, int is_bfloat16, int threads) try {
  if (levels * points > kMaxSamples) return kTooManySamples;
  const Index tokens = count_tokens(level_sizes, levels);
  const Attention a{batch,  reference_batch, queries, heads,       channels,  levels,
                    points, reference_size,  tokens,  level_sizes, references};
  const Levels constants(a);
#pragma omp parallel num_threads(threads)
  if (is_bfloat16 != 0) {
    attend(a, constants, static_cast<const BFloat16*>(value),
           static_cast<const BFloat16*>(projections), static_cast<BFloat16*>(output));
  } else {
    attend(a, constants, static_cast<const float*>(value), static_cast<const float*>(projections),
           static_cast<float*>(output));
  }
  return kDone;
}
REFERDINO_CATCH

// after(tokens + attention(tokens + positions, memory)); `positions` (position_batch, queries, width) are
// broadcast for a position_batch of 1.
REFERDINO_EXPORT int referdino_deformable_block(const DeformableAttentionWeights* block,
                                                const float* tokens, const float* positions,
                                                Index position_batch, const float* memory,
                                                const Index* level_sizes, Index levels,
                                                const float* references, Index reference_batch,
                                                Index reference_size, float* output, Index batch,
                                                Index queries, int threads) try {
  if (levels * block->points > kMaxSamples) return kTooManySamples;
  const Index width = block->output.outputs;
  const Index memory_size = count_tokens(level_sizes, levels);
  const Attention a{batch,     reference_batch, queries,        block->heads, width / block->heads,
                    levels,    block->points,   reference_size, memory_size,  level_sizes,
                    references};
  const Levels constants(a);
  const Index rows = batch * queries;
  const Workspace positioned(rows * width);
  const Workspace projections(rows * block->positioned.outputs);
  const Workspace values(batch * memory_size * width);
#pragma omp parallel num_threads(threads)
  {
    for (Index image = 0; image < batch; ++image) {
      const Index first = image * queries * width;
      add(tokens + first, positions + (position_batch == 1 ? 0 : first), queries, width,
          positioned.get() + first);
    }
    linear({block->positioned, positioned.get(), rows, projections.get()});
    linear({block->value, memory, batch * memory_size, values.get()});
    // The sampled values reuse the memory of the positioned tokens.
    attend<float>(a, constants, values.get(), projections.get(), positioned.get());
    linear({block->output, positioned.get(), rows, output, kNone, tokens});
    layer_norm(block->after, output, rows, width, output);
  }
  return kDone;
}
REFERDINO_CATCH
