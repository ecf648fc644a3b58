// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// The fusion layers' bi-directional attention on the CPU, for inference, in float32: image and text look at
// each other through one matrix of logits. What can be multiplied beforehand has been: a text token brings,
// for each head, a key in the image's own channels, and what it gives to the image.
//
//   image   (image_batch, cells, width), normalised; one image serves all sentences
//   folded  (batch, tokens, heads * (2 width + 1)): the keys, then the values, (heads, width) each, then
//           what is added to the logits of the token, (heads)
//   hidden  (batch, tokens), not zero where a token is padding
//   bias    (width)
//   fused   (batch, cells, width): image + bias + what it takes from the text
//   seen    (batch, tokens, heads, width): what the text takes from the image

#include "packed_linear.h"
#include "scratch.h"

#include <limits>
#include <vector>

namespace {

using namespace referdino;

struct Fusion {
  const float* image;
  Index image_batch;
  const float* folded;
  const std::uint8_t* hidden;
  const float* bias;
  float* fused;
  float* seen;
  Index batch;
  Index cells;
  Index width;
  Index heads;
  Index tokens;

  // A column of the logits is a head's view of a token.
  Index columns() const { return heads * tokens; }
  const float* cells_of(Index sentence) const {
    return image + (image_batch == 1 ? 0 : sentence) * cells * width;
  }
  const float* row(Index sentence, Index column) const {
    return folded + (sentence * tokens + column % tokens) * heads * (2 * width + 1);
  }
  const float* key(Index sentence, Index column) const {
    return row(sentence, column) + column / tokens * width;
  }
  const float* value(Index sentence, Index column) const {
    return row(sentence, column) + (heads + column / tokens) * width;
  }
  float offset(Index sentence, Index column) const {
    if (hidden[sentence * tokens + column % tokens] != 0) {
      return -std::numeric_limits<float>::infinity();
    }
    return row(sentence, column)[2 * heads * width + column / tokens];
  }
};

// What all threads work on for one sentence.
struct Sentence {
  std::vector<float> keys;     // as weights from a cell to its logits
  std::vector<float> values;   // as weights from attention weights to a cell
  std::vector<float> offsets;  // (columns)
  std::vector<float> cells;    // the image, as weights from attention weights to a token
  std::vector<float> logits;   // (columns, cells)

  Sentence(const Fusion& f, Index sentence)
      : keys(packed_size(f.columns(), f.width)),
        values(packed_size(f.width, f.columns())),
        offsets(f.columns()),
        cells(packed_size(f.width, f.cells)),
        logits(f.columns() * f.cells) {
    std::vector<const float*> key_rows(f.columns());
    std::vector<const float*> value_rows(f.columns());
    for (Index column = 0; column < f.columns(); ++column) {
      key_rows[column] = f.key(sentence, column);
      value_rows[column] = f.value(sentence, column);
      offsets[column] = f.offset(sentence, column);
    }
    pack(f.columns(), f.width, keys.data(),
         [&](Index column, Index channel) { return key_rows[column][channel]; });
    pack(f.width, f.columns(), values.data(),
         [&](Index channel, Index column) { return value_rows[column][channel]; });
  }
};

// Turns logits into weights that sum to one.
void weigh(Index count, float* logits) {
  float largest = -1e30f;
  for (Index i = 0; i < count; ++i) largest = std::max(largest, logits[i]);
  Lanes total = {};
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes shares = exponential(load_lanes(logits + i) - largest);
    store_lanes(shares, logits + i);
    total += shares;
  }
  if (i < count) {
    float spread[kLanes];
    for (Index l = 0; l < kLanes; ++l) spread[l] = i + l < count ? logits[i + l] : -1e30f;
    const Lanes shares = exponential(load_lanes(spread) - largest);
    store_lanes(shares, spread);
    std::copy_n(spread, count - i, logits + i);
    total += shares;
  }
  const float scale = 1.0f / sum_of(total);
  for (Index l = 0; l < count; ++l) logits[l] *= scale;
}

