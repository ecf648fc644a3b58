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

#include "blocks.h"
#include "head_attention.h"

namespace {

using namespace referdino;

// What Swin adds between cells that a shift has brought together.
constexpr float kUnseen = -100.0f;

constexpr Index kBiasPadding = 8;

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

  Index padded() const { return (size + kBiasPadding - 1) / kBiasPadding * kBiasPadding; }
};

template <typename Number>
void gather(const Windows& w, const Number* projections, const Number* padding, Index image,
            Index window, Index head, Head& space) {
  const Index part = w.heads * w.channels;
  for (Index i = 0; i < w.size; ++i) {
    const std::int32_t cell = w.window_cells[window * w.size + i];
    const Number* row = cell < 0 ? padding : projections + (image * w.cells + cell) * 3 * part;
    row += head * w.channels;
    space.put_query(i, row);
    space.put_key(i, row + part, row + 2 * part);
  }
}

// Adds the bias to the logits of a window's cells, and hides cells of other regions.
class Adjustment {
 public:
  Adjustment(const Windows& w, Index window, Index head, Index first)
      : bias_(w.bias + head * w.size * w.padded() + first),
        stride_(w.padded()),
        regions_(w.regions == nullptr ? nullptr : w.regions + window * w.size),
        own_{} {
    for (Index l = 0; regions_ != nullptr && l < kLanes && first + l < w.size; ++l) {
      own_[l] = regions_[first + l];
    }
  }

  Lanes operator()(Index key, Lanes logits) const {
    logits += load_lanes(bias_ + key * stride_);
    if (regions_ == nullptr) return logits;
    const IntLanes apart = own_ != static_cast<std::int32_t>(regions_[key]);
    return logits + (Lanes)((IntLanes)(Lanes{} + kUnseen) & apart);
  }

 private:
  const float* bias_;
  Index stride_;
  const std::uint8_t* regions_;
  IntLanes own_;
};

template <typename Number>
void attend_window(const Windows& w, Index image, Index window, Index head, Head& space,
                   Number* output) {
  for (Index first = 0; first < w.size; first += kLanes) {
    space.attend(first, Adjustment(w, window, head, first));
    for (Index l = 0; l < kLanes && first + l < w.size; ++l) {
      const std::int32_t cell = w.window_cells[window * w.size + first + l];
      if (cell < 0) continue;
      Number* target = output + ((image * w.cells + cell) * w.heads + head) * w.channels;
      Index c = 0;
      for (; c + kLanes <= w.channels; c += kLanes) {
        store_lanes(load_lanes(space.attended(l) + c), target + c);
      }
      for (; c < w.channels; ++c) store(space.attended(l)[c], target + c);
    }
  }
}

// A step that a team of threads does together.
template <typename Number>
void attend(const Windows& w, const Number* projections, const Number* padding, Number* output,
            Team<Head>& spaces) {
  Head& space = spaces.mine();
  space.clear();
#pragma omp for collapse(3) schedule(static)
  for (Index image = 0; image < w.images; ++image) {
    for (Index window = 0; window < w.windows; ++window) {
      for (Index head = 0; head < w.heads; ++head) {
        gather(w, projections, padding, image, window, head, space);
        attend_window(w, image, window, head, space, output);
      }
    }
  }
}

}  // namespace

REFERDINO_EXPORT int referdino_window_attention(const void* projections, const void* padding,
                                                const std::int32_t* window_cells,
                                                const std::uint8_t* regions, const float* bias,
                                                void* output, Index images, Index cells,
                                                Index windows, Index size, Index heads,
                                                Index channels, int is_bfloat16, int threads) try {
  const Windows w{images, cells, windows, size, heads, channels, window_cells, regions, bias};
  Team<Head> spaces(threads, w.size, w.size, w.channels);
#pragma omp parallel num_threads(threads)
  if (is_bfloat16 != 0) {
    attend(w, static_cast<const BFloat16*>(projections), static_cast<const BFloat16*>(padding),
           static_cast<BFloat16*>(output), spaces);
  } else {
    attend(w, static_cast<const float*>(projections), static_cast<const float*>(padding),
           static_cast<float*>(output), spaces);
  }
  return kDone;
}
REFERDINO_CATCH

// tokens + attention(before(tokens)), both (images, cells, width). A cell beyond the border, a zero, is
// projected to the bias.
REFERDINO_EXPORT int referdino_window_block(const WindowAttentionWeights* block,
                                            const float* tokens, float* output, Index images,
                                            Index cells, int threads) try {
  const Index width = block->output.outputs;
  const Windows w{images,
                  cells,
                  block->windows,
                  block->size,
                  block->heads,
                  width / block->heads,
                  block->window_cells,
                  block->regions,
                  block->bias};
  const Index rows = images * cells;
  const Workspace normed(rows * width);
  const Workspace projections(rows * 3 * width);
  Team<Head> spaces(threads, w.size, w.size, w.channels);
#pragma omp parallel num_threads(threads)
  {
    layer_norm(block->before, tokens, rows, width, normed.get());
    linear({block->projection, normed.get(), rows, projections.get()});
    // The normalised tokens are done with: what they attend to takes their memory.
    attend<float>(w, projections.get(), block->projection.bias, normed.get(), spaces);
    linear({block->output, normed.get(), rows, output, kNone, tokens});
  }
  return kDone;
}
REFERDINO_CATCH
