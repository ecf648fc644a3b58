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
//   bias         (heads, size, padded) float32, added to the logits: by key, then by query, whose
//                number is padded to a multiple of eight
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

// Keys that are compared, and queries that values are collected for, at once.
constexpr Index kKeys = 7;
constexpr Index kQueries = 4;

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

  Index padded() const { return (size + kLanes - 1) / kLanes * kLanes; }
};

// One thread's memory for one head of one window, in float32. Eight queries lie side by side in a
// vector, so that a softmax runs down the keys and never across a vector.
struct Workspace {
  std::vector<float> queries;   // (channels, padded), scaled
  std::vector<float> keys;      // (size, channels)
  std::vector<float> values;    // (size, channels)
  std::vector<float> weights;   // (size, lanes)
  std::vector<float> attended;  // (lanes, channels)

  explicit Workspace(const Windows& w)
      : queries(w.channels * w.padded()),
        keys(w.size * w.channels),
        values(w.size * w.channels),
        weights(w.size * kLanes),
        attended(kLanes * w.channels) {}
};

template <typename Number>
void gather(const Windows& w, const Number* projections, const Number* padding, Index image,
            Index window, Index head, Workspace& space) {
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(w.channels));
  const Index part = w.heads * w.channels;
  const Index padded = w.padded();
  for (Index i = 0; i < w.size; ++i) {
    const std::int32_t cell = w.window_cells[window * w.size + i];
    const Number* row = cell < 0 ? padding : projections + (image * w.cells + cell) * 3 * part;
    row += head * w.channels;
    for (Index c = 0; c < w.channels; c += kLanes) {
      const Lanes query = load_lanes(row + c) * scale;
      for (Index l = 0; l < kLanes; ++l) space.queries[(c + l) * padded + i] = query[l];
      store_lanes(load_lanes(row + part + c), &space.keys[i * w.channels + c]);
      store_lanes(load_lanes(row + 2 * part + c), &space.values[i * w.channels + c]);
    }
  }
}

// Logits of the eight queries from `first` on for `Keys` keys from `key` on.
template <Index Keys>
void compare(const Windows& w, Index first, Index key, Workspace& space) {
  const float* queries = &space.queries[first];
  const float* keys = &space.keys[key * w.channels];
  const Index padded = w.padded();
  Lanes logits[Keys] = {};
  for (Index c = 0; c < w.channels; ++c) {
    const Lanes query = load_lanes(queries + c * padded);
    for (Index k = 0; k < Keys; ++k) logits[k] += query * keys[k * w.channels + c];
  }
  for (Index k = 0; k < Keys; ++k) store_lanes(logits[k], &space.weights[(key + k) * kLanes]);
}

// Turns the logits of the eight queries from `first` on into weights that sum to one.
void weigh(const Windows& w, Index window, Index head, Index first, Workspace& space) {
  float* weights = space.weights.data();
  const float* bias = w.bias + head * w.size * w.padded() + first;
  const std::uint8_t* regions = w.regions == nullptr ? nullptr : w.regions + window * w.size;
  IntLanes own = {};
  for (Index l = 0; regions != nullptr && l < kLanes && first + l < w.size; ++l) {
    own[l] = regions[first + l];
  }
  const Lanes unseen = Lanes{} + kUnseen;
  Lanes largest = Lanes{} - 1e30f;
  for (Index j = 0; j < w.size; ++j) {
    Lanes logits = load_lanes(weights + j * kLanes) + load_lanes(bias + j * w.padded());
    if (regions != nullptr) {
      const IntLanes apart = own != static_cast<std::int32_t>(regions[j]);
      logits += (Lanes)((IntLanes)unseen & apart);
    }
    store_lanes(logits, weights + j * kLanes);
    largest = larger_of(largest, logits);
  }
  Lanes sum = {};
  for (Index j = 0; j < w.size; ++j) {
    const Lanes share = exponential(load_lanes(weights + j * kLanes) - largest);
    store_lanes(share, weights + j * kLanes);
    sum += share;
  }
  const Lanes scale = 1.0f / sum;
  for (Index j = 0; j < w.size; ++j) {
    store_lanes(load_lanes(weights + j * kLanes) * scale, weights + j * kLanes);
  }
}

// Weighted sums of the values for `kQueries` of the eight queries, `Blocks` vectors of channels.
template <Index Blocks>
void collect(const Windows& w, Index query, Index channel, Workspace& space) {
  Lanes sums[kQueries][Blocks] = {};
  for (Index j = 0; j < w.size; ++j) {
    const float* value = &space.values[j * w.channels + channel];
    const float* weights = &space.weights[j * kLanes + query];
    for (Index b = 0; b < Blocks; ++b) {
      const Lanes lanes = load_lanes(value + b * kLanes);
      for (Index q = 0; q < kQueries; ++q) sums[q][b] += weights[q] * lanes;
    }
  }
  for (Index q = 0; q < kQueries; ++q) {
    float* attended = &space.attended[(query + q) * w.channels + channel];
    for (Index b = 0; b < Blocks; ++b) store_lanes(sums[q][b], attended + b * kLanes);
  }
}

template <typename Number>
void attend_window(const Windows& w, Index image, Index window, Index head, Workspace& space,
                   Number* output) {
  for (Index first = 0; first < w.size; first += kLanes) {
    Index key = 0;
    for (; key + kKeys <= w.size; key += kKeys) compare<kKeys>(w, first, key, space);
    for (; key < w.size; ++key) compare<1>(w, first, key, space);
    weigh(w, window, head, first, space);
    for (Index query = 0; query < kLanes; query += kQueries) {
      Index channel = 0;
      for (; channel + 4 * kLanes <= w.channels; channel += 4 * kLanes) {
        collect<4>(w, query, channel, space);
      }
      for (; channel < w.channels; channel += kLanes) collect<1>(w, query, channel, space);
    }
    for (Index l = 0; l < kLanes && first + l < w.size; ++l) {
      const std::int32_t cell = w.window_cells[window * w.size + first + l];
      if (cell < 0) continue;
      Number* target = output + ((image * w.cells + cell) * w.heads + head) * w.channels;
      for (Index c = 0; c < w.channels; c += kLanes) {
        store_lanes(load_lanes(&space.attended[l * w.channels + c]), target + c);
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
#pragma omp parallel num_threads(threads)
  {
    Workspace space(w);
#pragma omp for collapse(3) schedule(static)
    for (Index image = 0; image < w.images; ++image) {
      for (Index window = 0; window < w.windows; ++window) {
        for (Index head = 0; head < w.heads; ++head) {
          gather(w, source, border, image, window, head, space);
          attend_window(w, image, window, head, space, target);
        }
      }
    }
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
