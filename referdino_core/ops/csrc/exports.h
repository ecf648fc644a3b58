// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Conventions of exported functions: a plain C interface with raw pointers, so that one compiler call builds
// the library independently of Python and PyTorch, and a status in place of exceptions.

#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>

#define REFERDINO_EXPORT extern "C" __attribute__((visibility("default")))

// The end of an exported function whose body is `try { ...; return kDone; }`. Parallel regions must not
// throw, and therefore must not allocate: see scratch.h.
#define REFERDINO_CATCH                      \
  catch (...) {                              \
    return referdino::status_of_exception(); \
  }

namespace referdino {

using Index = std::int64_t;

// Mirrored in library.py.
enum Status : int { kDone = 0, kTooManySamples = 1, kOutOfMemory = 2, kFailed = 3 };

// The status of the exception that is being handled.
inline Status status_of_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  } catch (const std::length_error&) {
    return kOutOfMemory;
  } catch (...) {
    return kFailed;
  }
}

}  // namespace referdino
