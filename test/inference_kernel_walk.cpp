// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Calls the inference kernels with blocks of memory of exactly their sizes and with the worst
// numbers, for the sanitizers to watch.

#include "inference_kernel_walk.h"

#include <cstdio>

extern "C" int referdino_deformable_inference(
    const void*, const Index*, const float*, const void*, void*, Index, Index, Index, Index, Index,
    Index, Index, Index, int, int);
extern "C" void referdino_window_attention(
    const void*, const void*, const std::int32_t*, const std::uint8_t*, const float*, void*, Index,
    Index, Index, Index, Index, Index, int, int);

template <typename Number>
void sample(Index channels, Index points, Index levels, Index reference_size) {
  const Index sizes[] = {5, 7, 3, 4, 1, 2, 1, 1}, batch = 2, queries = 5, heads = 3;
  Index cells = 0;
  for (Index l = 0; l < levels; ++l) cells += sizes[2 * l] * sizes[2 * l + 1];
  const Index samples = levels * points;
  const std::vector<Index> shapes(sizes, sizes + 2 * levels);
  const auto value = numbers<Number>(batch * cells * heads * channels, 1.0f);
  const auto rows = numbers<Number>(batch * queries * heads * samples * 3, 20.0f, true);
  const auto references = numbers<float>(queries * levels * reference_size, 2.0f, true);
  std::vector<Number> output(batch * queries * heads * channels);
  referdino_deformable_inference(value.data(), shapes.data(), references.data(), rows.data(),
                                 output.data(), batch, 1, queries, heads, channels, levels, points,
                                 reference_size, sizeof(Number) == 2, 1);
}

template <typename Number>
void attend(Index window, Index channels) {
  const Index images = 2, windows = 2, size = window * window, heads = 2, cells = 2 * size - 3;
  const auto projections = numbers<Number>(images * cells * 3 * heads * channels, 3.0f);
  const auto padding = numbers<Number>(3 * heads * channels, 1.0f);
  const Index padded = (size + 7) / 8 * 8;
  const auto bias = numbers<float>(heads * size * padded, 1.0f);
  std::vector<std::int32_t> table(windows * size);
  std::vector<std::uint8_t> regions(windows * size);
  for (Index i = 0; i < windows * size; ++i) {
    table[i] = i < cells ? static_cast<std::int32_t>(i) : -1;
    regions[i] = static_cast<std::uint8_t>(i % 3);
  }
  std::vector<Number> output(images * cells * heads * channels);
  referdino_window_attention(projections.data(), padding.data(), table.data(), regions.data(),
                             bias.data(), output.data(), images, cells, windows, size, heads,
                             channels, sizeof(Number) == 2, 1);
}

template <typename Number>
void walk() {
  for (Index channels : {1, 8, 16, 20, 32, 40})
    for (Index points : {1, 4, 16})
      for (Index levels : {1, 4})
        for (Index size : {2, 4}) sample<Number>(channels, points, levels, size);
  for (Index window : {3, 5, 7, 12})
    for (Index channels : {5, 8, 12, 32, 40}) attend<Number>(window, channels);
}

int main() {
  walk<float>();
  walk<std::uint16_t>();
  walk_layers();
  std::puts("walked");
}
