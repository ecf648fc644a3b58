// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Vectors of float32 and their exchange with bfloat16, for the inference kernels. Written with the
// vector extensions that GCC and Clang share, so that the same source serves AVX-512, AVX2 and NEON.

#pragma once

#include <cstdint>
#include <cstring>

namespace referdino {

using Index = std::int64_t;

// The upper half of a float32.
struct BFloat16 {
  std::uint16_t bits;
};

constexpr Index kLanes = 8;
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t IntLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::uint32_t BitLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::uint16_t HalfLanes __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// Sixteen at a time, for what streams through memory.
constexpr Index kWide = 16;
typedef float WideLanes __attribute__((vector_size(4 * kWide), aligned(4), may_alias));
typedef std::uint32_t WideBits __attribute__((vector_size(4 * kWide), aligned(4), may_alias));
typedef std::uint16_t WideHalves __attribute__((vector_size(2 * kWide), aligned(2), may_alias));

inline float load(const float* number) { return *number; }
inline float load(const BFloat16* number) {
  const std::uint32_t bits = static_cast<std::uint32_t>(number->bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline Lanes load_lanes(const float* numbers) { return *reinterpret_cast<const Lanes*>(numbers); }
inline Lanes load_lanes(const BFloat16* numbers) {
  const HalfLanes halves = *reinterpret_cast<const HalfLanes*>(numbers);
  return (Lanes)(__builtin_convertvector(halves, BitLanes) << 16);
}

inline WideLanes load_wide(const float* numbers) {
  return *reinterpret_cast<const WideLanes*>(numbers);
}
inline WideLanes load_wide(const BFloat16* numbers) {
  const WideHalves halves = *reinterpret_cast<const WideHalves*>(numbers);
  return (WideLanes)(__builtin_convertvector(halves, WideBits) << 16);
}

inline void store(float value, float* target) { *target = value; }
inline void store(float value, BFloat16* target) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // To the nearest, ties to even; what is not a number stays one.
  const bool is_number = value == value;
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  target->bits = static_cast<std::uint16_t>((is_number ? rounded : (bits | 0x400000u)) >> 16);
}

inline void store_lanes(Lanes values, float* target) {
  *reinterpret_cast<Lanes*>(target) = values;
}
inline void store_lanes(Lanes values, BFloat16* target) {
  const BitLanes bits = (BitLanes)values;
  const BitLanes rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const BitLanes kept = (BitLanes)(values == values);
  const BitLanes result = ((rounded & kept) | ((bits | 0x400000u) & ~kept)) >> 16;
  *reinterpret_cast<HalfLanes*>(target) = __builtin_convertvector(result, HalfLanes);
}

inline void store_wide(WideLanes values, float* target) {
  *reinterpret_cast<WideLanes*>(target) = values;
}
inline void store_wide(WideLanes values, BFloat16* target) {
  float spread[kWide];
  *reinterpret_cast<WideLanes*>(spread) = values;
  store_lanes(load_lanes(spread), target);
  store_lanes(load_lanes(spread + kLanes), target + kLanes);
}

// e^x for x <= 0, to 2e-7 of its value; 0 below -87.
inline Lanes exponential(Lanes x) {
  const Lanes lowest = Lanes{} - 87.0f;
  const IntLanes too_low = x < lowest;
  const Lanes bounded = (Lanes)(((IntLanes)x & ~too_low) | ((IntLanes)lowest & too_low));
  // x = n ln 2 + r with |r| <= ln 2 / 2; the constant rounds to the nearest integer.
  const float magic = 12582912.0f;
  const Lanes shifted = bounded * 1.44269504f + magic;
  const Lanes n = shifted - magic;
  const Lanes r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes series = r * 1.9875691500e-4f + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  series = series * r * r + r + 1.0f;
  const IntLanes power = ((IntLanes)shifted - 0x4b400000) << 23;
  const Lanes result = (Lanes)((IntLanes)series + power);
  return (Lanes)((IntLanes)result & ~too_low);
}

inline float sum_of(Lanes x) {
  return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}
inline float largest_of(Lanes x) {
  float largest = x[0];
  for (Index i = 1; i < kLanes; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}
inline Lanes larger_of(Lanes a, Lanes b) {
  const IntLanes mask = a > b;
  return (Lanes)(((IntLanes)a & mask) | ((IntLanes)b & ~mask));
}

}  // namespace referdino
