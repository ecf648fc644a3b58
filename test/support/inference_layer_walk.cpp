// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0

#include "inference_kernel_walk.h"

#include "blocks.h"

using referdino::LinearWeights;
using referdino::NormWeights;

using referdino::AttentionWeights;
using referdino::DeformableAttentionWeights;
using referdino::FeedForwardWeights;
using referdino::WindowAttentionWeights;

extern "C" {
Index referdino_packed_size(Index, Index);
int referdino_pack_linear(const float*, Index, Index, float*);
int referdino_linear(const float*, Index, Index, const float*, const float*, Index, const float*,
                     int, float*, int);
int referdino_feed_forward(const FeedForwardWeights*, const float*, Index, float*, int);
int referdino_attention_block(const AttentionWeights*, const float*, const float*, const float*,
                              const std::uint8_t*, Index, float*, float*, Index, Index, Index, int);
int referdino_deformable_block(const DeformableAttentionWeights*, const float*, const float*, Index,
                               const float*, const Index*, Index, const float*, Index, Index,
                               float*, Index, Index, int);
int referdino_window_block(const WindowAttentionWeights*, const float*, float*, Index, Index, int);
int referdino_convolution(const float*, const float*, const float*, float*, Index, Index, Index,
                          Index, Index, Index, int);
int referdino_group_norm(const float*, const float*, const float*, float*, Index, Index, Index,
                         Index, float, int);
int referdino_fusion_attention(const float*, const float*, const std::uint8_t*, const float*,
                               float*, float*, Index, Index, Index, Index, Index, Index, int);
}

namespace {

constexpr float kEpsilon = 1e-5f;
constexpr int kThreads = 2;  // the walk itself is built without threads

std::vector<float> pack(Index outputs, Index inputs) {
  const auto weights = numbers<float>(outputs * inputs, 1.0f);
  std::vector<float> packed(referdino_packed_size(outputs, inputs));
  call([&] { return referdino_pack_linear(weights.data(), outputs, inputs, packed.data()); });
  return packed;
}

std::vector<std::uint8_t> flags(Index count) {
  std::vector<std::uint8_t> made(count);
  for (Index i = 0; i < count; ++i) made[i] = i % 3 == 1;
  return made;
}

// A linear layer and the memory of its weights.
struct Layer {
  std::vector<float> packed;
  std::vector<float> bias;
  Index inputs;
  Index outputs;

  Layer(Index inputs, Index outputs)
      : packed(pack(outputs, inputs)),
        bias(numbers<float>(outputs, 1.0f)),
        inputs(inputs),
        outputs(outputs) {}
  LinearWeights weights() const { return {packed.data(), bias.data(), inputs, outputs}; }
};

struct Norm {
  std::vector<float> weight;
  std::vector<float> bias;

