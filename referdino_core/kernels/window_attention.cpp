// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Swin's window attention on the CPU, for inference: from the joint projection of all cells of an
// image to attended values, cell by cell. Shifting, padding to whole windows, cutting into windows and
// putting together again are a table of cell numbers, so that nothing is copied for them.
//
//   projections  (images, cells, 3, heads, channels)   queries, keys, values; float32 or bfloat16
//   padding      (3, heads, channels)                  what a cell beyond the border projects to
//   window_cells (windows, size)     number of the cell, -1 beyond the border
//   regions      (windows, size)     cells of different regions do not see each other; or null
//   bias         (heads, size, size) float32, added to the logits
//   output       (images, cells, heads, channels)
//
// `channels` is a multiple of eight.

#include "numbers.h"

#include <vector>

#define REFERDINO_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace referdino;

// What Swin adds between cells that a shift has brought together.
constexpr float kUnseen = -100.0f;

struct Windows {
  Index images;
  Index cells;
  Index windows;
  Index size;
  Index heads;
  Index channels;
  const std::int32_t* window_cells;
  const std::uint8_t* regions;
  const float* bias;

  Index padded_size() const { return (size + kLanes - 1) / kLanes * kLanes; }
};

// One thread's memory for one head of one window, in float32.
struct Workspace {
  std::vector<float> queries;  // (size, channels), scaled
  std::vector<float> keys;     // (channels, padded size)
  std::vector<float> values;   // (size, channels)
  std::vector<float> weights;  // (padded size)

  explicit Workspace(const Windows& w)
      : queries(w.size * w.channels),
        keys(w.channels * w.padded_size()),
        values(w.size * w.channels),
        weights(w.padded_size()) {}
};

template <typename Number>
void gather(const Windows& w, const Number* projections, const Number* padding, Index image,
            Index window, Index head, Workspace& space) {
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(w.channels));
  const Index part = w.heads * w.channels;
  const Index padded = w.padded_size();
  for (Index i = 0; i < w.size; ++i) {
    const std::int32_t cell = w.window_cells[window * w.size + i];
    const Number* row = cell < 0 ? padding : projections + (image * w.cells + cell) * 3 * part;
    row += head * w.channels;
    for (Index c = 0; c < w.channels; c += kLanes) {
      store_lanes(load_lanes(row + c) * scale, &space.queries[i * w.channels + c]);
      const Lanes key = load_lanes(row + part + c);
      for (Index lane = 0; lane < kLanes; ++lane) space.keys[(c + lane) * padded + i] = key[lane];
      store_lanes(load_lanes(row + 2 * part + c), &space.values[i * w.channels + c]);
    }
  }
}

// The softmax of one query's logits, not yet divided by the sum that is returned.
template <Index Blocks>
float weigh(const Windows& w, Index window, Index head, Index i, Workspace& space) {
  const Index padded = w.padded_size();
  const Index blocks = Blocks > 0 ? Blocks : padded / kLanes;
  const float* query = &space.queries[i * w.channels];
  const float* bias = w.bias + (head * w.size + i) * w.size;
  float* weights = space.weights.data();
  if constexpr (Blocks > 0) {
    Lanes logits[Blocks] = {};
    for (Index c = 0; c < w.channels; ++c) {
      for (Index b = 0; b < Blocks; ++b) {
        logits[b] += query[c] * load_lanes(&space.keys[c * padded + b * kLanes]);
      }
    }
    for (Index b = 0; b < Blocks; ++b) store_lanes(logits[b], weights + b * kLanes);
  } else {
    for (Index b = 0; b < blocks; ++b) {
      Lanes logits = {};
      for (Index c = 0; c < w.channels; ++c) {
        logits += query[c] * load_lanes(&space.keys[c * padded + b * kLanes]);
      }
      store_lanes(logits, weights + b * kLanes);
    }
  }
  for (Index j = 0; j < w.size; ++j) weights[j] += bias[j];
  if (w.regions != nullptr) {
    const std::uint8_t* regions = w.regions + window * w.size;
    for (Index j = 0; j < w.size; ++j) weights[j] += regions[j] == regions[i] ? 0.0f : kUnseen;
  }
  for (Index j = w.size; j < padded; ++j) weights[j] = -1e30f;

  Lanes largest = load_lanes(weights);
  for (Index b = 1; b < blocks; ++b) largest = larger_of(largest, load_lanes(weights + b * kLanes));
  const float most = largest_of(largest);
  Lanes sum = {};
  for (Index b = 0; b < blocks; ++b) {
    const Lanes share = exponential(load_lanes(weights + b * kLanes) - most);
    store_lanes(share, weights + b * kLanes);
    sum += share;
  }
  return sum_of(sum);
}

