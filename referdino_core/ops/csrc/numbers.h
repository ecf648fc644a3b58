// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Vectors of float32 and their conversion from and to bfloat16, for the inference kernels. Written with the
// vector extensions of GCC and Clang, so that one source covers AVX-512, AVX2 and NEON.

#pragma once

#include "exports.h"

#include <cstring>

namespace referdino {

// Work below these limits is finished before a second thread has woken up.
constexpr Index kMinParallelMultiplications = 1 << 17;
constexpr Index kMinParallelElements = 1 << 14;

// The upper half of a float32.
struct BFloat16 {
  std::uint16_t bits;
};

// Elements of a vector register. Vectors longer than the processor's would be kept in memory.
#if defined(__AVX512F__)
constexpr Index kVector = 16;
#elif defined(__AVX__)
constexpr Index kVector = 8;
#else
constexpr Index kVector = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * kVector), aligned(4), may_alias));
typedef std::uint32_t VectorBits __attribute__((vector_size(4 * kVector), aligned(4), may_alias));
typedef std::uint16_t VectorHalves __attribute__((vector_size(2 * kVector), aligned(2), may_alias));

// A vector of at most eight elements, for short rows.
constexpr Index kLanes = kVector < 8 ? kVector : 8;
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t IntLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::uint32_t BitLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::uint16_t HalfLanes __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

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

inline Vector load_vector(const float* numbers) {
  return *reinterpret_cast<const Vector*>(numbers);
}
inline Vector load_vector(const BFloat16* numbers) {
  const VectorHalves halves = *reinterpret_cast<const VectorHalves*>(numbers);
  return (Vector)(__builtin_convertvector(halves, VectorBits) << 16);
}

inline void store(float value, float* target) { *target = value; }
inline void store(float value, BFloat16* target) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // Rounds to nearest, ties to even; NaN stays NaN.
  const bool is_number = value == value;
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  target->bits = static_cast<std::uint16_t>((is_number ? rounded : (bits | 0x400000u)) >> 16);
}

inline void store_lanes(Lanes values, float* target) { *reinterpret_cast<Lanes*>(target) = values; }
inline void store_lanes(Lanes values, BFloat16* target) {
  const BitLanes bits = (BitLanes)values;
  const BitLanes rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const BitLanes kept = (BitLanes)(values == values);
  const BitLanes result = ((rounded & kept) | ((bits | 0x400000u) & ~kept)) >> 16;
  *reinterpret_cast<HalfLanes*>(target) = __builtin_convertvector(result, HalfLanes);
}

inline void store_vector(Vector values, float* target) {
  *reinterpret_cast<Vector*>(target) = values;
}
inline void store_vector(Vector values, BFloat16* target) {
  float spread[kVector];
  *reinterpret_cast<Vector*>(spread) = values;
  for (Index i = 0; i < kVector; i += kLanes) store_lanes(load_lanes(spread + i), target + i);
}

// Elementwise choice: `chosen` where the mask is set, `otherwise` elsewhere.
template <typename Floats, typename Integers>
inline Floats choose(Integers mask, Floats chosen, Floats otherwise) {
  return (Floats)(((Integers)chosen & mask) | ((Integers)otherwise & ~mask));
}

// e^x for x <= 0, with a relative error of 2e-7; 0 below -87.
template <typename Floats>
inline Floats exponential(Floats x) {
  using Integers = decltype(x < x);
  const Floats lowest = Floats{} - 87.0f;
  const Integers too_low = x < lowest;
  const Floats bounded = choose(too_low, lowest, x);
  // x = n ln 2 + r with |r| <= ln 2 / 2; the constant rounds to the nearest integer.
  const float magic = 12582912.0f;
  const Floats shifted = bounded * 1.44269504f + magic;
  const Floats n = shifted - magic;
  const Floats r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats series = r * 1.9875691500e-4f + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  series = series * r * r + r + 1.0f;
  const Integers power = ((Integers)shifted - 0x4b400000) << 23;
  const Floats result = (Floats)((Integers)series + power);
  return (Floats)((Integers)result & ~too_low);
}

inline float sum_of(Lanes x) {
  float sum = 0.0f;
  for (Index i = 0; i < kLanes / 2; ++i) sum += x[i] + x[i + kLanes / 2];
  return sum;
}
inline float largest_of(Lanes x) {
  float largest = x[0];
  for (Index i = 1; i < kLanes; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}
inline Lanes larger_of(Lanes a, Lanes b) { return choose(a > b, a, b); }

}  // namespace referdino
