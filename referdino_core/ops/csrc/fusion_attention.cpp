// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Bi-directional attention of the fusion layers on the CPU, for inference, in float32: image and text attend
// to each other through one matrix of logits. The projections are folded into the text beforehand: for each
// head, a text token has a key and a value in the channels of the image.
//
//   image    (image_batch, pixels, width), normalised; an image_batch of 1 broadcasts to all sentences
//   folded   (batch, tokens, heads * (2 width + 1)): keys and values, (heads, width) each, then offsets of the
//            logits, (heads)
//   padding  (batch, tokens), nonzero on padding
//   bias     (width)
//   fused    (batch, pixels, width): image + bias + attention to the text
//   seen     (batch, tokens, heads, width): attention of the text to the image

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
  const std::uint8_t* padding;
  const float* bias;
  float* fused;
  float* seen;
  Index batch;
  Index pixels;
  Index width;
  Index heads;
  Index tokens;

  // A column of the logits belongs to one head of one token.
  Index columns() const { return heads * tokens; }
  const float* image_of(Index sentence) const {
    return image + (image_batch == 1 ? 0 : sentence) * pixels * width;
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
    if (padding[sentence * tokens + column % tokens] != 0) {
      return -std::numeric_limits<float>::infinity();
    }
    return row(sentence, column)[2 * heads * width + column / tokens];
  }
};

// Memory that all threads share for one sentence.
struct Sentence {
  std::vector<float> keys;     // prepacked weights from a pixel to its logits
  std::vector<float> values;   // prepacked weights from attention weights to a pixel
  std::vector<float> offsets;  // (columns)
  std::vector<float> pixels;   // the image, as prepacked weights from attention weights to a token
  std::vector<float> logits;   // (columns, pixels)

  Sentence(const Fusion& f, Index sentence)
      : keys(packed_size(f.columns(), f.width)),
        values(packed_size(f.width, f.columns())),
        offsets(f.columns()),
        pixels(packed_size(f.width, f.pixels)),
        logits(f.columns() * f.pixels) {
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

// Softmax, in place.
void weigh(Index count, float* logits) {
  float largest = -1e30f;
  for (Index i = 0; i < count; ++i) largest = std::max(largest, logits[i]);
  Lanes total = {};
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes powers = exponential(load_lanes(logits + i) - largest);
    store_lanes(powers, logits + i);
    total += powers;
  }
  if (i < count) {
    float spread[kLanes];
    for (Index l = 0; l < kLanes; ++l) spread[l] = i + l < count ? logits[i + l] : -1e30f;
    const Lanes powers = exponential(load_lanes(spread) - largest);
    store_lanes(powers, spread);
    std::copy_n(spread, count - i, logits + i);
    total += powers;
  }
  const float scale = 1.0f / sum_of(total);
  for (Index l = 0; l < count; ++l) logits[l] *= scale;
}

// Logits of some pixels, and their attention to the text.
void fuse_pixels(const Fusion& f, Index sentence, Index first, Index count, Sentence& s,
                 float* weights) {
  const Index columns = f.columns();
  const float* pixels = f.image_of(sentence) + first * f.width;
  float* fused = f.fused + (sentence * f.pixels + first) * f.width;
  for (Index start = 0; start < columns; start += kPanel) {
    multiply_panel(pixels, count, f.width, f.width, s.keys.data() + start * f.width,
                   std::min(kPanel, columns - start),
                   [&](Index pixel, Index column, Vector results, Index some) {
                     column += start;
                     for (Index i = 0; i < some; ++i) {
                       s.logits[(column + i) * f.pixels + first + pixel] = results[i];
                     }
                     results += load_some(&s.offsets[column], some);
                     store_some(results, some, weights + pixel * columns + column);
                   });
  }
  for (Index row = 0; row < count * f.heads; ++row) weigh(f.tokens, weights + row * f.tokens);
  for (Index start = 0; start < f.width; start += kPanel) {
    multiply_panel(weights, count, columns, columns, s.values.data() + start * columns,
                   std::min(kPanel, f.width - start),
                   [&](Index pixel, Index column, Vector results, Index some) {
                     column += start;
                     results += load_some(f.bias + column, some);
                     results += load_some(pixels + pixel * f.width + column, some);
                     store_some(results, some, fused + pixel * f.width + column);
                   });
  }
}

// Attention of some columns to the image.
void gather_columns(const Fusion& f, Index sentence, Index first, Index count, const Sentence& s) {
  for (Index start = 0; start < f.width; start += kPanel) {
    multiply_panel(&s.logits[first * f.pixels], count, f.pixels, f.pixels,
                   s.pixels.data() + start * f.pixels, std::min(kPanel, f.width - start),
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
  const Index per_thread = (f.pixels + threads * kTileRows - 1) / (threads * kTileRows) * kTileRows;
  const Index at_once = std::min(kRowsAtOnce, per_thread);
  const float* pixels = f.image_of(sentence);
  Team<Workspace> spaces(threads, at_once * f.columns());
#pragma omp parallel num_threads(threads)
  {
    float* weights = spaces.mine().get();
#pragma omp for schedule(static)
    for (Index first = 0; first < f.pixels; first += at_once) {
      fuse_pixels(f, sentence, first, std::min(at_once, f.pixels - first), s, weights);
    }
#pragma omp for schedule(static) nowait
    for (Index start = 0; start < f.width; start += kPanel) {
      pack(std::min(kPanel, f.width - start), f.pixels, s.pixels.data() + start * f.pixels,
           [&](Index c, Index pixel) { return pixels[pixel * f.width + start + c]; });
    }
#pragma omp for schedule(static)
    for (Index c = 0; c < f.columns(); ++c) weigh(f.pixels, &s.logits[c * f.pixels]);
#pragma omp for schedule(static)
    for (Index first = 0; first < f.columns(); first += kTileRows) {
      gather_columns(f, sentence, first, std::min(kTileRows, f.columns() - first), s);
    }
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_fusion_attention(const float* image, const float* folded,
                                                const std::uint8_t* padding, const float* bias,
                                                float* fused, float* seen, Index image_batch,
                                                Index batch, Index pixels, Index width, Index heads,
                                                Index tokens, int threads) try {
  const Fusion f{image, image_batch, folded, padding, bias,  fused,
                 seen,  batch,       pixels, width,   heads, tokens};
  for (Index sentence = 0; sentence < batch; ++sentence) fuse(f, sentence, threads);
  return kDone;
}
REFERDINO_CATCH
