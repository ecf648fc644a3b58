// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention in one GPU thread, and the choice of the variant for a call.
//
// The code also compiles for CPUs. Threads are independent, so that the code of the GPU can be run and
// tested thread by thread on a machine without one.

#ifndef REFERDINO_DEFORMABLE_ATTENTION_THREAD_H_
#define REFERDINO_DEFORMABLE_ATTENTION_THREAD_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "deformable_attention_cuda.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define REFERDINO_BOTH __host__ __device__ __forceinline__
#else
#define REFERDINO_BOTH inline
#endif

#ifdef __CUDA_ARCH__
#define REFERDINO_UNROLL(times) _Pragma(REFERDINO_TEXT(unroll times))
#define REFERDINO_TEXT(words) #words
#else
#define REFERDINO_UNROLL(times)
#endif

namespace referdino {

REFERDINO_BOTH float float_of_bits(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}

REFERDINO_BOTH std::uint32_t bits_of_float(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
#endif
}

// ---- Element types -------------------------------------------------------------------------------

struct Float32 {
  using Bits = std::uint32_t;
  static REFERDINO_BOTH float read(Bits bits) { return float_of_bits(bits); }
  static REFERDINO_BOTH Bits write(float value) { return bits_of_float(value); }
};

struct BFloat16 {
  using Bits = std::uint16_t;
  static REFERDINO_BOTH float read(Bits bits) {
    return float_of_bits(static_cast<std::uint32_t>(bits) << 16);
  }
  static REFERDINO_BOTH Bits write(float value) {
    const std::uint32_t bits = bits_of_float(value);
    if (value != value) return static_cast<Bits>((bits >> 16) | 0x0040u);
    return static_cast<Bits>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

struct Float16 {
  using Bits = std::uint16_t;

#ifdef __CUDA_ARCH__
  static REFERDINO_BOTH float read(Bits bits) { return __half2float(__ushort_as_half(bits)); }
  static REFERDINO_BOTH Bits write(float value) { return __half_as_ushort(__float2half_rn(value)); }
#else
  static inline float read(Bits bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fu;
    const std::uint32_t mantissa = bits & 0x03ffu;
    if (exponent == 0) {
      const float size = static_cast<float>(mantissa) * 0x1p-24f;
      return sign != 0 ? -size : size;
    }
    const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    return float_of_bits(sign | (wide << 23) | (mantissa << 13));
  }
  static inline Bits write(float value) {
    const std::uint32_t bits = bits_of_float(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t size = bits & 0x7fffffffu;
    std::uint32_t rounded;
    if (size > 0x7f800000u) {
      rounded = 0x7e00u;
    } else if (size >= 0x477ff000u) {
      rounded = 0x7c00u;
    } else if (size >= 0x38800000u) {
      rounded = (size + 0x0fffu + ((size >> 13) & 1u) - 0x38000000u) >> 13;
    } else {
      rounded = static_cast<std::uint32_t>(std::nearbyint(float_of_bits(size) * 0x1p24f));
    }
    return static_cast<Bits>(sign | rounded);
  }
#endif
};

// ---- Neighbouring channels of a token ------------------------------------------------------------

// Channels of 16 bytes, which are read at once, or a single channel.
template <class Type, int kLanes>
struct Packet {
  static_assert(kLanes == 1 || kLanes * sizeof(typename Type::Bits) == 16, "16 bytes or one value");
  using Bits = typename Type::Bits;
  static constexpr int kWords = 4;

  std::uint32_t word[kWords];

  static REFERDINO_BOTH Packet zero() { return Packet{{0u, 0u, 0u, 0u}}; }

  static REFERDINO_BOTH Packet load(const Bits* from) {
    Packet packet = zero();
    if constexpr (kLanes == 1) {
      packet.word[0] = *from;
    } else {
#ifdef __CUDA_ARCH__
      const uint4 words = __ldg(reinterpret_cast<const uint4*>(from));
      packet.word[0] = words.x;
      packet.word[1] = words.y;
      packet.word[2] = words.z;
      packet.word[3] = words.w;
#else
      std::memcpy(packet.word, from, sizeof(packet.word));
#endif
    }
    return packet;
  }

  REFERDINO_BOTH void store(Bits* to) const {
    if constexpr (kLanes == 1) {
      *to = static_cast<Bits>(word[0]);
    } else {
#ifdef __CUDA_ARCH__
      *reinterpret_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
#else
      std::memcpy(to, word, sizeof(word));
#endif
    }
  }

  REFERDINO_BOTH float get(int lane) const {
    if constexpr (sizeof(Bits) == 4) {
      return Type::read(word[lane]);
    } else {
      return Type::read(static_cast<Bits>(word[lane / 2] >> (lane % 2 * 16)));
    }
  }

  REFERDINO_BOTH void set(int lane, float value) {
    const std::uint32_t bits = Type::write(value);
    if constexpr (sizeof(Bits) == 4) {
      word[lane] = bits;
    } else {
      word[lane / 2] |= bits << (lane % 2 * 16);
    }
  }
};

// ---- The problem, as passed to every thread ------------------------------------------------------

struct Levels {
  std::int32_t count;
  std::int32_t points;
  std::int32_t height[kReferdinoMaximumLevels];
  std::int32_t width[kReferdinoMaximumLevels];
  std::int32_t first_token[kReferdinoMaximumLevels];
};

struct Problem {
  const void* value;
  const float* locations;
  const void* logits;
  void* output;
  std::int64_t rows;            // one head of one query of one image each
  std::int64_t rows_per_image;  // queries * heads
  std::int64_t tokens;
  std::int64_t heads;
  std::int64_t channels;
  Levels levels;
};

// One axis of a sample: the pixel before it, and the interpolation weights of that pixel and the next.
template <class Real>
struct Axis {
  std::int32_t before;
  Real weight_before;
  Real weight_after;
};

REFERDINO_BOTH float round_down(float number) { return floorf(number); }
REFERDINO_BOTH double round_down(double number) { return floor(number); }
REFERDINO_BOTH float exponential(float number) { return expf(number); }
REFERDINO_BOTH double exponential(double number) { return exp(number); }

template <class Real>
REFERDINO_BOTH Axis<Real> find_axis(Real location, std::int32_t pixels) {
  const Real size = static_cast<Real>(pixels);
  const Real half = static_cast<Real>(0.5);
  // At -1 and at 2 no pixel is reached. NaN becomes -1 as well.
  const Real bounded_below = location > -1 ? location : static_cast<Real>(-1);
  const Real bounded = bounded_below < 2 ? bounded_below : static_cast<Real>(2);
  const Real before = round_down(bounded * size - half);
  // With fused multiply-adds this form loses no precision for large levels.
  const Real fraction = bounded * size - (before + half);
  return Axis<Real>{static_cast<std::int32_t>(before), 1 - fraction, fraction};
}

REFERDINO_BOTH bool is_inside(std::int32_t pixel, std::int32_t pixels) {
  return static_cast<std::uint32_t>(pixel) < static_cast<std::uint32_t>(pixels);
}

struct Location {
  float x;
  float y;
};

REFERDINO_BOTH Location load_location(const float* locations, std::int32_t sample) {
#ifdef __CUDA_ARCH__
  const float2 pair = __ldg(reinterpret_cast<const float2*>(locations) + sample);
  return Location{pair.x, pair.y};
#else
  return Location{locations[2 * sample], locations[2 * sample + 1]};
#endif
}

// Adds the weighted value of one sample for some channels. A token outside the level is not read: the
// memory there belongs to another level, and NaN times zero is not zero.
template <class Value, int kLanes>
REFERDINO_BOTH void add_sample(const typename Value::Bits* level, std::int64_t token_stride,
                               std::int32_t height, std::int32_t width, Location location,
                               float weight, float (&sum)[kLanes]) {
  using Channels = Packet<Value, kLanes>;
  const Axis<float> x = find_axis(location.x, width);
  const Axis<float> y = find_axis(location.y, height);
  const bool has_column[2] = {is_inside(x.before, width), is_inside(x.before + 1, width)};
  const bool has_row[2] = {is_inside(y.before, height), is_inside(y.before + 1, height)};
  const float weight_x[2] = {x.weight_before, x.weight_after};
  const float weight_y[2] = {weight * y.weight_before, weight * y.weight_after};

  Channels corner[4];
  REFERDINO_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    const std::int64_t token =
        static_cast<std::int64_t>(y.before + i / 2) * width + (x.before + i % 2);
    corner[i] = has_row[i / 2] && has_column[i % 2] ? Channels::load(level + token * token_stride)
                                                    : Channels::zero();
  }
  REFERDINO_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    const float factor = weight_y[i / 2] * weight_x[i % 2];
    REFERDINO_UNROLL(8)
    for (int lane = 0; lane < kLanes; ++lane) sum[lane] += factor * corner[i].get(lane);
  }
}

// The work of one thread: kLanes channels of one head of one query. Weights are normalised at the very
// end, so that the logits are read twice and never stored.
template <class Value, class Logit, int kLanes, class Index>
REFERDINO_BOTH void attend(const Problem& problem, Index thread) {
  using Number = typename Value::Bits;
  const Index packets = static_cast<Index>(problem.channels / kLanes);
  const Index row = thread / packets;
  const Index image = row / static_cast<Index>(problem.rows_per_image);
  const Index head = row % static_cast<Index>(problem.heads);
  const std::int64_t first_channel = static_cast<std::int64_t>(thread - row * packets) * kLanes;
  const std::int64_t token_stride = problem.heads * problem.channels;
  const std::int32_t samples = problem.levels.count * problem.levels.points;
  const std::int64_t first_sample = static_cast<std::int64_t>(row) * samples;

  const Number* value = static_cast<const Number*>(problem.value) +
                        static_cast<std::int64_t>(image) * problem.tokens * token_stride +
                        static_cast<std::int64_t>(head) * problem.channels + first_channel;
  const float* locations = problem.locations + 2 * first_sample;
  const typename Logit::Bits* logits =
      static_cast<const typename Logit::Bits*>(problem.logits) + first_sample;

  float largest = -INFINITY;
  for (std::int32_t sample = 0; sample < samples; ++sample) {
    largest = fmaxf(largest, Logit::read(logits[sample]));
  }

  float sum[kLanes] = {};
  float total = 0.0f;
  std::int32_t sample = 0;
  for (std::int32_t level = 0; level < problem.levels.count; ++level) {
    const std::int32_t height = problem.levels.height[level];
    const std::int32_t width = problem.levels.width[level];
    const Number* tokens = value + problem.levels.first_token[level] * token_stride;
    REFERDINO_UNROLL(1)  // two samples at once would take the registers of the four parallel loads
    for (std::int32_t point = 0; point < problem.levels.points; ++point, ++sample) {
      const float weight = exponential(Logit::read(logits[sample]) - largest);
      total += weight;
      add_sample<Value, kLanes>(tokens, token_stride, height, width,
                                load_location(locations, sample), weight, sum);
    }
  }

  const float scale = 1.0f / total;
  Packet<Value, kLanes> output = Packet<Value, kLanes>::zero();
  REFERDINO_UNROLL(8)
  for (int lane = 0; lane < kLanes; ++lane) output.set(lane, sum[lane] * scale);
  output.store(static_cast<Number*>(problem.output) +
               static_cast<std::int64_t>(row) * problem.channels + first_channel);
}

// ---- Choice of the variant for a call ------------------------------------------------------------

// False for invalid calls.
inline bool read_call(const ReferdinoDeformableAttention& call, Problem& problem) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  constexpr std::int64_t kLargestSide = 1 << 24;  // float32 cannot distinguish pixels beyond
  if (call.levels < 1 || call.levels > kReferdinoMaximumLevels || call.points < 1) return false;
  if (call.points > kLargest / call.levels) return false;
  if (call.batch < 0 || call.queries < 0 || call.heads < 1 || call.channels < 1) return false;
  if (reinterpret_cast<std::uintptr_t>(call.locations) % 8 != 0) return false;
  problem.value = call.value;
  problem.locations = call.locations;
  problem.logits = call.logits;
  problem.output = call.output;
  problem.rows_per_image = call.queries * call.heads;
  problem.rows = call.batch * problem.rows_per_image;
  problem.tokens = 0;
  problem.heads = call.heads;
  problem.channels = call.channels;
  problem.levels = Levels{};
  problem.levels.count = call.levels;
  problem.levels.points = call.points;
  for (std::int32_t level = 0; level < call.levels; ++level) {
    const std::int64_t height = call.level_sizes[2 * level];
    const std::int64_t width = call.level_sizes[2 * level + 1];
    if (height < 1 || width < 1 || height > kLargestSide || width > kLargestSide) return false;
    if (problem.tokens + height * width > kLargest) return false;
    problem.levels.height[level] = static_cast<std::int32_t>(height);
    problem.levels.width[level] = static_cast<std::int32_t>(width);
    problem.levels.first_token[level] = static_cast<std::int32_t>(problem.tokens);
    problem.tokens += height * width;
  }
  return true;
}

// Number of threads below which 32-bit indices are used, whose division is faster.
constexpr std::int64_t kShortIndexLimit = std::int64_t{1} << 31;

template <class Value, class Logit, int kLanes, class Launcher>
int launch_lanes(const Problem& problem, const Launcher& launcher, std::int64_t short_index_limit) {
  const std::int64_t threads = problem.rows * (problem.channels / kLanes);
  if (threads < short_index_limit) {
    return launcher.template launch<Value, Logit, kLanes, std::uint32_t>(problem, threads);
  }
  return launcher.template launch<Value, Logit, kLanes, std::uint64_t>(problem, threads);
}

template <class Value, class Logit, class Launcher>
int launch_types(const Problem& problem, const Launcher& launcher, std::int64_t short_index_limit) {
  constexpr int kLanes = 16 / sizeof(typename Value::Bits);
  const auto addresses = reinterpret_cast<std::uintptr_t>(problem.value) |
                         reinterpret_cast<std::uintptr_t>(problem.output);
  if (problem.channels % kLanes == 0 && addresses % 16 == 0) {
    return launch_lanes<Value, Logit, kLanes>(problem, launcher, short_index_limit);
  }
  return launch_lanes<Value, Logit, 1>(problem, launcher, short_index_limit);
}

// Calls `launcher.launch<Value, Logit, kLanes, Index>(problem, threads)` with the variant for the call, and
// returns its result; returns 0 without launching if there is nothing to do, and `invalid` for an invalid
// call.
template <class Launcher>
int dispatch(const ReferdinoDeformableAttention& call, const Launcher& launcher, int invalid,
             std::int64_t short_index_limit = kShortIndexLimit) {
  Problem problem;
  if (!read_call(call, problem)) return invalid;
  if (problem.rows == 0) return 0;
  const bool same = call.logits_type == call.value_type;
  if (!same && call.logits_type != kReferdinoFloat32) return invalid;
  switch (call.value_type) {
    case kReferdinoFloat32:
      return launch_types<Float32, Float32>(problem, launcher, short_index_limit);
    case kReferdinoFloat16:
      return same ? launch_types<Float16, Float16>(problem, launcher, short_index_limit)
                  : launch_types<Float16, Float32>(problem, launcher, short_index_limit);
    case kReferdinoBFloat16:
      return same ? launch_types<BFloat16, BFloat16>(problem, launcher, short_index_limit)
                  : launch_types<BFloat16, Float32>(problem, launcher, short_index_limit);
    default:
      return invalid;
  }
}

}  // namespace referdino

#endif  // REFERDINO_DEFORMABLE_ATTENTION_THREAD_H_
