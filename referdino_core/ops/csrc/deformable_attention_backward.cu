// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention on NVIDIA GPUs, backward. One thread computes the gradients of one head
// of one query; see deformable_attention_backward_thread.h.

#include <cuda_runtime_api.h>

#include "deformable_attention_backward_thread.h"
#include "deformable_attention_cuda.h"

namespace {

constexpr int kThreadsPerBlock = 128;
constexpr std::int64_t kMaximumBlocks = 0x7fffffff;

template <class Value, class Logit, int kLanes, class Index>
__global__ void __launch_bounds__(kThreadsPerBlock)
    deformable_attention_gradients(const __grid_constant__ referdino::Problem problem,
                                   const referdino::Gradients<float> gradients, Index rows) {
  const Index row = static_cast<Index>(blockIdx.x) * kThreadsPerBlock + threadIdx.x;
  if (row < rows) {
    referdino::differentiate<Value, Logit, kLanes, Index, float>(problem, gradients, row);
  }
}

struct Launcher {
  referdino::Gradients<float> gradients;
  cudaStream_t stream;

  template <class Value, class Logit, int kLanes, class Index>
  int launch(const referdino::Problem& problem, std::int64_t) const {
    const std::int64_t blocks = (problem.rows + kThreadsPerBlock - 1) / kThreadsPerBlock;
    if (blocks > kMaximumBlocks) return cudaErrorInvalidConfiguration;
    deformable_attention_gradients<Value, Logit, kLanes, Index>
        <<<static_cast<unsigned>(blocks), kThreadsPerBlock, 0, stream>>>(
            problem, gradients, static_cast<Index>(problem.rows));
    return cudaGetLastError();
  }
};

}  // namespace

extern "C" int referdino_cuda_deformable_attention_backward(
    const ReferdinoDeformableAttention* call, const ReferdinoDeformableGradients* gradients,
    void* stream) {
  const Launcher launcher{{gradients->value, gradients->locations, gradients->logits},
                          static_cast<cudaStream_t>(stream)};
  return referdino::dispatch(*call, launcher, cudaErrorInvalidValue);
}