template <typename Number>
void collect(const Windows& w, Index i, float sum, const Workspace& space, Number* output) {
  constexpr Index kMostBlocks = 4;
  const float scale = 1.0f / sum;
  for (Index first = 0; first < w.channels; first += kMostBlocks * kLanes) {
    const Index blocks = (w.channels - first) / kLanes;
    const Index count = blocks < kMostBlocks ? blocks : kMostBlocks;
    Lanes attended[kMostBlocks] = {};
    for (Index j = 0; j < w.size; ++j) {
      const float* value = &space.values[j * w.channels + first];
      const float weight = space.weights[j];
      if (count == kMostBlocks) {
        for (Index b = 0; b < kMostBlocks; ++b) attended[b] += weight * load_lanes(value + b * kLanes);
      } else {
        for (Index b = 0; b < count; ++b) attended[b] += weight * load_lanes(value + b * kLanes);
      }
    }
    for (Index b = 0; b < count; ++b) {
      store_lanes(attended[b] * scale, output + first + b * kLanes);
    }
  }
}

template <typename Number, Index Blocks>
void attend(const Windows& w, const Number* projections, const Number* padding, Number* output,
            int threads) {
#pragma omp parallel num_threads(threads)
  {
    Workspace space(w);
#pragma omp for collapse(3) schedule(static)
    for (Index image = 0; image < w.images; ++image) {
      for (Index window = 0; window < w.windows; ++window) {
        for (Index head = 0; head < w.heads; ++head) {
          gather(w, projections, padding, image, window, head, space);
          for (Index i = 0; i < w.size; ++i) {
            const std::int32_t cell = w.window_cells[window * w.size + i];
            if (cell < 0) continue;
            const float sum = weigh<Blocks>(w, window, head, i, space);
            Number* target = output + ((image * w.cells + cell) * w.heads + head) * w.channels;
            collect(w, i, sum, space, target);
          }
        }
      }
    }
  }
}

template <typename Number>
void attend(const Windows& w, const void* projections, const void* padding, void* output,
            int threads) {
  const auto* source = static_cast<const Number*>(projections);
  const auto* border = static_cast<const Number*>(padding);
  auto* target = static_cast<Number*>(output);
  switch (w.padded_size() / kLanes) {
    case 4: return attend<Number, 4>(w, source, border, target, threads);  // windows of 5 x 5
    case 7: return attend<Number, 7>(w, source, border, target, threads);  // 7 x 7
    default: return attend<Number, 0>(w, source, border, target, threads);
  }
}

}  // namespace

REFERDINO_EXPORT void referdino_window_attention(
    const void* projections, const void* padding, const std::int32_t* window_cells,
    const std::uint8_t* regions, const float* bias, void* output, Index images, Index cells,
    Index windows, Index size, Index heads, Index channels, int is_bfloat16, int threads) {
  const Windows w{images, cells, windows, size, heads, channels, window_cells, regions, bias};
  if (is_bfloat16 != 0) {
    attend<BFloat16>(w, projections, padding, output, threads);
  } else {
    attend<float>(w, projections, padding, output, threads);
  }
}
