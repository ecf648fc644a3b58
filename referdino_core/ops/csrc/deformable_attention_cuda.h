// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on NVIDIA GPUs: the C interface of its library.
//
// Arrays are dense and row-major, with K = levels * points, the points of a level side by side:
//   value      (batch, tokens, heads, channels)  tokens = sum of height * width over the levels
//   locations  (batch, queries, heads, K, 2)     float32; x, y in 0..1 of the level
//   logits     (batch, queries, heads, K)        before softmax over K
//   output     (batch, queries, heads * channels), of the type of the value
// Sampling is bilinear, zero outside, with pixel centres at half-integers. Coordinates, weights and
// sums are float32 whatever the type of the value.

#ifndef REFERDINO_DEFORMABLE_ATTENTION_CUDA_H_
#define REFERDINO_DEFORMABLE_ATTENTION_CUDA_H_

#include <cstdint>

enum ReferdinoNumberType : std::int32_t {
  kReferdinoFloat32 = 0,
  kReferdinoFloat16 = 1,
  kReferdinoBFloat16 = 2,
};

enum : std::int32_t { kReferdinoMaximumLevels = 16 };

// The four arrays are on the device, `level_sizes` is on the host: height, width for each level. Logits
// have the type of the value, or float32.
struct ReferdinoDeformableAttention {
  const void* value;
  const float* locations;  // aligned to 8 bytes
  const void* logits;
  void* output;
  const std::int64_t* level_sizes;
  std::int64_t batch;
  std::int64_t queries;
  std::int64_t heads;
  std::int64_t channels;
  std::int32_t levels;
  std::int32_t points;
  std::int32_t value_type;
  std::int32_t logits_type;
};

// Gradients, all float32 on the device. That of the value is added to, the others are overwritten.
struct ReferdinoDeformableGradients {
  float* value;
  float* locations;
  float* logits;
};

extern "C" {

// Version of this interface.
__attribute__((visibility("default"))) int referdino_cuda_kernels_version();

// Launches the kernel on a stream (a cudaStream_t) of the current device and returns at once. It copies and
// allocates nothing, so that CUDA graphs can capture it. Returns a cudaError.
__attribute__((visibility("default"))) int referdino_cuda_deformable_attention(
    const ReferdinoDeformableAttention* call, void* stream);

// The same for the gradients of a call whose `output` is the output's gradient. Sums over threads have no
// fixed order: the value's gradient differs in the last digits from call to call.
__attribute__((visibility("default"))) int referdino_cuda_deformable_attention_backward(
    const ReferdinoDeformableAttention* call, const ReferdinoDeformableGradients* gradients,
    void* stream);

// Description of a cudaError, as a static string.
__attribute__((visibility("default"))) const char* referdino_cuda_error_text(int error);

}  // extern "C"

#endif  // REFERDINO_DEFORMABLE_ATTENTION_CUDA_H_
