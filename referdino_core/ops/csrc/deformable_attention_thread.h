// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// What one GPU thread does for multi-scale deformable attention, and which variant a call gets.
//
// All of it compiles for CPUs too. A thread talks to no other, so that the very code that runs on the
// GPU can be run thread after thread, and tested, on a machine that has none.

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
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
#endif
}

REFERDINO_BOTH std::uint32_t bits_of_float(float number) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(number);
#else
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof(bits));
  return bits;
#endif
}

// ---- Types of numbers in memory ------------------------------------------------------------------

struct Float32 {
  using Bits = std::uint32_t;
  static REFERDINO_BOTH float read(Bits bits) { return float_of_bits(bits); }
  static REFERDINO_BOTH Bits write(float number) { return bits_of_float(number); }
};

struct BFloat16 {
  using Bits = std::uint16_t;
  static REFERDINO_BOTH float read(Bits bits) {
    return float_of_bits(static_cast<std::uint32_t>(bits) << 16);
  }
  static REFERDINO_BOTH Bits write(float number) {
    const std::uint32_t bits = bits_of_float(number);
    if (number != number) return static_cast<Bits>((bits >> 16) | 0x0040u);
    return static_cast<Bits>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

struct Float16 {
  using Bits = std::uint16_t;

#ifdef __CUDA_ARCH__
  static REFERDINO_BOTH float read(Bits bits) { return __half2float(__ushort_as_half(bits)); }
  static REFERDINO_BOTH Bits write(float number) {
    return __half_as_ushort(__float2half_rn(number));
  }
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
  static inline Bits write(float number) {
    const std::uint32_t bits = bits_of_float(number);
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

// ---- Neighbouring channels of a cell -------------------------------------------------------------

// As many as fill 16 bytes, which are read at once, or a single one.
template <class Type, int kLanes>
struct Packet {
  static_assert(kLanes == 1 || kLanes * sizeof(typename Type::Bits) == 16,
                "16 bytes or one number");
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

  REFERDINO_BOTH void set(int lane, float number) {
    const std::uint32_t bits = Type::write(number);
    if constexpr (sizeof(Bits) == 4) {
      word[lane] = bits;
    } else {
      word[lane / 2] |= bits << (lane % 2 * 16);
    }
  }
};

// ---- The problem, as every thread gets it --------------------------------------------------------

struct Levels {
  std::int32_t count;
  std::int32_t points;
  std::int32_t height[kReferdinoMaximumLevels];
  std::int32_t width[kReferdinoMaximumLevels];
  std::int32_t first_cell[kReferdinoMaximumLevels];
};

struct Problem {
  const void* value;
  const float* locations;
  const void* logits;
  void* output;
  std::int64_t rows;            // one head of one query of one image each
  std::int64_t rows_per_image;  // queries * heads
  std::int64_t cells;
  std::int64_t heads;
  std::int64_t channels;
  Levels levels;
};

// One axis of a sample: the cell before it, and the shares of that cell and of the next.
struct Axis {
  std::int32_t before;
  float share_before;
  float share_after;
};

REFERDINO_BOTH Axis find_axis(float location, std::int32_t cells) {
  const float size = static_cast<float>(cells);
  // From -1 and from 2 no cell is reached. What is not a number goes to -1 too.
  const float bounded_below = location > -1.0f ? location : -1.0f;
  const float bounded = bounded_below < 2.0f ? bounded_below : 2.0f;
  const float before = floorf(bounded * size - 0.5f);
  // Where products and sums are fused, this form loses nothing to the size.
  const float fraction = bounded * size - (before + 0.5f);
  return Axis{static_cast<std::int32_t>(before), 1.0f - fraction, fraction};
}

REFERDINO_BOTH bool is_inside(std::int32_t cell, std::int32_t cells) {
  return static_cast<std::uint32_t>(cell) < static_cast<std::uint32_t>(cells);
}

struct Place {
  float x;
  float y;
};

REFERDINO_BOTH Place load_place(const float* locations, std::int32_t sample) {
#ifdef __CUDA_ARCH__
  const float2 pair = __ldg(reinterpret_cast<const float2*>(locations) + sample);
  return Place{pair.x, pair.y};
#else
  return Place{locations[2 * sample], locations[2 * sample + 1]};
#endif
}

// Adds one sample's share of some channels. A cell outside the level is not read: whatever lies there
// would be another's, and not a number times zero is not zero.
template <class Value, int kLanes>
REFERDINO_BOTH void add_sample(const typename Value::Bits* level, std::int64_t cell_stride,
                               std::int32_t height, std::int32_t width, Place place, float weight,
                               float (&sum)[kLanes]) {
  using Channels = Packet<Value, kLanes>;
  const Axis x = find_axis(place.x, width);
  const Axis y = find_axis(place.y, height);
  const bool has_column[2] = {is_inside(x.before, width), is_inside(x.before + 1, width)};
  const bool has_row[2] = {is_inside(y.before, height), is_inside(y.before + 1, height)};
  const float share_x[2] = {x.share_before, x.share_after};
  const float share_y[2] = {weight * y.share_before, weight * y.share_after};

  Channels corner[4];
  REFERDINO_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    const std::int64_t cell =
        static_cast<std::int64_t>(y.before + i / 2) * width + (x.before + i % 2);
    corner[i] = has_row[i / 2] && has_column[i % 2] ? Channels::load(level + cell * cell_stride)
                                                    : Channels::zero();
  }
  REFERDINO_UNROLL(4)
  for (int i = 0; i < 4; ++i) {
    const float share = share_y[i / 2] * share_x[i % 2];
    REFERDINO_UNROLL(8)
    for (int lane = 0; lane < kLanes; ++lane) sum[lane] += share * corner[i].get(lane);
  }
}

// The work of one thread: kLanes channels of one head of one query. Weights are divided by their sum
// at the very end, so that the logits are read twice and never kept.
template <class Value, class Logit, int kLanes, class Index>
REFERDINO_BOTH void attend(const Problem& problem, Index thread) {
  using Number = typename Value::Bits;
  const Index packets = static_cast<Index>(problem.channels / kLanes);
  const Index row = thread / packets;
  const Index image = row / static_cast<Index>(problem.rows_per_image);
  const Index head = row % static_cast<Index>(problem.heads);
  const std::int64_t first_channel = static_cast<std::int64_t>(thread - row * packets) * kLanes;
  const std::int64_t cell_stride = problem.heads * problem.channels;
  const std::int32_t samples = problem.levels.count * problem.levels.points;
  const std::int64_t first_sample = static_cast<std::int64_t>(row) * samples;

  const Number* value = static_cast<const Number*>(problem.value) +
                        static_cast<std::int64_t>(image) * problem.cells * cell_stride +
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
    const Number* cells = value + problem.levels.first_cell[level] * cell_stride;
    REFERDINO_UNROLL(1)  // two samples at once take the registers that four loads at once need
    for (std::int32_t point = 0; point < problem.levels.points; ++point, ++sample) {
      const float weight = expf(Logit::read(logits[sample]) - largest);
      total += weight;
      add_sample<Value, kLanes>(cells, cell_stride, height, width, load_place(locations, sample),
                                weight, sum);
    }
  }

  const float share = 1.0f / total;
  Packet<Value, kLanes> output = Packet<Value, kLanes>::zero();
  REFERDINO_UNROLL(8)
  for (int lane = 0; lane < kLanes; ++lane) output.set(lane, sum[lane] * share);
  output.store(static_cast<Number*>(problem.output) +
               static_cast<std::int64_t>(row) * problem.channels + first_channel);
}

// ---- From a call to the variant that serves it ---------------------------------------------------

// False where the call makes no sense.
inline bool read_call(const ReferdinoDeformableAttention& call, Problem& problem) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  constexpr std::int64_t kLargestSide = 1 << 24;  // beyond, float32 cannot tell cells apart
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
  problem.cells = 0;
  problem.heads = call.heads;
  problem.channels = call.channels;
  problem.levels = Levels{};
  problem.levels.count = call.levels;
  problem.levels.points = call.points;
  for (std::int32_t level = 0; level < call.levels; ++level) {
    const std::int64_t height = call.level_sizes[2 * level];
    const std::int64_t width = call.level_sizes[2 * level + 1];
    if (height < 1 || width < 1 || height > kLargestSide || width > kLargestSide) return false;
    if (problem.cells + height * width > kLargest) return false;
    problem.levels.height[level] = static_cast<std::int32_t>(height);
    problem.levels.width[level] = static_cast<std::int32_t>(width);
    problem.levels.first_cell[level] = static_cast<std::int32_t>(problem.cells);
    problem.cells += height * width;
  }
  return true;
}

// Threads up to which an index of 32 bits, which divides faster, is used.
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
  const auto places = reinterpret_cast<std::uintptr_t>(problem.value) |
                      reinterpret_cast<std::uintptr_t>(problem.output);
  if (problem.channels % kLanes == 0 && places % 16 == 0) {
    return launch_lanes<Value, Logit, kLanes>(problem, launcher, short_index_limit);
  }
  return launch_lanes<Value, Logit, 1>(problem, launcher, short_index_limit);
}

// Calls `launcher.launch<Value, Logit, kLanes, Index>(problem, threads)` with what serves the call, and
// returns what that returns; 0 without calling it where there is nothing to do, `invalid` where the
// call makes no sense.
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
