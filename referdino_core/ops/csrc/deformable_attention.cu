// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on NVIDIA GPUs, forward. One thread computes 16 bytes of the output:
// eight channels in half precision, four in single; see deformable_attention_thread.h.

#include <cuda_runtime_api.h>

#include "deformable_attention_cuda.h"
#include "deformable_attention_thread.h"

namespace {

// Small blocks spread the decoder's few queries over more multiprocessors. This number of blocks per
// multiprocessor leaves enough registers to load all four corners of a sample before using the first.
constexpr int kThreadsPerBlock = 128;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kBlocksPerMultiprocessor = 9;
#else
constexpr int kBlocksPerMultiprocessor = 10;
#endif
constexpr std::int64_t kMaximumBlocks = 0x7fffffff;

template <class Value, class Logit, int kLanes, class Index>
__global__ void __launch_bounds__(kThreadsPerBlock, kBlocksPerMultiprocessor)
    deformable_attention(const __grid_constant__ referdino::Problem problem, Index threads) {
  const Index thread = static_cast<Index>(blockIdx.x) * kThreadsPerBlock + threadIdx.x;
  if (thread < threads) referdino::attend<Value, Logit, kLanes, Index>(problem, thread);
}

struct Launcher {
  cudaStream_t stream;

  template <class Value, class Logit, int kLanes, class Index>
  int launch(const referdino::Problem& problem, std::int64_t threads) const {
    const std::int64_t blocks = (threads + kThreadsPerBlock - 1) / kThreadsPerBlock;
    if (blocks > kMaximumBlocks) return cudaErrorInvalidConfiguration;
    deformable_attention<Value, Logit, kLanes, Index>
        <<<static_cast<unsigned>(blocks), kThreadsPerBlock, 0, stream>>>(
            problem, static_cast<Index>(threads));
    return cudaGetLastError();
  }
};

}  // namespace

extern "C" int referdino_cuda_kernels_version() { return 2; }

extern "C" int referdino_cuda_deformable_attention(const ReferdinoDeformableAttention* call,
                                                   void* stream) {
  return referdino::dispatch(*call, Launcher{static_cast<cudaStream_t>(stream)},
                             cudaErrorInvalidValue);
}

extern "C" const char* referdino_cuda_error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
