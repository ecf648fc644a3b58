// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Group normalisation on the CPU, for inference, in float32, channels last.
//
//   input   (images, cells, channels), channels in `groups` groups
//   weight  (channels); bias (channels)
//   output  (images, cells, channels)

#include "numbers.h"

#include <algorithm>
#include <vector>

namespace {

using namespace referdino;

// Cells that are summed up by themselves, so that sums do not depend on the number of threads.
constexpr Index kCellsAtOnce = 64;

struct GroupNorm {
  const float* input;
  const float* weight;
  const float* bias;
  float* output;
  Index cells;
  Index channels;
  Index groups;
  float epsilon;

  Index chunks() const { return (cells + kCellsAtOnce - 1) / kCellsAtOnce; }
};

// Adds up value(channel, number) over a chunk's cells.
template <typename Value>
void add_up(const GroupNorm& norm, const float* input, Index chunk, float* sums,
            const Value& value) {
  std::fill_n(sums, norm.channels, 0.0f);
  const Index end = std::min(norm.cells, (chunk + 1) * kCellsAtOnce);
  for (Index cell = chunk * kCellsAtOnce; cell < end; ++cell) {
    const float* row = input + cell * norm.channels;
    for (Index c = 0; c < norm.channels; ++c) sums[c] += value(c, row[c]);
  }
}

// The mean of every chunk's sums over each group, for every channel of the group.
void average(const GroupNorm& norm, const std::vector<float>& sums, std::vector<float>& means) {
  const Index size = norm.channels / norm.groups;
  for (Index group = 0; group < norm.groups; ++group) {
    double total = 0.0;
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      const float* row = &sums[chunk * norm.channels + group * size];
      for (Index c = 0; c < size; ++c) total += row[c];
    }
    const double mean = total / static_cast<double>(size * norm.cells);
    std::fill_n(&means[group * size], size, static_cast<float>(mean));
  }
}

void normalise(const GroupNorm& norm, const float* input, float* output, int threads) {
  std::vector<float> sums(norm.chunks() * norm.channels);
  std::vector<float> means(norm.channels);
  std::vector<float> scales(norm.channels);
  const bool shared = norm.cells * norm.channels >= kElementsWorthSharing;
#pragma omp parallel num_threads(threads) if (shared)
  {
#pragma omp for schedule(static)
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      add_up(norm, input, chunk, &sums[chunk * norm.channels],
             [](Index, float number) { return number; });
    }
#pragma omp single
    average(norm, sums, means);
#pragma omp for schedule(static)
    for (Index chunk = 0; chunk < norm.chunks(); ++chunk) {
      add_up(norm, input, chunk, &sums[chunk * norm.channels],
             [&](Index c, float number) { return (number - means[c]) * (number - means[c]); });
    }
#pragma omp single
    {
      average(norm, sums, scales);
      for (Index c = 0; c < norm.channels; ++c) {
        scales[c] = norm.weight[c] / __builtin_sqrtf(scales[c] + norm.epsilon);
      }
    }
#pragma omp for schedule(static)
    for (Index cell = 0; cell < norm.cells; ++cell) {
      const float* row = input + cell * norm.channels;
      float* target = output + cell * norm.channels;
      for (Index c = 0; c < norm.channels; ++c) {
        target[c] = (row[c] - means[c]) * scales[c] + norm.bias[c];
      }
    }
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_group_norm(const float* input, const float* weight,
                                          const float* bias, float* output, Index images,
                                          Index cells, Index channels, Index groups, float epsilon,
                                          int threads) try {
  const GroupNorm norm{input, weight, bias, output, cells, channels, groups, epsilon};
  for (Index image = 0; image < images; ++image) {
    const Index first = image * cells * channels;
    normalise(norm, input + first, output + first, threads);
  }
  return kDone;
}
REFERDINO_CATCH
