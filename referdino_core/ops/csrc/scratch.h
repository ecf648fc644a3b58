// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for what lies between two steps. It is allocated before a team of threads starts, since an
// exception must not leave a parallel region.

#pragma once

#include "exports.h"

#include <cstddef>
#include <memory>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace referdino {

// Room for some numbers; nothing is written to it beforehand, so that whoever does so first has it near.
class Workspace {
 public:
  explicit Workspace(Index numbers) : memory_(new float[static_cast<std::size_t>(numbers)]) {}
  float* get() const { return memory_.get(); }
  float& operator[](Index number) const { return memory_[static_cast<std::size_t>(number)]; }

 private:
  std::unique_ptr<float[]> memory_;
};

// A `Space` for each thread of a team.
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
