// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Group normalisation on the CPU, for inference, in float32, channels last.
//
//   input   (images, pixels, channels), channels in `groups` groups
//   weight  (channels); bias (channels)
//   output  (images, pixels, channels)

#include "numbers.h"

#include <algorithm>
#include <vector>

namespace {

using namespace referdino;

// Pixels per partial sum; fixed, so that sums do not depend on the number of threads.
constexpr Index kPixelsAtOnce = 64;

struct GroupNorm {
  const float* input;
  const float* weight;
  const float* bias;
  float* output;
  Index pixels;
  Index channels;
  Index groups;
  float epsilon;

  Index chunks() const { return (pixels + kPixelsAtOnce - 1) / kPixelsAtOnce; }
};

// Sums value(channel, element) over the pixels of a chunk.
template <typename Value>
void add_up(const GroupNorm& norm, const float* input, Index chunk, float* sums,
            const Value& value) {
  std::fill_n(sums, norm.channels, 0.0f);
  const Index end = std::min(norm.pixels, (chunk + 1) * kPixelsAtOnce);
  for (Index pixel = chunk * kPixelsAtOnce; pixel < end; ++pixel) {
    const float* row = input + pixel * norm.channels;
    for (Index c = 0; c < norm.channels; ++c) sums[c] += value(c, row[c]);
  }
}

// The mean over each group, from the sums of all chunks, repeated for every channel of the group.
void average(const GroupNorm& norm, const std::vector<float>& sums, std::vector<float>& means) {
  const Index size = norm.channels / norm.groups;
  for (Index group = 0; group < norm.groups; ++group) {
    double total = 0.0;
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      const float* row = &sums[chunk * norm.channels + group * size];
      for (Index c = 0; c < size; ++c) total += row[c];
    }
    const double mean = total / static_cast<double>(size * norm.pixels);
    std::fill_n(&means[group * size], size, static_cast<float>(mean));
  }
}

void normalise(const GroupNorm& norm, const float* input, float* output, int threads) {
  std::vector<float> sums(norm.chunks() * norm.channels);
  std::vector<float> means(norm.channels);
  std::vector<float> scales(norm.channels);
  const bool shared = norm.pixels * norm.channels >= kMinParallelElements;
#pragma omp parallel num_threads(threads) if (shared)
  {
#pragma omp for schedule(static)
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      add_up(norm, input, chunk, &sums[chunk * norm.channels],
             [](Index, float element) { return element; });
    }
#pragma omp single
    average(norm, sums, means);
#pragma omp for schedule(static)
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      add_up(norm, input, chunk, &sums[chunk * norm.channels],
             [&](Index c, float element) { return (element - means[c]) * (element - means[c]); });
    }
#pragma omp single
    {
      average(norm, sums, scales);
      for (Index c = 0; c < norm.channels; ++c) {
        scales[c] = norm.weight[c] / __builtin_sqrtf(scales[c] + norm.epsilon);
      }
    }
#pragma omp for schedule(static)
    for (Index pixel = 0; pixel < norm.pixels; ++pixel) {
      const float* row = input + pixel * norm.channels;
      float* target = output + pixel * norm.channels;
      for (Index c = 0; c < norm.channels; ++c) {
        target[c] = (row[c] - means[c]) * scales[c] + norm.bias[c];
      }
    }
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_group_norm(const float* input, const float* weight,
                                          const float* bias, float* output, Index images,
                                          Index pixels, Index channels, Index groups, float epsilon,
                                          int threads) try {
  const GroupNorm norm{input, weight, bias, output, pixels, channels, groups, epsilon};
  for (Index image = 0; image < images; ++image) {
    const Index first = image * pixels * channels;
    normalise(norm, input + first, output + first, threads);
  }
  return kDone;
}
REFERDINO_CATCH
