// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Swin's window attention on the CPU, for inference, on the joint projection of all tokens of an image.
// A table of token indices represents shifting, padding, partitioning and merging of windows, so that nothing
// is copied for them.
//
//   projections    (images, tokens, 3, heads, channels)   queries, keys, values; float32 or bfloat16
//   padding        (3, heads, channels)   projection of tokens beyond the border
//   window_tokens  (windows, size)        index of the token, -1 beyond the border
//   regions        (windows, size)        attention stays within a region; or null
//   bias           (heads, size, padded)  float32, added to the logits, by key and query; the number of queries
//                                         is padded to a multiple of eight
//   output         (images, tokens, heads, channels)

#include "blocks.h"
#include "head_attention.h"

namespace {

using namespace referdino;

// Added by Swin to the logits between different regions of a shifted window.
constexpr float kMasked = -100.0f;

constexpr Index kBiasPadding = 8;

struct Windows {
  Index images;
  Index tokens;
  Index windows;
  Index size;
  Index heads;
  Index channels;
  const std::int32_t* window_tokens;
  const std::uint8_t* regions;
  const float* bias;

  Index padded() const { return (size + kBiasPadding - 1) / kBiasPadding * kBiasPadding; }
};

template <typename Number>
void gather(const Windows& w, const Number* projections, const Number* padding, Index image,
            Index window, Index head, Head& space) {
  const Index part = w.heads * w.channels;
  for (Index i = 0; i < w.size; ++i) {
    const std::int32_t token = w.window_tokens[window * w.size + i];
    const Number* row = token < 0 ? padding : projections + (image * w.tokens + token) * 3 * part;
    row += head * w.channels;
    space.put_query(i, row);
    space.put_key(i, row + part, row + 2 * part);
  }
}

// Adds bias and region mask to the logits of a window.
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
    return logits + (Lanes)((IntLanes)(Lanes{} + kMasked) & apart);
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
      const std::int32_t token = w.window_tokens[window * w.size + first + l];
      if (token < 0) continue;
      Number* target = output + ((image * w.tokens + token) * w.heads + head) * w.channels;
      Index c = 0;
      for (; c + kLanes <= w.channels; c += kLanes) {
        store_lanes(load_lanes(space.attended(l) + c), target + c);
      }
      for (; c < w.channels; ++c) store(space.attended(l)[c], target + c);
    }
  }
}

// Shared by the threads of a parallel region.
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
                                                const std::int32_t* window_tokens,
                                                const std::uint8_t* regions, const float* bias,
                                                void* output, Index images, Index tokens,
                                                Index windows, Index size, Index heads,
                                                Index channels, int is_bfloat16, int threads) try {
  const Windows w{images, tokens, windows, size, heads, channels, window_tokens, regions, bias};
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

// tokens + attention(before(tokens)), both (images, count, width). Tokens beyond the border are zeros, which
// are projected to the bias.
REFERDINO_EXPORT int referdino_window_block(const WindowAttentionWeights* block,
                                            const float* tokens, float* output, Index images,
                                            Index count, int threads) try {
  const Index width = block->output.outputs;
  const Windows w{images,
                  count,
                  block->windows,
                  block->size,
                  block->heads,
                  width / block->heads,
                  block->window_tokens,
                  block->regions,
                  block->bias};
  const Index rows = images * count;
  const Workspace normed(rows * width);
  const Workspace projections(rows * 3 * width);
  Team<Head> spaces(threads, w.size, w.size, w.channels);
#pragma omp parallel num_threads(threads)
  {
    layer_norm(block->before, tokens, rows, width, normed.get());
    linear({block->projection, normed.get(), rows, projections.get()});
    // The attention's results reuse the memory of the normalised tokens.
    attend<float>(w, projections.get(), block->projection.bias, normed.get(), spaces);
    linear({block->output, normed.get(), rows, output, kNone, tokens});
  }
  return kDone;
}
REFERDINO_CATCH