  explicit Norm(Index width)
      : weight(numbers<float>(width, 1.0f)), bias(numbers<float>(width, 1.0f)) {}
  NormWeights weights() const { return {weight.data(), bias.data(), kEpsilon}; }
};

void apply_linear(Index rows, Index inputs, Index outputs, bool wild) {
  const Layer layer(inputs, outputs);
  const auto input = numbers<float>(rows * inputs, 10.0f, wild);
  const auto added = numbers<float>(rows * outputs, 1.0f, wild);
  for (int activation = 0; activation < 3; ++activation) {
    std::vector<float> output(rows * outputs);
    call([&] {
      return referdino_linear(input.data(), rows, inputs, layer.packed.data(), layer.bias.data(),
                              outputs, added.data(), activation, output.data(), kThreads);
    });
    call([&] {
      return referdino_linear(input.data(), rows, inputs, layer.packed.data(), nullptr, outputs,
                              nullptr, activation, output.data(), kThreads);
    });
  }
}

void feed_forward(Index rows, Index width, Index inside, bool wild) {
  const Norm norm(width);
  const Layer first(width, inside), second(inside, width);
  const auto input = numbers<float>(rows * width, 10.0f, wild);
  for (const Index activation : {1, 2}) {
    const FeedForwardWeights before{
        norm.weights(), first.weights(), activation, second.weights(), {}};
    const FeedForwardWeights after{
        {}, first.weights(), activation, second.weights(), norm.weights()};
    std::vector<float> output(rows * width);
    call([&] {
      return referdino_feed_forward(&before, input.data(), rows, output.data(), kThreads);
    });
    call([&] {
      return referdino_feed_forward(&after, input.data(), rows, output.data(), kThreads);
    });
  }
}

void attend_in_blocks(Index queries, Index keys, Index channels, bool wild) {
  const Index batch = 2, heads = 3, width = heads * channels;
  const Norm norm(width);
  const Layer one(width, width), two(width, 2 * width), output(width, width);
  const auto tokens = numbers<float>(batch * queries * width, 3.0f, wild);
  const auto context = numbers<float>(batch * keys * width, 3.0f, wild);
  const auto own_visible = flags(batch * queries * queries);
  const auto visible = flags(batch * keys);
  const AttentionWeights own{two.weights(), one.weights(), output.weights(), norm.weights(), heads};
  const AttentionWeights other{one.weights(), two.weights(), output.weights(), norm.weights(),
                               heads};
  std::vector<float> own_weights(batch * heads * queries * queries);
  std::vector<float> weights(batch * heads * queries * keys), attended(batch * queries * width);
  for (const float* positions : {static_cast<const float*>(nullptr), tokens.data()}) {
    call([&] {
      return referdino_attention_block(&own, tokens.data(), positions, nullptr, own_visible.data(),
                                       queries, own_weights.data(), attended.data(), batch, queries,
                                       0, kThreads);
    });
    call([&] {
      return referdino_attention_block(&other, tokens.data(), positions, context.data(),
                                       visible.data(), 1, weights.data(), attended.data(), batch,
                                       queries, keys, kThreads);
    });
    call([&] {
      return referdino_attention_block(&other, tokens.data(), positions, context.data(), nullptr, 0,
                                       nullptr, attended.data(), batch, queries, keys, kThreads);
    });
  }
}

void sample_in_blocks(Index queries, Index levels, Index reference_size, bool wild) {
  const Index sizes[] = {5, 7, 3, 4, 1, 2, 1, 1}, batch = 2, heads = 3, points = 4, width = 48;
  Index cells = 0;
  for (Index l = 0; l < levels; ++l) cells += sizes[2 * l] * sizes[2 * l + 1];
  const std::vector<Index> shapes(sizes, sizes + 2 * levels);
  const Norm norm(width);
  const Layer located(width, heads * levels * points * 3), value(width, width),
      output(width, width);
  const DeformableAttentionWeights block{located.weights(), value.weights(), output.weights(),
                                         norm.weights(),    heads,           points};
  const auto tokens = numbers<float>(batch * queries * width, 10.0f, wild);
  const auto memory = numbers<float>(batch * cells * width, 1.0f, wild);
  for (const Index shared : {1, 2}) {
    const auto positions = numbers<float>(shared * queries * width, 1.0f, wild);
    const auto references = numbers<float>(shared * queries * levels * reference_size, 2.0f, wild);
    std::vector<float> sampled(batch * queries * width);
    call([&] {
      return referdino_deformable_block(
          &block, tokens.data(), positions.data(), shared, memory.data(), shapes.data(), levels,
          references.data(), shared, reference_size, sampled.data(), batch, queries, kThreads);
    });
  }
}

void attend_in_windows(Index window, Index channels, bool wild) {
  const Index images = 2, windows = 2, size = window * window, heads = 2, cells = 2 * size - 3;
  const Index width = heads * channels;
  const Norm norm(width);
  const Layer projection(width, 3 * width), output(width, width);
  std::vector<std::int32_t> table(windows * size);
  for (Index i = 0; i < windows * size; ++i) {
    table[i] = i < cells ? static_cast<std::int32_t>(i) : -1;
  }
  const auto regions = flags(windows * size);
  const auto bias = numbers<float>(heads * size * ((size + 7) / 8 * 8), 1.0f);
  const auto tokens = numbers<float>(images * cells * width, 3.0f, wild);
  for (const std::uint8_t* given : {static_cast<const std::uint8_t*>(nullptr), regions.data()}) {
    const WindowAttentionWeights block{
        norm.weights(), projection.weights(), output.weights(), table.data(),
        given,          bias.data(),          windows,          size,
        heads};
    std::vector<float> attended(images * cells * width);
    call([&] {
      return referdino_window_block(&block, tokens.data(), attended.data(), images, cells,
                                    kThreads);
    });
  }
}

void convolve(Index height, Index width, Index inputs, Index outputs, bool wild) {
  const Index images = 2;
  const Layer layer(9 * inputs, outputs);
  const auto input = numbers<float>(images * height * width * inputs, 10.0f, wild);
  for (const Index step : {1, 2, 3}) {
    const Index rows = (height + step - 1) / step, columns = (width + step - 1) / step;
    std::vector<float> output(images * rows * columns * outputs);
    call([&] {
      return referdino_convolution(input.data(), layer.packed.data(), layer.bias.data(),
                                   output.data(), images, height, width, inputs, outputs, step,
                                   kThreads);
    });
  }
}

void normalise_groups(Index cells, Index channels, Index groups, bool wild) {
  const Index images = 2;
  const Norm norm(channels);
  const auto input = numbers<float>(images * cells * channels, 10.0f, wild);
  std::vector<float> output(images * cells * channels);
  call([&] {
    return referdino_group_norm(input.data(), norm.weight.data(), norm.bias.data(), output.data(),
                                images, cells, channels, groups, kEpsilon, kThreads);
  });
}

void fuse(Index cells, Index tokens, Index width, bool wild) {
  const Index batch = 2, heads = 3;
  const auto folded = numbers<float>(batch * tokens * heads * (2 * width + 1), 3.0f, wild);
  const auto bias = numbers<float>(width, 1.0f);
  const auto hidden = flags(batch * tokens);
  for (const Index images : {Index{1}, batch}) {
    const auto image = numbers<float>(images * cells * width, 3.0f, wild);
    std::vector<float> fused(batch * cells * width), seen(batch * tokens * heads * width);
    call([&] {
      return referdino_fusion_attention(image.data(), folded.data(), hidden.data(), bias.data(),
                                        fused.data(), seen.data(), images, batch, cells, width,
                                        heads, tokens, kThreads);
    });
  }
}

}  // namespace