// Some cells' logits, and what they take from the text.
void fuse_cells(const Fusion& f, Index sentence, Index first, Index count, Sentence& s,
                float* weights) {
  const Index columns = f.columns();
  const float* cells = f.cells_of(sentence) + first * f.width;
  float* fused = f.fused + (sentence * f.cells + first) * f.width;
  for (Index start = 0; start < columns; start += kPanel) {
    multiply_panel(cells, count, f.width, f.width, s.keys.data() + start * f.width,
                   std::min(kPanel, columns - start),
                   [&](Index cell, Index column, Vector results, Index some) {
                     column += start;
                     for (Index i = 0; i < some; ++i) {
                       s.logits[(column + i) * f.cells + first + cell] = results[i];
                     }
                     results += load_some(&s.offsets[column], some);
                     store_some(results, some, weights + cell * columns + column);
                   });
  }
  for (Index row = 0; row < count * f.heads; ++row) weigh(f.tokens, weights + row * f.tokens);
  for (Index start = 0; start < f.width; start += kPanel) {
    multiply_panel(weights, count, columns, columns, s.values.data() + start * columns,
                   std::min(kPanel, f.width - start),
                   [&](Index cell, Index column, Vector results, Index some) {
                     column += start;
                     results += load_some(f.bias + column, some);
                     results += load_some(cells + cell * f.width + column, some);
                     store_some(results, some, fused + cell * f.width + column);
                   });
  }
}

// What some columns' tokens take from the image.
void gather_columns(const Fusion& f, Index sentence, Index first, Index count, const Sentence& s) {
  for (Index start = 0; start < f.width; start += kPanel) {
    multiply_panel(&s.logits[first * f.cells], count, f.cells, f.cells,
                   s.cells.data() + start * f.cells, std::min(kPanel, f.width - start),
                   [&](Index c, Index channel, Vector results, Index some) {
                     const Index head = (first + c) / f.tokens;
                     const Index token = sentence * f.tokens + (first + c) % f.tokens;
                     const Index target = (token * f.heads + head) * f.width + start + channel;
                     store_some(results, some, f.seen + target);
                   });
  }
}

void fuse(const Fusion& f, Index sentence, int threads) {
  Sentence s(f, sentence);
  const Index share = (f.cells + threads * kTileRows - 1) / (threads * kTileRows) * kTileRows;
  const Index at_once = std::min(kRowsAtOnce, share);
  const float* cells = f.cells_of(sentence);
  Team<Workspace> spaces(threads, at_once * f.columns());
#pragma omp parallel num_threads(threads)
  {
    float* weights = spaces.mine().get();
#pragma omp for schedule(static)
    for (Index first = 0; first < f.cells; first += at_once) {
      fuse_cells(f, sentence, first, std::min(at_once, f.cells - first), s, weights);
    }
#pragma omp for schedule(static) nowait
    for (Index start = 0; start < f.width; start += kPanel) {
      pack(std::min(kPanel, f.width - start), f.cells, s.cells.data() + start * f.cells,
           [&](Index c, Index cell) { return cells[cell * f.width + start + c]; });
    }
#pragma omp for schedule(static)
    for (Index c = 0; c < f.columns(); ++c) weigh(f.cells, &s.logits[c * f.cells]);
#pragma omp for schedule(static)
    for (Index first = 0; first < f.columns(); first += kTileRows) {
      gather_columns(f, sentence, first, std::min(kTileRows, f.columns() - first), s);
    }
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_fusion_attention(const float* image, const float* folded,
                                                const std::uint8_t* hidden, const float* bias,
                                                float* fused, float* seen, Index image_batch,
                                                Index batch, Index cells, Index width, Index heads,
                                                Index tokens, int threads) try {
  const Fusion f{image, image_batch, folded, hidden, bias,  fused,
                 seen,  batch,       cells,  width,  heads, tokens};
  for (Index sentence = 0; sentence < batch; ++sentence) fuse(f, sentence, threads);
  return kDone;
}
REFERDINO_CATCH
