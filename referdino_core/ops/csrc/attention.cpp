// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-head attention on the CPU, for inference, in float32.
//
//   queries  (batch, queries, heads, channels)   rows are strided: they are part of a joint projection
//   keys     (batch, keys, heads, channels)      strided like the queries, as are the values
//   visible  (batch, 1 or queries, keys)         zero masks a key for a query; or null
//   weights  (batch, heads, queries, keys)       the attention weights; or null
//   output   (batch, queries, heads, channels)

#include "blocks.h"
#include "head_attention.h"

#include <limits>

namespace {

using namespace referdino;

struct Attention {
  const float* queries;
  Index query_stride;
  const float* keys;
  const float* values;
  Index key_stride;
  Index value_stride;
  const std::uint8_t* visible;
  Index visible_rows;
  float* weights;
  float* output;
  Index batch;
  Index query_count;
  Index key_count;
  Index heads;
  Index channels;
};

void gather(const Attention& a, Index image, Index head, Head& space) {
  for (Index q = 0; q < a.query_count; ++q) {
    const Index row = image * a.query_count + q;
    space.put_query(q, a.queries + row * a.query_stride + head * a.channels);
  }
  for (Index k = 0; k < a.key_count; ++k) {
    const Index row = image * a.key_count + k;
    space.put_key(k, a.keys + row * a.key_stride + head * a.channels,
                  a.values + row * a.value_stride + head * a.channels);
  }
}

// Masks keys for queries.
class Visibility {
 public:
  Visibility(const Attention& a, Index image, Index first) : visible_(a.visible) {
    if (visible_ == nullptr) return;
    for (Index l = 0; l < kLanes; ++l) {
      const Index query = a.visible_rows == 1 ? 0 : std::min(first + l, a.query_count - 1);
      rows_[l] = visible_ + (image * a.visible_rows + query) * a.key_count;
    }
  }

  Lanes operator()(Index key, Lanes logits) const {
    if (visible_ == nullptr) return logits;
    for (Index l = 0; l < kLanes; ++l) {
      if (rows_[l][key] == 0) logits[l] = -std::numeric_limits<float>::infinity();
    }
    return logits;
  }

 private:
  const std::uint8_t* visible_;
  const std::uint8_t* rows_[kLanes];
};

void attend(const Attention& a, Index image, Index head, Head& space) {
  gather(a, image, head, space);
  for (Index first = 0; first < a.query_count; first += kLanes) {
    space.attend(first, Visibility(a, image, first));
    const Index count = std::min(kLanes, a.query_count - first);
    for (Index l = 0; l < count; ++l) {
      const Index row = image * a.query_count + first + l;
      std::copy_n(space.attended(l), a.channels, a.output + (row * a.heads + head) * a.channels);
    }
    if (a.weights == nullptr) continue;
    float* weights = a.weights + ((image * a.heads + head) * a.query_count + first) * a.key_count;
    for (Index k = 0; k < a.key_count; ++k) {
      const Lanes column = space.weights_of(k);
      for (Index l = 0; l < count; ++l) weights[l * a.key_count + k] = column[l];
    }
  }
}

// Shared by the threads of a parallel region.
void attend(const Attention& a, Team<Head>& spaces) {
  Head& space = spaces.mine();
  space.clear();
#pragma omp for collapse(2) schedule(static)
  for (Index image = 0; image < a.batch; ++image) {
    for (Index head = 0; head < a.heads; ++head) attend(a, image, head, space);
  }
}

}  // namespace

// after(tokens + attention(tokens + positions, keys, values)), all (batch, count, width); `positions` may be
// null. `context` is (batch, context_count, width), or null for self-attention.
REFERDINO_EXPORT int referdino_attention_block(const AttentionWeights* block, const float* tokens,
                                               const float* positions, const float* context,
                                               const std::uint8_t* visible, Index visible_rows,
                                               float* weights, float* output, Index batch,
                                               Index count, Index context_count, int threads) try {
  const Index width = block->output.outputs;
  const bool is_own = context == nullptr;
  const Index rows = batch * count;
  const Index source_rows = is_own ? rows : batch * context_count;
  const Workspace positioned(positions == nullptr ? 0 : rows * width);
  const Workspace first(rows * block->positioned.outputs);
  const Workspace second(source_rows * block->source.outputs);
  const Workspace attended(rows * width);
  const float* keys = is_own ? first.get() + width : second.get();
  const float* values = is_own ? second.get() : second.get() + width;
  const Attention a{first.get(),
                    block->positioned.outputs,
                    keys,
                    values,
                    is_own ? block->positioned.outputs : block->source.outputs,
                    block->source.outputs,
                    visible,
                    visible_rows,
                    weights,
                    attended.get(),
                    batch,
                    count,
                    is_own ? count : context_count,
                    block->heads,
                    width / block->heads};
  Team<Head> spaces(threads, a.query_count, a.key_count, a.channels);
#pragma omp parallel num_threads(threads) if (rows * width * width >= kMinParallelMultiplications)
  {
    if (positions != nullptr) add(tokens, positions, rows, width, positioned.get());
    linear(
        {block->positioned, positions == nullptr ? tokens : positioned.get(), rows, first.get()});
    linear({block->source, is_own ? tokens : context, source_rows, second.get()});
    attend(a, spaces);
    linear({block->output, attended.get(), rows, output, kNone, tokens});
    layer_norm(block->after, output, rows, width, output);
  }
  return kDone;
}
REFERDINO_CATCH