void walk_layers() {
  for (const bool wild : {false, true}) {
    for (const Index rows : {1, 5, 6, 7, 8, 9, 17, 130})
      for (const Index outputs : {1, 15, 16, 17, 32, 33, 65})
        for (const Index inputs : {1, 7, 257}) apply_linear(rows, inputs, outputs, wild);
    for (const Index width : {1, 7, 8, 9, 16, 33}) {
      feed_forward(130, width, 70, wild);
    }
    for (const Index queries : {1, 7, 8, 9})
      for (const Index keys : {1, 6, 7, 8, 15})
        for (const Index channels : {1, 8, 12, 24, 32, 56}) {
          attend_in_blocks(queries, keys, channels, wild);
        }
    for (const Index queries : {1, 9})
      for (const Index levels : {1, 4})
        for (const Index size : {2, 4}) sample_in_blocks(queries, levels, size, wild);
    for (const Index window : {3, 5, 7})
      for (const Index channels : {8, 32, 40}) attend_in_windows(window, channels, wild);
    for (const Index height : {1, 2, 5})
      for (const Index width : {1, 4, 7})
        for (const Index inputs : {1, 3, 8}) convolve(height, width, inputs, 33, wild);
    for (const Index cells : {1, 63, 64, 130}) {
      normalise_groups(cells, 8, 4, wild);
      normalise_groups(cells, 21, 3, wild);
      for (const Index tokens : {1, 5, 17})
        for (const Index width : {8, 20, 40}) fuse(cells, tokens, width, wild);
    }
  }
}
