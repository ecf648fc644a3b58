// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Matrix multiplication with prepacked weights, in float32: weights are stored in panels of columns, so that a
// tile of results stays in registers. The order of each sum does not depend on the number of rows or threads.

#pragma once

#include "numbers.h"

#include <algorithm>

namespace referdino {

// A tile of results fills most vector registers: NEON and AVX-512 have 32 of them, others 16.
#if defined(__AVX512F__)
constexpr Index kPanelVectors = 2;
constexpr Index kTileRows = 8;
#elif defined(__ARM_NEON)
constexpr Index kPanelVectors = 4;
constexpr Index kTileRows = 6;
#else
constexpr Index kPanelVectors = 2;
constexpr Index kTileRows = 6;
#endif
constexpr Index kPanel = kPanelVectors * kVector;

// Rows that are multiplied with one panel before the next, so that both stay in the cache.
constexpr Index kRowsAtOnce = 16 * kTileRows;

// Inputs per partial sum, which limits the rounding error of long sums.
constexpr Index kInputsAtOnce = 256;

inline Index panels_of(Index outputs) { return (outputs + kPanel - 1) / kPanel; }

// Elements of the prepacked form of (outputs, inputs) weights.
inline Index packed_size(Index outputs, Index inputs) {
  return panels_of(outputs) * kPanel * inputs;
}

// Packs the weights `weight(output, input)` as (panels, inputs, kPanel), zero-padded.
template <typename Weight>
void pack(Index outputs, Index inputs, float* packed, const Weight& weight) {
  for (Index first = 0; first < outputs; first += kPanel) {
    const Index columns = std::min(kPanel, outputs - first);
    for (Index i = 0; i < inputs; ++i, packed += kPanel) {
      for (Index c = 0; c < columns; ++c) packed[c] = weight(first + c, i);
      std::fill(packed + columns, packed + kPanel, 0.0f);
    }
  }
}

// Results of `Rows` rows for the columns of one panel.
template <Index Rows>
struct Tile {
  Vector sums[Rows][kPanelVectors];

  void multiply(const float* rows, Index stride, Index inputs, const float* panel) {
    add_up(rows, stride, std::min(inputs, kInputsAtOnce), panel);
    for (Index first = kInputsAtOnce; first < inputs; first += kInputsAtOnce) {
      Tile more;
      more.add_up(rows + first, stride, std::min(kInputsAtOnce, inputs - first),
                  panel + first * kPanel);
      for (Index r = 0; r < Rows; ++r) {
        for (Index v = 0; v < kPanelVectors; ++v) sums[r][v] += more.sums[r][v];
      }
    }
  }

  void add_up(const float* rows, Index stride, Index inputs, const float* panel) {
    Vector totals[Rows][kPanelVectors] = {};
    for (Index i = 0; i < inputs; ++i) {
      Vector weights[kPanelVectors];
      for (Index v = 0; v < kPanelVectors; ++v) {
        weights[v] = load_vector(panel + i * kPanel + v * kVector);
      }
      for (Index r = 0; r < Rows; ++r) {
        const float input = rows[r * stride + i];
        for (Index v = 0; v < kPanelVectors; ++v) totals[r][v] += input * weights[v];
      }
    }
    for (Index r = 0; r < Rows; ++r) {
      for (Index v = 0; v < kPanelVectors; ++v) sums[r][v] = totals[r][v];
    }
  }
};

// Calls finish(row, column, results, count) for every row, with vectors of `count` results.
template <Index Rows, typename Finish>
void multiply_rows(const float* rows, Index stride, Index inputs, const float* panel, Index columns,
                   const Finish& finish) {
  Tile<Rows> tile;
  tile.multiply(rows, stride, inputs, panel);
  for (Index r = 0; r < Rows; ++r) {
    for (Index v = 0; v < kPanelVectors; ++v) {
      const Index count = std::min(kVector, columns - v * kVector);
      if (count > 0) finish(r, v * kVector, tile.sums[r][v], count);
    }
  }
}

template <Index Rows, typename Finish>
void multiply_last_rows(Index count, const float* rows, Index stride, Index inputs,
                        const float* panel, Index columns, const Finish& finish) {
  if constexpr (Rows > 0) {
    if (count == Rows) {
      multiply_rows<Rows>(rows, stride, inputs, panel, columns, finish);
    } else {
      multiply_last_rows<Rows - 1>(count, rows, stride, inputs, panel, columns, finish);
    }
  }
}

// Multiplies `count` rows, `stride` apart, with the first `columns` columns of a panel.
template <typename Finish>
void multiply_panel(const float* rows, Index count, Index stride, Index inputs, const float* panel,
                    Index columns, const Finish& finish) {
  Index row = 0;
  for (; row + kTileRows <= count; row += kTileRows) {
    multiply_rows<kTileRows>(rows + row * stride, stride, inputs, panel, columns,
                             [&](Index r, Index column, Vector results, Index size) {
                               finish(row + r, column, results, size);
                             });
  }
  multiply_last_rows<kTileRows - 1>(count - row, rows + row * stride, stride, inputs, panel,
                                    columns,
                                    [&](Index r, Index column, Vector results, Index size) {
                                      finish(row + r, column, results, size);
                                    });
}

// Partial reads and writes of a vector, for the last columns.
inline Vector load_some(const float* numbers, Index count) {
  if (count == kVector) return load_vector(numbers);
  float spread[kVector] = {};
  std::copy(numbers, numbers + count, spread);
  return load_vector(spread);
}

inline void store_some(Vector values, Index count, float* target) {
  if (count == kVector) {
    store_vector(values, target);
    return;
  }
  float spread[kVector];
  store_vector(values, spread);
  std::copy(spread, spread + count, target);
}

}  // namespace referdino
