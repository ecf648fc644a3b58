// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// 3x3 convolutions on the CPU, for inference, in float32, channels last: the neighbours of some places
// are copied side by side, and their product with the weights is a linear layer's.
//
//   input   (images, height, width, inputs), surrounded by zeros
//   packed  weights (outputs, 3, 3, inputs) as `referdino_pack_linear` lays them out
//   bias    (outputs)
//   output  (images, rows of places, places of a row, outputs); every `step`th place of the input

#include "packed_linear.h"
#include "scratch.h"

namespace {

using namespace referdino;

constexpr Index kSide = 3;

// So many places' neighbours stay in the cache.
constexpr Index kPlacesAtOnce = 6 * kTileRows;

struct Convolution {
  const float* input;
  const float* packed;
  const float* bias;
  float* output;
  Index images;
  Index height;
  Index width;
  Index inputs;
  Index outputs;
  Index step;

  Index rows() const { return (height + step - 1) / step; }
  Index columns() const { return (width + step - 1) / step; }
  Index places() const { return images * rows() * columns(); }
};

void copy_neighbours(const Convolution& c, Index place, float* target) {
  const Index image = place / (c.rows() * c.columns());
  const Index y = place / c.columns() % c.rows() * c.step;
  const Index x = place % c.columns() * c.step;
  // The neighbours of a row lie side by side, but for those beyond the border.
  const Index before = x == 0 ? 1 : 0;
  const Index after = x + 1 == c.width ? 1 : 0;
  for (Index row = y - 1; row <= y + 1; ++row, target += kSide * c.inputs) {
    if (row < 0 || row >= c.height) {
      std::fill_n(target, kSide * c.inputs, 0.0f);
      continue;
    }
    const Index first = (image * c.height + row) * c.width + x - 1 + before;
    std::fill_n(target, before * c.inputs, 0.0f);
    std::copy_n(c.input + first * c.inputs, (kSide - before - after) * c.inputs,
                target + before * c.inputs);
    std::fill_n(target + (kSide - after) * c.inputs, after * c.inputs, 0.0f);
  }
}

void convolve(const Convolution& c, Index first, Index count, float* neighbours) {
  const Index size = kSide * kSide * c.inputs;
  for (Index p = 0; p < count; ++p) copy_neighbours(c, first + p, neighbours + p * size);
  for (Index start = 0; start < c.outputs; start += kPanel) {
    multiply_panel(neighbours, count, size, size, c.packed + start * size,
                   std::min(kPanel, c.outputs - start),
                   [&](Index p, Index column, Vector results, Index some) {
                     column += start;
                     results += load_some(c.bias + column, some);
                     store_some(results, some, c.output + (first + p) * c.outputs + column);
                   });
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_convolution(const float* input, const float* packed,
                                           const float* bias, float* output, Index images,
                                           Index height, Index width, Index inputs, Index outputs,
                                           Index step, int threads) try {
  const Convolution c{input, packed, bias, output, images, height, width, inputs, outputs, step};
  const Index tiles = (c.places() + kTileRows - 1) / kTileRows;
  const Index share = (tiles + threads - 1) / threads * kTileRows;
  const Index at_once = std::max(kTileRows, std::min(kPlacesAtOnce, share));
  Team<Workspace> neighbours(threads, at_once * kSide * kSide * inputs);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (Index first = 0; first < c.places(); first += at_once) {
    convolve(c, first, std::min(at_once, c.places() - first), neighbours.mine().get());
  }
  return kDone;
}
REFERDINO_CATCH
