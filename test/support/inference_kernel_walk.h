// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Blocks of memory of exactly their sizes, with the worst numbers where they are `wild`.

#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

using Index = std::int64_t;

inline std::mt19937 generator(0);

inline float number(float reach) {
  return std::uniform_real_distribution<float>(-reach, reach)(generator);
}

inline void write(float value, float& to) { to = value; }
inline void write(float value, std::uint16_t& to) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  to = static_cast<std::uint16_t>(bits >> 16);
}

template <typename Number>
std::vector<Number> numbers(Index count, float reach, bool wild = false) {
  const float worst[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e7f};
  std::vector<Number> made(count);
  for (Index i = 0; i < count; ++i)
    write(wild && i % 3 == 0 ? worst[i % 7 % 6] : number(reach), made[i]);
  return made;
}

// Calls a kernel, which has to succeed; with REFERDINO_FAILING_ALLOCATIONS once more for each of the
// allocations in it, which is then refused: the kernel has to say so.
void call(const std::function<int()>& kernel);

// Linear layers, attention blocks and what else works on tokens.
void walk_layers();
