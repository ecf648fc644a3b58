// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for intermediate results. It is allocated before a parallel region starts, since an exception must
// not leave one.

#pragma once

#include "exports.h"

#include <cstddef>
#include <memory>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace referdino {

// Memory for some elements, uninitialised so that the first thread that writes to a page has it nearby.
class Workspace {
 public:
  explicit Workspace(Index size) : memory_(new float[static_cast<std::size_t>(size)]) {}
  float* get() const { return memory_.get(); }
  float& operator[](Index index) const { return memory_[static_cast<std::size_t>(index)]; }

 private:
  std::unique_ptr<float[]> memory_;
};

// A `Space` for each thread of a parallel region.
template <typename Space>
class Team {
 public:
  template <typename... Sizes>
  explicit Team(int threads, Sizes... sizes) {
    spaces_.reserve(static_cast<std::size_t>(threads));
    for (int thread = 0; thread < threads; ++thread) spaces_.emplace_back(sizes...);
  }

  Space& mine() {
#ifdef _OPENMP
    return spaces_[static_cast<std::size_t>(omp_get_thread_num())];
#else
    return spaces_.front();
#endif
  }

 private:
  std::vector<Space> spaces_;
};

}  // namespace referdino
