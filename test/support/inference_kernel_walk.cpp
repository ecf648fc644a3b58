// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Calls the kernels with blocks of memory of exactly their sizes and with the worst numbers, for the
// sanitizers to watch; or refuses them memory.

#include "inference_kernel_walk.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

extern "C" {
int referdino_deformable_inference(const void*, const Index*, const float*, const void*, void*,
                                   Index, Index, Index, Index, Index, Index, Index, Index, int,
                                   int);
int referdino_window_attention(const void*, const void*, const std::int32_t*, const std::uint8_t*,
                               const float*, void*, Index, Index, Index, Index, Index, Index, int,
                               int);
int referdino_deformable_attention_forward(const float*, const Index*, const float*, const float*,
                                           float*, Index, Index, Index, Index, Index, Index, int);
int referdino_deformable_attention_backward(const float*, const Index*, const float*, const float*,
                                            const float*, float*, float*, float*, Index, Index,
                                            Index, Index, Index, Index, int);
}

namespace {

constexpr int kThreads = 2;

void expect(int status, int expected) {
  if (status == expected) return;
  std::printf("status %d instead of %d\n", status, expected);
  std::exit(1);
}

}  // namespace

#ifdef REFERDINO_FAILING_ALLOCATIONS

namespace {

constexpr int kOutOfMemory = 2;
constexpr long kAll = -1;

std::atomic<long> granted(kAll);  // allocations, before one is refused
long refused = 0;

}  // namespace

void* operator new(std::size_t size) {
  if (granted >= 0 && granted-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

void call(const std::function<int()>& kernel) {
  for (long number = 0;; ++number) {
    granted = number;
    const int status = kernel();
    const bool was_refused = granted == kAll;
    granted = kAll;
    expect(status, was_refused ? kOutOfMemory : 0);
    if (!was_refused) return;
    ++refused;
  }
}

#else

namespace {

const long refused = 0;

}  // namespace

void call(const std::function<int()>& kernel) { expect(kernel(), 0); }

#endif

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
  call([&] {
    return referdino_deformable_inference(
        value.data(), shapes.data(), references.data(), rows.data(), output.data(), batch, 1,
        queries, heads, channels, levels, points, reference_size, sizeof(Number) == 2, kThreads);
  });
}

void sample_with_gradients(Index channels, Index points, Index levels) {
  const Index sizes[] = {5, 7, 3, 4, 1, 2, 1, 1}, batch = 2, queries = 5, heads = 3;
  Index cells = 0;
  for (Index l = 0; l < levels; ++l) cells += sizes[2 * l] * sizes[2 * l + 1];
  const Index samples = batch * queries * heads * levels * points;
  const std::vector<Index> shapes(sizes, sizes + 2 * levels);
  const auto value = numbers<float>(batch * cells * heads * channels, 1.0f);
  const auto locations = numbers<float>(samples * 2, 2.0f, true);
  const auto weights = numbers<float>(samples, 1.0f);
  std::vector<float> output(batch * queries * heads * channels), to_value(value.size());
  std::vector<float> to_locations(locations.size()), to_weights(weights.size());
  call([&] {
    return referdino_deformable_attention_forward(value.data(), shapes.data(), locations.data(),
                                                  weights.data(), output.data(), batch, queries,
                                                  heads, channels, levels, points, kThreads);
  });
  call([&] {
    return referdino_deformable_attention_backward(
        value.data(), shapes.data(), locations.data(), weights.data(), output.data(),
        to_value.data(), to_locations.data(), to_weights.data(), batch, queries, heads, channels,
        levels, points, kThreads);
  });
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
  call([&] {
    return referdino_window_attention(projections.data(), padding.data(), table.data(),
                                      regions.data(), bias.data(), output.data(), images, cells,
                                      windows, size, heads, channels, sizeof(Number) == 2,
                                      kThreads);
  });
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
  for (Index channels : {1, 8, 16, 24, 32, 40})
    for (Index points : {1, 4, 16})
      for (Index levels : {1, 4}) sample_with_gradients(channels, points, levels);
  walk_layers();
  std::printf("walked, refusing %ld allocations\n", refused);
}
