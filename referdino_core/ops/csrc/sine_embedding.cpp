// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Sines and cosines of angles at several wavelengths, on the CPU, for inference, in float32.
//
//   angles       (count)                radians
//   wavelengths  (pairs)                none below 1
//   embedding    (count, pairs, 2)      sine and cosine of angle / wavelength

#include "numbers.h"

#include <cmath>

namespace {

using namespace referdino;

// Beyond this, half turns lose digits that the result needs.
constexpr float kLargest = 4096.0f;

struct SineCosine {
  Lanes sine;
  Lanes cosine;
};

// To 4e-7, for angles up to kLargest: what is left of the nearest half turn, as a series.
inline SineCosine sine_cosine(Lanes angle) {
  const float magic = 12582912.0f;
  const Lanes shifted = angle * 0.318309886f + magic;
  const Lanes turns = shifted - magic;
  // Pi in three parts, of which the first two times a small whole number are exact.
  const Lanes rest =
      ((angle - turns * 3.140625f) - turns * 9.67025756835938e-4f) - turns * 6.27711031e-7f;
  const Lanes square = rest * rest;
  Lanes sine = square * 2.6083159809e-6f - 1.9810690719e-4f;
  sine = sine * square + 8.3330785855e-3f;
  sine = sine * square - 1.6666659713e-1f;
  sine = sine * square * rest + rest;
  Lanes cosine = square * -2.6051615e-7f + 2.4760495e-5f;
  cosine = cosine * square - 1.3888378e-3f;
  cosine = cosine * square + 4.1666638e-2f;
  cosine = cosine * square - 4.9999999e-1f;
  cosine = cosine * square + 1.0f;
  const IntLanes odd = (IntLanes)shifted << 31;
  return {(Lanes)((IntLanes)sine ^ odd), (Lanes)((IntLanes)cosine ^ odd)};
}

void embed(float angle, const float* wavelengths, Index pairs, float* embedding) {
  Index i = 0;
  const Index in_vectors = std::fabs(angle) <= kLargest ? pairs / kLanes * kLanes : 0;
  for (; i < in_vectors; i += kLanes) {
    const SineCosine both = sine_cosine(angle / load_lanes(wavelengths + i));
    for (Index l = 0; l < kLanes; ++l) {
      embedding[2 * (i + l)] = both.sine[l];
      embedding[2 * (i + l) + 1] = both.cosine[l];
    }
  }
  for (; i < pairs; ++i) {
    embedding[2 * i] = std::sin(angle / wavelengths[i]);
    embedding[2 * i + 1] = std::cos(angle / wavelengths[i]);
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_sine_embedding(const float* angles, const float* wavelengths,
                                              Index count, Index pairs, float* embedding) try {
  for (Index i = 0; i < count; ++i) embed(angles[i], wavelengths, pairs, embedding + 2 * i * pairs);
  return kDone;
}
REFERDINO_CATCH

// Boxes (count, 4), centre x, y, width and height in 0..1, to (count, 4, pairs, 2) in the order y, x, width,
// height: each coordinate is an angle of one turn.
REFERDINO_EXPORT int referdino_box_embedding(const float* boxes, const float* wavelengths,
                                             Index count, Index pairs, float* embedding) try {
  constexpr Index kOrder[] = {1, 0, 2, 3};
  constexpr float kTurn = 6.28318530717958648f;
  for (Index box = 0; box < count; ++box) {
    for (const Index coordinate : kOrder) {
      embed(boxes[4 * box + coordinate] * kTurn, wavelengths, pairs, embedding);
      embedding += 2 * pairs;
    }
  }
  return kDone;
}
REFERDINO_CATCH
