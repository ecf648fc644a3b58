// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// 3x3 convolutions on the CPU, for inference, in float32, channels last: the neighbourhoods of several pixels
// are gathered (im2col) and multiplied with the weights like the rows of a linear layer.
//
//   input   (images, height, width, inputs), zero-padded
//   packed  weights (outputs, 3, 3, inputs), prepacked by `referdino_pack_linear`
//   bias    (outputs)
//   output  (images, ceil(height / stride), ceil(width / stride), outputs)

#include "packed_linear.h"
#include "scratch.h"

namespace {

using namespace referdino;

constexpr Index kSide = 3;

// Pixels whose neighbourhoods fit the cache together.
constexpr Index kPixelsAtOnce = 6 * kTileRows;

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
  Index stride;

  Index rows() const { return (height + stride - 1) / stride; }
  Index columns() const { return (width + stride - 1) / stride; }
  Index pixels() const { return images * rows() * columns(); }
};

void copy_neighbours(const Convolution& c, Index pixel, float* target) {
  const Index image = pixel / (c.rows() * c.columns());
  const Index y = pixel / c.columns() % c.rows() * c.stride;
  const Index x = pixel % c.columns() * c.stride;
  // The neighbours in a row are contiguous, except for those beyond the border.
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
                                           Index stride, int threads) try {
  const Convolution c{input, packed, bias, output, images, height, width, inputs, outputs, stride};
  const Index tiles = (c.pixels() + kTileRows - 1) / kTileRows;
  const Index per_thread = (tiles + threads - 1) / threads * kTileRows;
  const Index at_once = std::max(kTileRows, std::min(kPixelsAtOnce, per_thread));
  Team<Workspace> neighbours(threads, at_once * kSide * kSide * inputs);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (Index first = 0; first < c.pixels(); first += at_once) {
    convolve(c, first, std::min(at_once, c.pixels() - first), neighbours.mine().get());
  }
  return kDone;
}
REFERDINO_CATCH
