// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// The library of the CUDA kernel with the GPU replaced by a loop: every thread's work, one after the
// other, on arrays of the CPU. The last thread comes first, since no order may matter.

#include "deformable_attention_backward_thread.h"

#ifndef SHORT_INDEX_LIMIT
#define SHORT_INDEX_LIMIT referdino::kShortIndexLimit
#endif

namespace {

constexpr int kInvalid = 1;

struct Loop {
  template <class Value, class Logit, int kLanes, class Index>
  int launch(const referdino::Problem& problem, std::int64_t threads) const {
    for (std::int64_t thread = threads - 1; thread >= 0; --thread) {
      referdino::attend<Value, Logit, kLanes, Index>(problem, static_cast<Index>(thread));
    }
    return 0;
  }
};

template <class Real>
struct BackwardLoop {
  referdino::Gradients<Real> gradients;

  template <class Value, class Logit, int kLanes, class Index>
  int launch(const referdino::Problem& problem, std::int64_t) const {
    for (std::int64_t row = problem.rows - 1; row >= 0; --row) {
      referdino::differentiate<Value, Logit, kLanes, Index, Real>(problem, gradients,
                                                                 static_cast<Index>(row));
    }
    return 0;
  }
};

// Numbers of double precision, which GPUs are not given.
struct Float64 {
  using Bits = double;
  static double read(double number) { return number; }
};

}  // namespace

extern "C" int referdino_cuda_kernels_version() { return 2; }

extern "C" int referdino_cuda_deformable_attention(const ReferdinoDeformableAttention* call,
                                                   void*) {
  return referdino::dispatch(*call, Loop{}, kInvalid, SHORT_INDEX_LIMIT);
}

extern "C" int referdino_cuda_deformable_attention_backward(
    const ReferdinoDeformableAttention* call, const ReferdinoDeformableGradients* gradients, void*) {
  const BackwardLoop<float> loop{{gradients->value, gradients->locations, gradients->logits}};
  return referdino::dispatch(*call, loop, kInvalid, SHORT_INDEX_LIMIT);
}

// The same in double precision, all arrays included; their addresses are taken as they are.
extern "C" int backward_float64(const ReferdinoDeformableAttention* call,
                                const ReferdinoDeformableGradients* gradients) {
  referdino::Problem problem;
  if (!referdino::read_call(*call, problem)) return kInvalid;
  const BackwardLoop<double> loop{{reinterpret_cast<double*>(gradients->value),
                                   reinterpret_cast<double*>(gradients->locations),
                                   reinterpret_cast<double*>(gradients->logits)}};
  return loop.launch<Float64, Float64, 1, std::int64_t>(problem, 0);
}

extern "C" const char* referdino_cuda_error_text(int) { return "invalid argument"; }

// For the tests of number formats.
extern "C" std::uint16_t write_float16(float number) { return referdino::Float16::write(number); }
extern "C" std::uint16_t write_bfloat16(float number) { return referdino::BFloat16::write(number); }
extern "C" float read_float16(std::uint16_t bits) { return referdino::Float16::read(bits); }
extern "C" float read_bfloat16(std::uint16_t bits) { return referdino::BFloat16::read(bits); }
